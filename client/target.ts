// What the user named with --target, as words; whether it exists is the agent's to find out. Every form of the grammar is
// recognised, so that a form that is not built is refused by its name and a slip of the pen gets a suggestion. Pure.

import { AppError } from '#proto/errors.ts';

export type Target = { kind: 'pid'; pid: number } | { kind: 'container'; name: string };

/** Kinds of Kubernetes objects and the other words for them. */
const CLUSTER_KINDS = [
  'pod',
  'deployment',
  'deploy',
  'rollout',
  'job',
  'cronjob',
  'statefulset',
  'service',
  'replicaset',
  'label',
] as const;

/** Linux: PID_MAX_LIMIT (proc_sys_kernel(5)). */
const MAX_PID = 4_194_304;
const CONTAINER_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;

/** Throws CONFIG_INVALID for what is no target, UNSUPPORTED for one whose kind is not built. */
export function parseTarget(text: string): Target {
  const [kind = '', name, ...rest] = text.split('/');
  if (kind === 'pid') return parsePid(text, name, rest);
  if (kind === 'container') return parseContainer(text, name, rest);
  if (text === 'targetless') throw notBuilt(text, 'a session without a target');
  if ((CLUSTER_KINDS as readonly string[]).includes(kind)) {
    if (name === undefined || name === '') throw invalid(text, `a name is missing after ${kind}/`);
    throw notBuilt(text, 'a target in a Kubernetes cluster');
  }
  throw invalid(text, suggestion(text));
}

export function formatTarget(target: Target): string {
  return target.kind === 'pid' ? `pid/${target.pid}` : `container/${target.name}`;
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
  if (!text.includes('/') && text !== '') return `a prefix is missing: did you mean container/${text} or pod/${text}?`;
  return 'it must begin with pid/, container/ or, in a cluster, pod/, deployment/ and the like';
}

function invalid(text: string, reason: string): AppError {
  return new AppError('CONFIG_INVALID', `${JSON.stringify(text)} is not a target: ${reason}`);
}

function notBuilt(text: string, what: string): AppError {
  return new AppError('UNSUPPORTED', `target ${text} is not built yet: ${what} comes with a later version`, {
    data: { exitCode: 2, advice: 'name a process of this machine with pid/N or container/NAME.' },
  });
}
