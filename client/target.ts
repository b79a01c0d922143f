// What the user named with --target, as words; whether it exists is the agent's or the cluster's to find out. A slip of the
// pen gets a suggestion. Pure.

import { AppError } from '#proto/errors.ts';
import { nearest } from './config/nearest.ts';
import { KINDS } from './kube/kinds.ts';
import { type ClusterTarget, formatClusterTarget, parseClusterTarget } from './kube/target.ts';

/** On the machine of the agent, in the words of its protocol. */
export type LocalTarget = { kind: 'pid'; pid: number } | { kind: 'container'; name: string };
export type Target = LocalTarget | ClusterTarget;

/** Linux: PID_MAX_LIMIT (proc_sys_kernel(5)). */
const MAX_PID = 4_194_304;
const CONTAINER_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;

/** Throws CONFIG_INVALID for what is no target. */
export function parseTarget(text: string): Target {
  const [kind = '', name, ...rest] = text.split('/');
  if (kind === 'pid') return parsePid(text, name, rest);
  if (kind === 'container') return parseContainer(text, name, rest);
  const target = parseClusterTarget(text);
  if (target === null) throw invalid(text, suggestion(text));
  if (typeof target === 'string') throw invalid(text, target);
  return target;
}

export function formatTarget(target: Target): string {
  if (target.kind === 'pid') return `pid/${target.pid}`;
  return target.kind === 'container' ? `container/${target.name}` : formatClusterTarget(target);
}

export function isLocal(target: Target): target is LocalTarget {
  return target.kind === 'pid' || target.kind === 'container';
}

function parsePid(text: string, name: string | undefined, rest: string[]): Target {
  const pid = Number(name);
  if (name === undefined || !/^[1-9][0-9]{0,9}$/.test(name) || pid > MAX_PID) {
    throw invalid(text, 'pid/ wants the number of a process, such as pid/4711');
  }
  if (rest.length > 0) throw invalid(text, `nothing may follow pid/${name}`);
  return { kind: 'pid', pid };
}

function parseContainer(text: string, name: string | undefined, rest: string[]): Target {
  if (name === undefined || !CONTAINER_NAME.test(name)) {
    throw invalid(text, 'container/ wants the name or id of a container on this machine');
  }
  if (rest.length > 0) throw invalid(text, `nothing may follow container/${name}`);
  return { kind: 'container', name };
}

function suggestion(text: string): string {
  if (/^[1-9][0-9]*$/.test(text)) return `did you mean pid/${text}?`;
  const slash = text.indexOf('/');
  if (slash < 0 && text !== '') {
    return `a prefix is missing: did you mean container/${text}, pod/${text} or deployment/${text}?`;
  }
  const words = ['pid', 'container', 'label', ...KINDS.flatMap(({ kind, aliases }) => [kind, ...aliases])];
  const near = nearest(text.slice(0, slash), words);
  if (near !== null) return `did you mean ${near}${text.slice(slash)}?`;
  return 'it must begin with pid/, container/ or, in a cluster, pod/, deployment/ and the like';
}

function invalid(text: string, reason: string): AppError {
  return new AppError('CONFIG_INVALID', `${JSON.stringify(text)} is not a target: ${reason}`);
}
