// Processor time from /proc, in ms: that of a process and all it has started, and of what this process has waited for.

import { allStats, treeBelow } from './process-stat.ts';

/** Of the tree below `pid` as it is now, and of the children that this process has waited for so far. */
export function cpuMsOf(pid: number): number {
  const all = allStats();
  const tree = treeBelow([pid], all);
  // Where this process is in the tree itself, they are in its sum.
  const own = tree.has(process.pid) ? undefined : all.find((stat) => stat.pid === process.pid);
  const below = all.filter((stat) => tree.has(stat.pid));
  return below.reduce(
    (sum, { userMs, systemMs, childrenMs }) => sum + userMs + systemMs + childrenMs,
    own?.childrenMs ?? 0,
  );
}
