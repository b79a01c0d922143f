// The typed door to the addon; the only file that loads it. Every operation runs on a thread of the addon's pool with the
// rights of the target's main process, never on the event loop. A wrong argument throws a TypeError at once; whatever the
// kernel says is in the answer. Same names and order as in addon.cc.

import { createRequire } from 'node:module';

declare const kind: unique symbol;

/** A process, its root folder and its rights, held until `closeTarget`. */
export interface Target {
  readonly [kind]: 'target';
}

/** An open file of a target, held until `closeFile`. */
export interface OpenFile {
  readonly [kind]: 'file';
}

export interface Attached {
  /** 0; ESRCH when there is no such process, or another one than was meant; else what the kernel said. */
  errno: number;
  /** What failed. */
  step: string;
  /** null with an errno. */
  target: Target | null;
  startTimeTicks: bigint;
  /** As in /proc/PID/environ. Secret. */
  environment: Buffer;
}

export interface Answer {
  /** A FileReply, encoded. */
  head: Buffer;
  /** Content of the file or link. */
  data: Buffer;
  /** After an open that has left a handle. */
  file: OpenFile | null;
}

/** `'now'` is the clock of the target's machine; null leaves the time as it is. */
export type TimeChange = bigint | 'now' | null;

interface Addon {
  /** Start time 0: whichever process has the id. More than `environmentBytes` of environment is E2BIG; 0: not read. */
  attach(pid: number, startTimeTicks: bigint, environmentBytes: number): Promise<Attached>;
  /** True when the process has ended; false when the target was closed before. Does not keep the event loop alive. */
  waitForEnd(target: Target): Promise<boolean>;
  /** What runs goes on; what comes throws. */
  closeTarget(target: Target): void;
  /** `handle` is only written into the answer. */
  open(
    target: Target,
    path: Buffer,
    flags: number,
    mode: number,
    inlineBytes: number,
    handle: number,
    keepsOpen: boolean,
  ): Promise<Answer>;
  closeFile(file: OpenFile): void;
  read(target: Target, file: OpenFile, offset: bigint, length: number): Promise<Answer>;
  /** `data` is copied. */
  write(target: Target, file: OpenFile, offset: bigint, data: Buffer): Promise<Answer>;
  statPath(target: Target, path: Buffer, noFollow: boolean): Promise<Answer>;
  statFile(target: Target, file: OpenFile): Promise<Answer>;
  statFsPath(target: Target, path: Buffer): Promise<Answer>;
  statFsFile(target: Target, file: OpenFile): Promise<Answer>;
  /** One at a time per file: they share its position. */
  readDir(target: Target, file: OpenFile, cookie: bigint, entries: number): Promise<Answer>;
  readLink(target: Target, path: Buffer): Promise<Answer>;
  access(target: Target, path: Buffer, mode: number, flags: number): Promise<Answer>;
  makeDir(target: Target, path: Buffer, mode: number): Promise<Answer>;
  removeDir(target: Target, path: Buffer): Promise<Answer>;
  unlink(target: Target, path: Buffer): Promise<Answer>;
  rename(target: Target, from: Buffer, to: Buffer, flags: number): Promise<Answer>;
  symlink(target: Target, content: Buffer, path: Buffer): Promise<Answer>;
  link(target: Target, from: Buffer, to: Buffer, flags: number): Promise<Answer>;
  setAttributesPath(
    target: Target,
    path: Buffer,
    noFollow: boolean,
    mode: number | null,
    uid: number | null,
    gid: number | null,
    size: bigint | null,
    accessed: TimeChange,
    modified: TimeChange,
  ): Promise<Answer>;
  setAttributesFile(
    target: Target,
    file: OpenFile,
    mode: number | null,
    uid: number | null,
    gid: number | null,
    size: bigint | null,
    accessed: TimeChange,
    modified: TimeChange,
  ): Promise<Answer>;
  sync(target: Target, file: OpenFile, dataOnly: boolean): Promise<Answer>;
}

/** Seen from this file, and from the bundle in dist/. */
const PLACES = ['../build/fs_env.node', '../services/fs-env/build/fs_env.node'];

function load(): Addon {
  const require = createRequire(import.meta.url);
  const faults: unknown[] = [];
  for (const place of PLACES) {
    try {
      return require(place) as Addon;
    } catch (fault) {
      faults.push(fault);
    }
  }
  throw new AggregateError(faults, 'the addon of fs-env is not built: make -C services/fs-env/native');
}

export const native: Addon = load();
