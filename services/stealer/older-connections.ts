// How many connections to a port were there before us: they go on undisturbed, and their owner should know of them.

import { readFileSync } from 'node:fs';

/** State 01 of /proc/net/tcp: ESTABLISHED (include/net/tcp_states.h). */
const ESTABLISHED = '01';

/** Counts lines of /proc/net/tcp or tcp6 (proc(5)): established, with this local port. */
export function countEstablished(table: string, port: number): number {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  let count = 0;
  for (const line of table.split('\n').slice(1)) {
    const [, local, , state] = line.trim().split(/\s+/);
    if (state === ESTABLISHED && local?.endsWith(suffix)) count++;
  }
  return count;
}

/** Of the process's network namespace, both families; 0 where it cannot be read. */
export function olderConnections(pid: number, port: number): number {
  let count = 0;
  for (const table of ['tcp', 'tcp6']) {
    try {
      count += countEstablished(readFileSync(`/proc/${pid}/net/${table}`, 'latin1'), port);
    } catch {
      // The kernel has no IPv6, or the target has just ended.
    }
  }
  return count;
}
