// `mirrord session list` and `stop`: the sessions of this user on this machine, and those of everybody in a namespace.

import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '#proto/errors.ts';
import type { ParsedArguments } from '../arguments.ts';
import type { KubeApi } from '../kube/api.ts';
import { objectPath } from '../kube/kinds.ts';
import { findLeftovers, type Leftover } from '../kube/leftovers.ts';
import { isStatus } from '../kube/status.ts';
import { printable } from '../printable.ts';
import { STOPPED_BY_ANNOTATION, whoWeAre } from '../sessions/facts.ts';
import { askToStop, runningSessions } from '../sessions/record.ts';
import { exit, type Outcome, type Terminal } from '../terminal.ts';

/** For a local process that has been asked to end. */
const STOP_MS = 10_000;
const LOOK_MS = 50;

interface Listed {
  readonly id: string;
  readonly target: string;
  readonly incoming: string;
  readonly ports: readonly number[];
  /** `steals everything of port 8080 since …`; of sessions on this machine. */
  readonly leases: readonly string[];
  readonly from: string;
  readonly startedAt: string;
  /** `process 4711` or `job/mirrord-agent-x in shop`. */
  readonly where: string;
}

export async function session(args: ParsedArguments, terminal: Terminal): Promise<Outcome> {
  const [verb, ...words] = args.words;
  if ((verb === 'list' || verb === 'ls') && words.length === 0) return list(args, terminal);
  const [id, ...rest] = words;
  if ((verb === 'stop' || verb === 'kill' || verb === 'delete') && id !== undefined && rest.length === 0) {
    return stop(id, args, terminal);
  }
  throw new AppError('CONFIG_INVALID', 'session wants: list, or stop ID');
}

async function list(args: ParsedArguments, terminal: Terminal): Promise<Outcome> {
  const local = runningSessions(terminal.env).map(({ pid, path: _, startTicks: __, ...known }) => ({
    ...known,
    where: `process ${pid}`,
  }));
  const isJson = args.flags['json'] !== undefined;
  const show = (sessions: readonly Listed[]) => {
    if (!isJson) for (const one of sessions) terminal.out(printable(`${describe(one)}\n`));
  };
  // Those of this machine need not wait for a cluster, which may not answer.
  show(local);
  const known = new Set(local.map(({ id }) => id));
  const others = await inCluster(args, terminal, async (api, namespace) => {
    const found: Listed[] = [];
    for await (const one of findLeftovers(api, namespace, null)) {
      if (one.isRunning && !one.isGoing && !known.has(one.session ?? '')) found.push(listedJob(one));
    }
    return found;
  });
  show(others ?? []);
  const all: Listed[] = [...local, ...(others ?? [])];
  if (isJson) terminal.out(`${JSON.stringify(all, null, 2)}\n`);
  else if (all.length === 0) terminal.err('mirrord: no session runs\n');
  return exit(0);
}

function describe({ id, target, incoming, ports, leases, from, startedAt, where }: Listed): string {
  const on = ports.length === 0 ? '' : ` on ${ports.join(', ')}`;
  const line = `${id}  ${target}  ${incoming}${on}  since ${startedAt}  from ${from}  (${where})`;
  return [line, ...leases.map((lease) => `    ${lease}`)].join('\n');
}

function listedJob({ session: id, kind, name, namespace, createdAtMs, facts, ports }: Leftover): Listed {
  return {
    id: id ?? name,
    ...facts,
    ports,
    leases: [],
    startedAt: Number.isNaN(createdAtMs) ? '?' : new Date(createdAtMs).toISOString(),
    where: `${kind}/${name} in ${namespace}`,
  };
}

async function stop(id: string, args: ParsedArguments, terminal: Terminal): Promise<Outcome> {
  const local = runningSessions(terminal.env).find((one) => one.id === id);
  if (local !== undefined) {
    askToStop(local, whoWeAre());
    const untilMs = performance.now() + STOP_MS;
    while (runningSessions(terminal.env).some((one) => one.id === id)) {
      if (performance.now() > untilMs) {
        throw new AppError('DEADLINE_EXCEEDED', `session ${id} did not end within ${STOP_MS / 1_000} s`, {
          data: { advice: `its local process may ignore SIGTERM: kill -KILL ${local.pid} ends mirrord under it.` },
        });
      }
      await sleep(LOOK_MS);
    }
    terminal.out(printable(`stopped ${id}, process ${local.pid}\n`));
    return exit(0);
  }
  if (!/^[a-z0-9][a-z0-9-]{0,62}$/.test(id)) throw notFound(id);
  const stopped = await inCluster(args, terminal, (api, namespace) => stopJobs(api, namespace, id));
  if (stopped === null || stopped.length === 0) throw notFound(id);
  for (const name of stopped) terminal.out(printable(`stopped ${id}, ${name}\n`));
  return exit(0);
}

const notFound = (id: string): AppError =>
  new AppError('TARGET_NOT_FOUND', `no session ${JSON.stringify(id)} runs here or in this namespace`, {
    data: { advice: '`mirrord session list -A` lists all that you may see.' },
  });

/** Who did it is written on the job first, where its owner looks when the agent ends. */
async function stopJobs(api: KubeApi, namespace: string | null, id: string): Promise<string[]> {
  const stopped: string[] = [];
  for await (const { kind, name, namespace: where, isRunning, uid } of findLeftovers(api, namespace, id)) {
    if (!isRunning || kind !== 'job') continue;
    const path = objectPath({ group: 'batch', version: 'v1', resource: 'jobs', namespace: where, name });
    try {
      await api.patch(path, 'merge', { metadata: { annotations: { [STOPPED_BY_ANNOTATION]: whoWeAre() } } });
    } catch (error) {
      // Who may only delete jobs ends it without a word.
      if (!isStatus(error, 403)) throw error;
    }
    await api.delete(path, {
      kind: 'DeleteOptions',
      apiVersion: 'v1',
      // It stays until its pod has gone, to be read.
      propagationPolicy: 'Foreground',
      preconditions: { uid },
    });
    stopped.push(`job/${name} in ${where}`);
  }
  return stopped;
}

/** Null where there is no cluster; asked for by name, its absence is an error. */
async function inCluster<T>(
  args: ParsedArguments,
  terminal: Terminal,
  act: (api: KubeApi, namespace: string | null) => Promise<T>,
): Promise<T | null> {
  const isOfAll = args.flags['all-namespaces'] !== undefined;
  const isWanted = isOfAll || args.flags['namespace'] !== undefined || args.flags['context'] !== undefined;
  if (isOfAll && args.flags['namespace'] !== undefined) {
    throw new AppError('CONFIG_INVALID', '--namespace and --all-namespaces exclude each other');
  }
  const { openCluster } = await import('./cluster.ts');
  try {
    const { api, config } = await openCluster(args, terminal);
    try {
      const own = config.agent.namespace ?? config.target.namespace ?? api.access.namespace;
      const named = args.flags['namespace'] === undefined ? own : (config.target.namespace ?? own);
      return await act(api, isOfAll ? null : named);
    } finally {
      await api.close();
    }
  } catch (thrown) {
    if (isWanted) throw thrown;
    const { message } = AppError.from(thrown, 'SERVICE_UNAVAILABLE');
    terminal.err(printable(`mirrord: no cluster is looked at: ${message}\n`));
    return null;
  }
}
