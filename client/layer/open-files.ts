// The files the local process has open in the target: one entry per handle of the session, and which of them are one
// file, so that a write through one is seen through all.

import type { FileStat } from '#proto/gen/v1/fs_env.ts';
import { type Fetch, PIECE_BYTES, ReadAhead, type ReadAheadBudget } from './read-ahead.ts';
import { StreamReader } from './stream-reader.ts';

export interface OpenFile {
  readonly handle: number;
  readonly path: Buffer;
  readonly isAppending: boolean;
  /** Device and inode of the target: the same for every handle of one file. */
  readonly identity: string;
  readonly reader: ReadAhead;
  /** Of what has no positions: pipes, devices. */
  readonly stream: StreamReader | null;
}

const O_APPEND = 0o2000;
const TYPE_MASK = 0o170000;
const REGULAR = 0o100000;
const FOLDER = 0o040000;

export class OpenFiles {
  readonly #byHandle = new Map<number, OpenFile>();
  readonly #byIdentity = new Map<string, Set<OpenFile>>();
  /** What tells that the content is another than before, as last seen of each file that is open. */
  readonly #versions = new Map<string, string>();
  readonly #budget: ReadAheadBudget;

  constructor(budget: ReadAheadBudget) {
    this.#budget = budget;
  }

  get size(): number {
    return this.#byHandle.size;
  }

  add(handle: number, path: Buffer, flags: number, stat: FileStat, fetch: Fetch, fetchStream = fetch): OpenFile {
    const file: OpenFile = {
      handle,
      path,
      isAppending: (flags & O_APPEND) !== 0,
      identity: identityOf(stat),
      reader: new ReadAhead(fetch, this.#budget, Number(stat.size)),
      stream: hasPositions(stat) ? null : new StreamReader(fetchStream, PIECE_BYTES),
    };
    this.#byHandle.set(handle, file);
    this.seen(stat);
    this.#versions.set(file.identity, versionOf(stat));
    const same = this.#byIdentity.get(file.identity);
    if (same === undefined) this.#byIdentity.set(file.identity, new Set([file]));
    else same.add(file);
    return file;
  }

  get(handle: number): OpenFile | null {
    return this.#byHandle.get(handle) ?? null;
  }

  /** Null for a handle that is not open: a release may come twice. */
  remove(handle: number): OpenFile | null {
    const file = this.#byHandle.get(handle);
    if (file === undefined) return null;
    this.#byHandle.delete(handle);
    const same = this.#byIdentity.get(file.identity);
    same?.delete(file);
    if (same?.size === 0) {
      this.#byIdentity.delete(file.identity);
      this.#versions.delete(file.identity);
    }
    file.reader.close();
    return file;
  }

  /**
   * The local process's kernel is about to be told this stat. Once it knows of a change it keeps what it reads from then on
   * as the new content: nothing read ahead of before may reach it.
   */
  seen(stat: FileStat): void {
    const identity = identityOf(stat);
    const version = this.#versions.get(identity);
    if (version === undefined || version === versionOf(stat)) return;
    this.#versions.set(identity, versionOf(stat));
    this.changed(identity);
  }

  /** The file has changed by our doing: what was read ahead of it, through any handle, is void. */
  changed(identity: string): void {
    for (const file of this.#byIdentity.get(identity) ?? []) file.reader.invalidate();
  }

  /** A change whose file is not known: every file may be the one. */
  allChanged(): void {
    for (const file of this.#byHandle.values()) file.reader.invalidate();
  }
}

function hasPositions({ mode }: FileStat): boolean {
  const type = mode & TYPE_MASK;
  return type === REGULAR || type === FOLDER;
}

function versionOf({ size, modifiedNs, changedNs }: FileStat): string {
  return `${size}:${modifiedNs}:${changedNs}`;
}

function identityOf(stat: FileStat): string {
  return `${stat.device}:${stat.inode}`;
}
