// Processor time by process while something runs: looked at every few ms, because the processes end by themselves.

import { readFileSync } from 'node:fs';
import { allStats, statOf, treeBelow } from './process-stat.ts';

export interface Times {
  readonly userMs: number;
  readonly systemMs: number;
}

interface Seen {
  readonly role: string | null;
  readonly before: Times;
  last: Times;
}

const LOOK_EVERY_MS = 10;
/** New processes are looked for in one of so many looks. */
const LOOKS_PER_SEARCH = 10;
const NOTHING: Times = { userMs: 0, systemMs: 0 };

export class ProcessTimes {
  readonly #roots: readonly number[];
  readonly #roles: readonly (readonly [role: string, text: string])[];
  readonly #seen = new Map<number, Seen>();
  readonly #timer: NodeJS.Timeout;
  #looks = 0;

  /** Of the trees below `roots`; a role is that of the first text that is in the command line. */
  constructor(roots: readonly number[], roles: readonly (readonly [string, string])[]) {
    this.#roots = roots;
    this.#roles = roles;
    this.#search(true);
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY_MS);
  }

  end(): Map<string, Times> {
    clearInterval(this.#timer);
    for (const [pid, seen] of this.#seen) seen.last = statOf(pid) ?? seen.last;
    const sums = new Map<string, Times>();
    for (const { role, before, last } of this.#seen.values()) {
      if (role === null) continue;
      const { userMs, systemMs } = sums.get(role) ?? NOTHING;
      const user = userMs + last.userMs - before.userMs;
      sums.set(role, { userMs: user, systemMs: systemMs + last.systemMs - before.systemMs });
    }
    return sums;
  }

  #look(): void {
    this.#looks += 1;
    if (this.#looks % LOOKS_PER_SEARCH === 0) this.#search(false);
    for (const [pid, seen] of this.#seen) {
      // A program that another replaced is another process to us.
      seen.last = statOf(pid) ?? seen.last;
    }
  }

  #search(isFirst: boolean): void {
    const stats = allStats();
    const tree = treeBelow(this.#roots, stats);
    for (const stat of stats) {
      const { pid } = stat;
      if (!tree.has(pid) || pid === process.pid) continue;
      const role = this.#roleOf(pid);
      const known = this.#seen.get(pid);
      // One that has ended and waits for its parent has no command line.
      if (known !== undefined && (role === null || known.role === role)) continue;
      // What began meanwhile has had all of its time meanwhile.
      const before = known?.before ?? (isFirst ? stat : NOTHING);
      this.#seen.set(pid, { role, before, last: stat });
    }
  }

  #roleOf(pid: number): string | null {
    let words: string;
    try {
      words = readFileSync(`/proc/${pid}/cmdline`, 'latin1');
    } catch {
      return null;
    }
    return this.#roles.find(([, text]) => words.includes(text))?.[0] ?? null;
  }
}
