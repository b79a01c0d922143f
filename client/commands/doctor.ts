// `mirrord doctor`: what will work, on this machine and in the cluster, and whose move it is where something will not. Changes
// nothing anywhere.

import { AppError } from '#proto/errors.ts';
import { agentSettings } from '../agent-pod/settings.ts';
import type { ParsedArguments } from '../arguments.ts';
import { WHOSE_MOVE } from '../failure.ts';
import { supervisorFile } from '../installation.ts';
import type { KubeApi } from '../kube/api.ts';
import { resolveTarget } from '../kube/resolve.ts';
import { describeRight, reviewRights } from '../kube/rights.ts';
import type { ClusterTarget } from '../kube/target.ts';
import { printable } from '../printable.ts';
import { isLocal, parseTarget } from '../target.ts';
import { exit, type Outcome, type Terminal } from '../terminal.ts';
import type { Finding } from './doctor-finding.ts';
import { judgeLocal, readLocalFacts } from './doctor-local.ts';
import { examineNamespace, examineNode } from './doctor-node.ts';

/** Exit code 1 where something will not work. */
export async function doctor(args: ParsedArguments, terminal: Terminal): Promise<Outcome> {
  if (args.words.length > 0) throw new AppError('CONFIG_INVALID', 'doctor takes no words, only flags');
  const isJson = args.flags['json'] !== undefined;
  const findings: Finding[] = [];
  const report = (found: readonly Finding[]) => {
    findings.push(...found);
    if (!isJson) terminal.out(found.map(describe).join(''));
  };
  report(judgeLocal(readLocalFacts(supervisorFile(terminal.env), terminal.env)));
  await examineCluster(args, terminal, report);
  const failures = findings.filter(({ level }) => level === 'fail').length;
  if (isJson) terminal.out(`${JSON.stringify(findings)}\n`);
  else
    terminal.out(
      failures === 0 ? '\nNothing stands in the way.\n' : `\n${failures} of these will keep mirrord from working.\n`,
    );
  return exit(failures === 0 ? 0 : 1);
}

const SIGNS = { ok: 'ok     ', warn: 'note   ', fail: 'FAILS  ', unknown: 'unknown' } as const;

function describe({ level, what, advice, move }: Finding): string {
  const whose = move === undefined ? '' : ` (${WHOSE_MOVE[move]})`;
  const remedy = advice === undefined ? '' : `          ${advice}${whose}\n`;
  return printable(`${SIGNS[level]}  ${what}\n${remedy}`);
}

type Report = (found: readonly Finding[]) => void;

async function examineCluster(args: ParsedArguments, terminal: Terminal, report: Report): Promise<void> {
  const { openCluster } = await import('./cluster.ts');
  let api: KubeApi | null = null;
  try {
    const opened = await openCluster(args, terminal);
    const { config } = opened;
    api = opened.api;
    const target = config.target.path === null ? null : parseTarget(config.target.path);
    if (target !== null && isLocal(target)) return;
    const settings = agentSettings(config, terminal.env);
    const namespace = config.target.namespace ?? api.access.namespace;
    const agentNamespace = settings.namespace ?? namespace;
    report([await examineServer(api)]);
    report(await examineRights(api, namespace, agentNamespace));
    report(await examineNamespace(api, agentNamespace));
    if (target !== null && target.kind !== 'targetless') {
      report(await examineTarget(api, target, namespace, settings.image));
    }
  } catch (error) {
    report([failureOf(AppError.from(error, 'BUG'))]);
  } finally {
    await api?.close();
  }
}

function failureOf(error: AppError): Finding {
  const { advice, move, isAbsent } = (error.data ?? {}) as {
    advice?: unknown;
    move?: Finding['move'];
    isAbsent?: true;
  };
  const whose = move ?? error.row.move;
  return {
    area: 'cluster',
    // Targets of this machine need no cluster.
    level: isAbsent === true ? 'warn' : 'fail',
    what: error.message,
    ...(typeof advice === 'string' ? { advice, move: whose } : {}),
  };
}

async function examineServer(api: KubeApi): Promise<Finding> {
  const started = performance.now();
  const { gitVersion = 'of unknown version' } = await api.get<{ gitVersion?: string }>('/version');
  const ms = Math.round(performance.now() - started);
  const { access } = api;
  const context = access.contextName === null ? 'this pod’s own cluster' : `context ${access.contextName}`;
  const proxy = access.proxy === null ? '' : ` through proxy ${access.proxy.host}:${access.proxy.port}`;
  const what = `${context}: Kubernetes ${gitVersion} at ${access.server.host}${proxy} answers in ${ms} ms (${access.login.kind})`;
  if (!access.isInsecure) return { area: 'cluster', level: 'ok', what };
  const advice = 'its certificate is not checked: whoever stands between reads your credentials.';
  return { area: 'cluster', level: 'warn', what, advice, move: 'user' };
}

async function examineRights(api: KubeApi, target: string, agent: string): Promise<Finding[]> {
  const rights = await reviewRights(api, { target, agent });
  const findings: Finding[] = [];
  const missing = rights.filter(({ isAllowed }) => isAllowed === false);
  const unknown = rights.filter(({ isAllowed }) => isAllowed === null);
  for (const right of missing) {
    findings.push({
      area: 'rights',
      level: right.isOptional === true ? 'warn' : 'fail',
      what: `you may not ${describeRight(right)} in namespace ${right.namespace}: needed for ${right.purpose}`,
      advice: 'docs/kubernetes.md has the Role that grants it.',
      move: 'admin',
    });
  }
  if (unknown.length > 0) {
    const what = `the cluster does not say whether you have ${unknown.length} of the rights that a session needs`;
    findings.push({ area: 'rights', level: 'unknown', what });
  }
  if (findings.length > 0) return findings;
  const where = target === agent ? `namespace ${target}` : `namespaces ${target} and ${agent}`;
  return [{ area: 'rights', level: 'ok', what: `you have every right that a session needs in ${where}` }];
}

async function examineTarget(
  api: KubeApi,
  target: Exclude<ClusterTarget, { kind: 'targetless' }>,
  namespace: string,
  image: string,
): Promise<Finding[]> {
  const found = await resolveTarget({ api, target, namespace });
  const what = `target: container ${found.container} of pod ${found.pod} on node ${found.node} (${found.runtime})`;
  const choices = found.choices.map((choice): Finding => ({ area: 'target', level: 'ok', what: choice }));
  return [{ area: 'target', level: 'ok', what }, ...choices, ...(await examineNode(api, found.node, image))];
}
