// Processor time from /proc, in ms: that of a process and all it has started, and of what this process has waited for.

import { readdirSync, readFileSync } from 'node:fs';

/** USER_HZ of Linux, everywhere. */
const MS_PER_TICK = 10;

interface Stat {
  readonly pid: number;
  readonly parent: number;
  readonly ownMs: number;
  /** Of children that have ended and were waited for. */
  readonly childrenMs: number;
}

/** Of the tree below `pid` as it is now, and of the children that this process has waited for so far. */
export function cpuMsOf(pid: number): number {
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => statOf(Number(name)))
    .filter((stat) => stat !== null);
  const tree = new Set([pid]);
  for (let size = 0; size !== tree.size; ) {
    size = tree.size;
    for (const stat of all) if (tree.has(stat.parent)) tree.add(stat.pid);
  }
  const waited = all.find((stat) => stat.pid === process.pid)?.childrenMs ?? 0;
  return all.filter((stat) => tree.has(stat.pid)).reduce((sum, stat) => sum + stat.ownMs + stat.childrenMs, waited);
}

/** Null for a process that has ended meanwhile. */
function statOf(pid: number): Stat | null {
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
    ownMs: (field(14) + field(15)) * MS_PER_TICK,
    childrenMs: (field(16) + field(17)) * MS_PER_TICK,
  };
}
