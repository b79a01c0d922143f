// `mirrord clean`: what earlier sessions left in the cluster is listed and removed. What runs may be somebody's session, and is
// left unless it was asked for.

import { AppError } from '#proto/errors.ts';
import type { ParsedArguments } from '../arguments.ts';
import { findLeftovers, type Leftover, removeLeftover } from '../kube/leftovers.ts';
import { isStatus } from '../kube/status.ts';
import { printable } from '../printable.ts';
import { exit, type Outcome, type Terminal } from '../terminal.ts';

/** A session id as we make them; a selector takes nothing else. */
const SESSION_ID = /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;

export async function clean(args: ParsedArguments, terminal: Terminal, now = Date.now): Promise<Outcome> {
  const { flags, words } = args;
  if (words.length > 0)
    throw new AppError('CONFIG_INVALID', `clean takes no ${JSON.stringify(words[0])}: use --session`);
  const session = sessionOf(flags['session']);
  const isOfAll = flags['all-namespaces'] !== undefined;
  if (isOfAll && flags['namespace'] !== undefined) {
    throw new AppError('CONFIG_INVALID', '--namespace and --all-namespaces exclude each other');
  }
  const mayEnd = session !== null || flags['running'] !== undefined;
  const isTrial = flags['dry-run'] !== undefined;
  const { openCluster } = await import('./cluster.ts');
  const { api, config } = await openCluster(args, terminal);
  try {
    const own = config.agent.namespace ?? config.target.namespace ?? api.access.namespace;
    const namespace = flags['namespace'] === undefined ? own : (config.target.namespace ?? own);
    let [removed, left] = [0, 0];
    for await (const found of findLeftovers(api, isOfAll ? null : namespace, session)) {
      const what = describe(found, now());
      if (found.isGoing) {
        terminal.out(printable(`going   ${what}\n`));
      } else if (found.isRunning && !mayEnd) {
        left += 1;
        terminal.out(printable(`runs    ${what}\n`));
      } else {
        if (!isTrial) await remove(api, found);
        removed += 1;
        terminal.out(printable(`${isTrial ? 'would go' : 'removed'} ${what}\n`));
      }
    }
    const where = isOfAll ? 'any namespace' : `namespace ${namespace}`;
    if (left > 0) {
      terminal.err('mirrord: what runs may be a session of somebody; --session ID or --running ends it\n');
    } else if (removed === 0) terminal.err(printable(`mirrord: no session has left anything in ${where}\n`));
    return exit(0);
  } finally {
    await api.close();
  }
}

function sessionOf(flag: string | true | undefined): string | null {
  if (typeof flag !== 'string') return null;
  if (SESSION_ID.test(flag)) return flag;
  throw new AppError('CONFIG_INVALID', `${JSON.stringify(flag)} is no session`);
}

/** Gone already, or replaced by another of its name: nothing of this one is left either way. */
async function remove(api: import('../kube/api.ts').KubeApi, found: Leftover): Promise<void> {
  try {
    await removeLeftover(api, found);
  } catch (error) {
    if (!isStatus(error, 409)) throw error;
  }
}

function describe({ kind, namespace, name, session, createdAtMs }: Leftover, nowMs: number): string {
  const seconds = Math.max(0, Math.round((nowMs - createdAtMs) / 1000));
  const age = Number.isNaN(seconds) ? '' : `, ${ageText(seconds)} old`;
  return `${kind}/${name} in ${namespace}${session === null ? '' : `, session ${session}`}${age}`;
}

function ageText(seconds: number): string {
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3_600)} h` : `${Math.round(seconds / 86_400)} days`;
}
