// The target's environment as its process has it: bytes, in its own order. Values are secrets and go nowhere but into the
// answer.

import type { EnvironmentVariable } from '#proto/gen/v1/session.ts';

const EQUALS = 0x3d;

/**
 * Reads the content of /proc/PID/environ (proc(5)). An entry is split at its first `=`; of entries with the same name the
 * last one counts, in the place of the first. What is no entry is left out: a process may write what it likes over it.
 */
export function parseEnvironment(content: Buffer): EnvironmentVariable[] {
  const variables = new Map<string, EnvironmentVariable>();
  for (let start = 0; start < content.length; ) {
    const zero = content.indexOf(0, start);
    const end = zero === -1 ? content.length : zero;
    const entry = content.subarray(start, end);
    const equals = entry.indexOf(EQUALS);
    if (equals > 0) {
      const name = entry.subarray(0, equals);
      variables.set(name.toString('latin1'), { name, value: entry.subarray(equals + 1) });
    }
    start = end + 1;
  }
  return [...variables.values()];
}
