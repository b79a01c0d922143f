// Stats that came with a directory's listing, kept for the moment in which a program asks for each of them: `ls -l` and
// `find` then cost one request per thousand entries. Everything we change ourselves is forgotten at once.

import type { FileStat } from '#proto/gen/v1/fs_env.ts';

/** As old as a shared file system's attribute caches let answers be at least (nfs(5): acregmin 3 s). */
const TTL_MS = 1_000;
/** 20,000 entries of about 300 bytes: one large directory. Beyond it the oldest go. */
const MAX_ENTRIES = 20_000;
const TYPE_MASK = 0o170000;
const SYMBOLIC_LINK = 0o120000;

interface Entry {
  stat: FileStat;
  untilMs: number;
}

/** Paths are bytes written as latin1, so that every path has one key. */
export class StatCache {
  readonly #entries = new Map<string, Entry>();
  readonly #now: () => number;
  #changes = 0;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Taken before a directory is read and given to `fill` with what was read. */
  get changes(): number {
    return this.#changes;
  }

  /** Of the path itself, or null. A link is followed by the target's kernel, not here. */
  find(path: Buffer, isFollowing: boolean): FileStat | null {
    if (this.#entries.size === 0) return null;
    const key = path.toString('latin1');
    const entry = this.#entries.get(key);
    if (entry === undefined) return null;
    if (entry.untilMs <= this.#now()) {
      this.#entries.delete(key);
      return null;
    }
    return isFollowing && (entry.stat.mode & TYPE_MASK) === SYMBOLIC_LINK ? null : entry.stat;
  }

  /** Does nothing when something of ours changed since `changes` was taken: the listing may be from before it. */
  fill(directory: Buffer, entries: readonly { name: Buffer; stat?: FileStat | undefined }[], changes: number): void {
    if (changes !== this.#changes) return;
    const prefix = directory.toString('latin1').replace(/\/*$/, '/');
    const untilMs = this.#now() + TTL_MS;
    for (const { name, stat } of entries) {
      if (stat === undefined) continue;
      const entryName = name.toString('latin1');
      // `..` may show another directory than its path does, at the target's root.
      if (entryName === '.' || entryName === '..') continue;
      const key = prefix + entryName;
      this.#entries.delete(key);
      this.#entries.set(key, { stat, untilMs });
    }
    for (const key of this.#entries.keys()) {
      if (this.#entries.size <= MAX_ENTRIES) break;
      this.#entries.delete(key);
    }
  }

  /** Any change of ours: it may show under other names than the one it was made by, through a link or another spelling. */
  forgetAll(): void {
    this.#changes += 1;
    this.#entries.clear();
  }
}
