// What proc(5) says of processes: who started whom, and their processor time in ms.

import { readdirSync, readFileSync } from 'node:fs';

/** USER_HZ of Linux, everywhere. */
const MS_PER_TICK = 10;

export interface Stat {
  readonly pid: number;
  readonly parent: number;
  readonly userMs: number;
  readonly systemMs: number;
  /** Of children that have ended and were waited for. */
  readonly childrenMs: number;
}

/** Null for a process that has ended meanwhile. */
export function statOf(pid: number): Stat | null {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return null;
  }
  // The name, in brackets, may hold anything; proc(5) counts from 1, and state is 3.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const field = (number: number) => Number(fields[number - 3]);
  return {
    pid,
    parent: field(4),
    userMs: field(14) * MS_PER_TICK,
    systemMs: field(15) * MS_PER_TICK,
    childrenMs: (field(16) + field(17)) * MS_PER_TICK,
  };
}

export function allStats(): Stat[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => statOf(Number(name)))
    .filter((stat) => stat !== null);
}

/** The roots and all that is below them now. */
export function treeBelow(roots: readonly number[], stats: readonly Stat[]): Set<number> {
  const tree = new Set(roots);
  for (let size = 0; size !== tree.size; ) {
    size = tree.size;
    for (const { pid, parent } of stats) if (tree.has(parent)) tree.add(pid);
  }
  return tree;
}
