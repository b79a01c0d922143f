// What the user named becomes one process for good: its id together with its start time. Whether it still is that process
// is checked by the services at each use.

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { AppError } from '#proto/errors.ts';
import type { TargetRef } from '#proto/gen/v1/session.ts';
import { containerIdOf, containerNames, type RunningContainer, runningContainers } from './containers.ts';

export interface ResolvedTarget {
  readonly pid: number;
  /** Clock ticks since boot (proc(5), stat field 22). */
  readonly startTimeTicks: bigint;
  /** Empty for a bare process. */
  readonly containerId: string;
}

interface ProcessStat {
  readonly state: string;
  readonly flags: number;
  readonly startTimeTicks: bigint;
}

/** include/linux/sched.h: kernel threads have no files and no environment. */
const PF_KTHREAD = 0x0020_0000;
const MIN_ID_PREFIX_CHARS = 4;
const MAX_CANDIDATES = 5;

/** For messages and logs: `pid/4711`, `container/shop`. */
export function targetText(reference: TargetRef | undefined): string {
  const target = reference?.target;
  if (target === undefined) return 'nothing';
  return `${target.$case}/${target.value}`;
}

/** Throws TARGET_NOT_FOUND, which lists near names. `root` is `/`, or a folder that stands for it in a test. */
export function resolveTarget(reference: TargetRef | undefined, root = '/'): ResolvedTarget {
  const target = reference?.target;
  if (target === undefined) throw new AppError('PROTOCOL_VIOLATION', 'the session names no target');
  return target.$case === 'pid' ? resolvePid(target.value, root) : resolveContainer(target.value, root);
}

function resolvePid(pid: number, root: string): ResolvedTarget {
  const stat = readStat(pid, root);
  if (stat === null) throw notFound(`no process ${pid} on this machine`);
  if ((stat.flags & PF_KTHREAD) !== 0) throw notFound(`process ${pid} is a thread of the kernel`);
  if (stat.state === 'Z' || stat.state === 'X') throw notFound(`process ${pid} has ended`);
  const threadGroup = statusField(pid, root, 'Tgid');
  if (threadGroup !== null && threadGroup !== String(pid)) {
    throw notFound(`${pid} is a thread of process ${threadGroup}`);
  }
  return {
    pid,
    startTimeTicks: stat.startTimeTicks,
    containerId: containerIdOf(readProc(pid, root, 'cgroup') ?? '') ?? '',
  };
}

function resolveContainer(wanted: string, root: string): ResolvedTarget {
  const running = runningContainers(root);
  const names = containerNames(root);
  const named = names.get(wanted);
  const isPrefix = wanted.length >= MIN_ID_PREFIX_CHARS && /^[0-9a-f]+$/.test(wanted);
  const matches = named
    ? running.filter(({ id }) => named.has(id))
    : running.filter(({ id }) => isPrefix && id.startsWith(wanted));
  const [match] = matches;
  if (match === undefined) throw notFound(`${missing(wanted, named !== undefined)}${nearby(wanted, running, names)}`);
  if (matches.length > 1) {
    const list = matches.slice(0, MAX_CANDIDATES).map(({ id }) => describe(id, names));
    throw notFound(`${matches.length} containers are meant by ${quote(wanted)}: ${list.join(', ')}`);
  }
  return mainProcess(match, root);
}

/** Process 1 of the container's own PID namespace; where it shares the machine's, the one that began first. */
function mainProcess(container: RunningContainer, root: string): ResolvedTarget {
  const candidates = container.pids
    .map((pid) => ({ pid, stat: readStat(pid, root), isFirst: isFirstOfNamespace(pid, root) }))
    .flatMap(({ stat, ...rest }) => (stat === null ? [] : [{ ...rest, startTimeTicks: stat.startTimeTicks }]))
    .sort((a, b) => Number(b.isFirst) - Number(a.isFirst) || Number(a.startTimeTicks - b.startTimeTicks));
  const [main] = candidates;
  if (main === undefined) throw notFound(`container ${container.id.slice(0, 12)} has just ended`);
  return { pid: main.pid, startTimeTicks: main.startTimeTicks, containerId: container.id };
}

function isFirstOfNamespace(pid: number, root: string): boolean {
  const ids = statusField(pid, root, 'NSpid')?.split(/\s+/) ?? [];
  return ids.length > 1 && ids.at(-1) === '1';
}

/** proc(5): the name in parentheses may hold anything, so the fields are counted from its end. */
function readStat(pid: number, root: string): ProcessStat | null {
  const text = readProc(pid, root, 'stat');
  if (text === null) return null;
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state, flags, startTime] = [fields[0], fields[6], fields[19]];
  if (state === undefined || flags === undefined || startTime === undefined) return null;
  return { state, flags: Number(flags), startTimeTicks: BigInt(startTime) };
}

function statusField(pid: number, root: string, name: string): string | null {
  const line = readProc(pid, root, 'status')?.match(new RegExp(`^${name}:\\s*(.+)$`, 'm'));
  return line?.[1]?.trim() ?? null;
}

function readProc(pid: number, root: string, file: string): string | null {
  try {
    return readFileSync(path.join(root, 'proc', String(pid), file), 'utf8');
  } catch {
    return null;
  }
}

function missing(wanted: string, isKnown: boolean): string {
  return isKnown ? `container ${quote(wanted)} is not running` : `no container ${quote(wanted)} on this machine`;
}

function nearby(wanted: string, running: readonly RunningContainer[], names: Map<string, Set<string>>): string {
  const described = running.map(({ id }) => ({ id, text: describe(id, names), name: nameOf(id, names) }));
  if (described.length === 0) return '; none is running';
  const ranked = described
    .map(({ text, name, id }) => ({ text, distance: Math.min(distance(wanted, name ?? ''), distance(wanted, id)) }))
    .sort((a, b) => a.distance - b.distance || (a.text < b.text ? -1 : 1))
    .slice(0, MAX_CANDIDATES)
    .map(({ text }) => text);
  const more = described.length > ranked.length ? ` and ${described.length - ranked.length} more` : '';
  return `; running: ${ranked.join(', ')}${more}`;
}

function describe(id: string, names: Map<string, Set<string>>): string {
  const name = nameOf(id, names);
  return name === null ? id.slice(0, 12) : `${name} (${id.slice(0, 12)})`;
}

function nameOf(id: string, names: Map<string, Set<string>>): string | null {
  for (const [name, ids] of names) if (ids.has(id)) return name;
  return null;
}

/** Levenshtein's, on beginnings of at most 64 characters. */
function distance(left: string, right: string): number {
  const [a, b] = [left.slice(0, 64), right.slice(0, 64)];
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const substituted = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substituted, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

function quote(name: string): string {
  return JSON.stringify(name.slice(0, 80));
}

function notFound(message: string): AppError {
  return new AppError('TARGET_NOT_FOUND', message);
}
