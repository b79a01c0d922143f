// Processor time by process while something runs: looked at every few ms, because the processes end by themselves.

import { readdirSync, readFileSync } from 'node:fs';

export interface Times {
  readonly userMs: number;
  readonly systemMs: number;
}

interface Seen {
  readonly role: string | null;
  readonly before: Times;
  last: Times;
}

/** USER_HZ of Linux, everywhere. */
const MS_PER_TICK = 10;
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
    for (const [pid, seen] of this.#seen) seen.last = statOf(pid)?.times ?? seen.last;
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
      const stat = statOf(pid);
      if (stat !== null) seen.last = stat.times;
    }
  }

  #search(isFirst: boolean): void {
    const stats = readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map((name) => statOf(Number(name)))
      .filter((stat) => stat !== null);
    const tree = new Set(this.#roots);
    for (let size = 0; size !== tree.size; ) {
      size = tree.size;
      for (const stat of stats) if (tree.has(stat.parent)) tree.add(stat.pid);
    }
    for (const { pid, times } of stats) {
      if (!tree.has(pid) || pid === process.pid) continue;
      const role = this.#roleOf(pid);
      const known = this.#seen.get(pid);
      // One that has ended and waits for its parent has no command line.
      if (known !== undefined && (role === null || known.role === role)) continue;
      // What began meanwhile has had all of its time meanwhile.
      const before = known?.before ?? (isFirst ? times : NOTHING);
      this.#seen.set(pid, { role, before, last: times });
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

/** Null for a process that has ended meanwhile. */
function statOf(pid: number): { pid: number; parent: number; times: Times } | null {
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
    times: { userMs: field(14) * MS_PER_TICK, systemMs: field(15) * MS_PER_TICK },
  };
}
