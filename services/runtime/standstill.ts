// Whether a process stands still: looked at twice, with a question in between that it has not answered.

import { readFileSync } from 'node:fs';

/** Clock ticks of /proc/PID/stat (USER_HZ). */
const TICKS_PER_S = 100;

export type Look = Readonly<{
  pid: number;
  /** With `pid` it is one process for ever. */
  startTicks: string;
  state: string;
  ticks: number;
  atMs: number;
}>;

/** proc(5): state, utime, stime and starttime are fields 3, 14, 15 and 22; the name before them may hold anything. */
export function lookAt(pid: number): Look {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state = '?'] = fields;
  const ticks = Number(fields[11]) + Number(fields[12]);
  return { pid, startTicks: fields[19] ?? '', state, ticks, atMs: performance.now() };
}

/** One that waits for a processor, or does at least something, is slow by the machine's fault. */
export function standsStill(before: Look, now: Look): boolean {
  const ticks = now.ticks - before.ticks;
  if (isStopped(now)) return isStopped(before);
  // In circles: it ran more than half of the time, and answered nobody.
  if (now.state === 'R') return ticks / TICKS_PER_S > (now.atMs - before.atMs) / 2_000;
  return ticks === 0;
}

export const isStopped = ({ state }: Look): boolean => state === 'T' || state === 't';
