// What is held of a target while a session uses its network: its namespace, its root, and a watch on its life.

import { closeSync, constants, fstatSync, openSync, readFileSync, statSync } from 'node:fs';
import { AppError } from '#proto/errors.ts';
import { type FdPoll, READABLE, watchFd } from '#proto/sockets/addon.ts';
import { openPidfd } from './netns.ts';

/** One process for good: ids are reused, ids with a start time (proc(5), stat field 22) are not. */
export interface TargetIdentity {
  readonly pid: number;
  readonly startTimeTicks: bigint;
}

export class TargetHandle {
  readonly namespaceFd: number;
  readonly rootFd: number;
  /** The same for every process of a namespace. */
  readonly namespaceKey: string;
  readonly isNodeNetwork: boolean;
  readonly #poll: FdPoll;
  #isClosed = false;

  private constructor(pidFd: number, namespaceFd: number, rootFd: number, onEnded: () => void) {
    this.namespaceFd = namespaceFd;
    this.rootFd = rootFd;
    this.namespaceKey = keyOf(fstatSync(namespaceFd, { bigint: true }));
    this.isNodeNetwork = this.namespaceKey === nodeNamespaceKey();
    this.#poll = watchFd(pidFd, () => {
      this.#poll.start(0);
      onEnded();
    });
    this.#poll.start(READABLE);
  }

  /** Throws TARGET_GONE when the process is not, or no longer, the one that is meant. */
  static open({ pid, startTimeTicks }: TargetIdentity, onEnded: () => void): TargetHandle {
    const opened: number[] = [];
    const keep = (fd: number): number => {
      opened.push(fd);
      return fd;
    };
    try {
      const pidFd = keep(openPidfd(pid));
      const namespaceFd = keep(openSync(`/proc/${pid}/ns/net`, 'r'));
      const rootFd = keep(openSync(`/proc/${pid}/root`, O_PATH | constants.O_DIRECTORY));
      // Last: what was opened before is of this process if it still is this process.
      if (startTimeOf(pid) !== startTimeTicks) throw new AppError('TARGET_GONE', `process ${pid} is another one now`);
      return new TargetHandle(pidFd, namespaceFd, rootFd, onEnded);
    } catch (thrown) {
      for (const fd of opened) closeSync(fd);
      throw toTargetError(pid, thrown);
    }
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#poll.close();
    for (const fd of [this.namespaceFd, this.rootFd]) closeSync(fd);
  }
}

/** Not in `fs.constants`; x86-64 and arm64 alike (asm-generic/fcntl.h). */
const O_PATH = 0o10000000;

/** The name in parentheses may hold anything, also parentheses: fields are counted from the last one. */
export function startTimeOf(pid: number): bigint {
  const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  return BigInt(text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? '0');
}

function keyOf({ dev, ino }: { dev: bigint; ino: bigint }): string {
  return `${dev}:${ino}`;
}

/** Process 1 is the node's where we see the node's processes at all. */
function nodeNamespaceKey(): string | null {
  try {
    return keyOf(statSync('/proc/1/ns/net', { bigint: true }));
  } catch {
    return null;
  }
}

function toTargetError(pid: number, thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown;
  const code = thrown instanceof Error && 'code' in thrown ? thrown.code : '';
  const isGone = code === 'ENOENT' || code === 'ESRCH';
  const message = isGone ? `process ${pid} has ended` : `process ${pid} cannot be entered: ${String(code)}`;
  return AppError.from(new AppError(isGone ? 'TARGET_GONE' : 'NOT_PERMITTED', message, { cause: thrown }), 'BUG');
}
