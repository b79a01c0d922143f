// The target of a session: the process that was meant and no other, its network namespace, and word of its end.

import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { AppError } from '#proto/errors.ts';
import { type FdPoll, READABLE, watchFd } from '#proto/sockets/addon.ts';
import { openPidfd } from '#runtime/netns.ts';

export interface SnifferTarget {
  readonly pid: number;
  /** Of the namespace: targets that share it share a capture. */
  readonly namespaceId: string;
  /** Open until `close`. */
  readonly namespaceFd: number;
  close(): void;
}

/** Throws TARGET_GONE when the process has ended or its id is another's, NOT_PERMITTED when the kernel refuses us. */
export function openTarget(pid: number, startTimeTicks: bigint, onEnd: () => void): SnifferTarget {
  const pidfd = openPidfd(pid);
  let watch: FdPoll | null = null;
  let namespaceFd = -1;
  try {
    watch = watchFd(pidfd, () => {
      watch?.close();
      onEnd();
    });
    const startTime = startTimeOf(pid);
    if (startTimeTicks !== 0n && startTime !== startTimeTicks) throw gone(pid, 'its id is another process');
    namespaceFd = openNamespace(pid);
    // Nothing of what was read can be of another process when the one that was meant is still the one with this id.
    if (startTimeOf(pid) !== startTime) throw gone(pid, 'it has ended');
    const { dev, ino } = fstatSync(namespaceFd, { bigint: true });
    watch.start(READABLE);
    const fd = namespaceFd;
    const owned = watch;
    let isOpen = true;
    return {
      pid,
      namespaceId: `${dev}:${ino}`,
      namespaceFd: fd,
      close: () => {
        if (!isOpen) return;
        isOpen = false;
        owned.close();
        closeSync(fd);
      },
    };
  } catch (error) {
    if (watch === null) closeSync(pidfd);
    else watch.close();
    if (namespaceFd >= 0) closeSync(namespaceFd);
    throw error;
  }
}

function openNamespace(pid: number): number {
  try {
    return openSync(`/proc/${pid}/ns/net`, 'r');
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ESRCH') throw gone(pid, 'it has ended');
    const user = process.geteuid?.();
    throw new AppError(
      'NOT_PERMITTED',
      `process ${pid}: ${code}: the sniffer, user ${user}, may not enter its network`,
      {
        cause,
      },
    );
  }
}

/** Field 22 of proc(5) stat; the name before it may hold anything. */
function startTimeOf(pid: number): bigint {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return BigInt(text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? '0');
  } catch (cause) {
    throw new AppError('TARGET_GONE', `process ${pid} has ended`, { cause });
  }
}

function gone(pid: number, why: string): AppError {
  return new AppError('TARGET_GONE', `process ${pid}: ${why}`);
}
