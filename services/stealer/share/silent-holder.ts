// A holder that answers nothing: its hold on the target is a lease, which it loses by silence. While it stands still nothing that
// comes to the stolen ports is answered by anybody, so the next one ends it, and the kernel gives the ports back at once.

import { closeSync, readFileSync } from 'node:fs';
import { AppError } from '#proto/errors.ts';
import { stealerAddon } from '../native/index.ts';
import { joinHolderFd } from './meeting-place.ts';
import { nameOf, withStealer } from './peer.ts';

/** Of one question. A holder that has not answered two of them is looked at. */
export const SILENCE_MS = 3_500;
/** Clock ticks of /proc/PID/stat (USER_HZ). */
const TICKS_PER_S = 100;

export type Look = Readonly<{ pid: number; name: string; state: string; ticks: number; atMs: number }>;

/** @throws AppError when it cannot be reached by now, or is no stealer */
export function lookAtHolder(namespaceFd: number): Look {
  return onHolder(namespaceFd, (pid) => lookAt(pid));
}

/**
 * Ends it, if it is the same as before and stands still.
 *
 * @returns who it was, in words
 * @throws AppError DEADLINE_EXCEEDED when it only waits for a processor, NOT_PERMITTED when it cannot be ended
 */
export function endSilentHolder(namespaceFd: number, before: Look): string {
  return onHolder(namespaceFd, (pid, pidFd) => {
    const now = lookAt(pid);
    if (now.pid !== before.pid) throw new AppError('SERVICE_UNAVAILABLE', 'another stealer holds the target by now');
    if (!standsStill(before, now)) throw silent(`${now.name}, the stealer that holds the target, is slow`);
    try {
      stealerAddon().endPeer(pidFd);
    } catch (cause) {
      throw new AppError('NOT_PERMITTED', `${stillText(now)}, and cannot be ended from here: kill -KILL ${pid}`, {
        cause,
      });
    }
    return stillText(now);
  });
}

/** One that waits for a processor, or does at least something, is slow by the machine's fault, and keeps what it has. */
export function standsStill(before: Look, now: Look): boolean {
  const ticks = now.ticks - before.ticks;
  if (isStopped(now)) return isStopped(before);
  // In circles: it ran more than half of the time, and answered nobody.
  if (now.state === 'R') return ticks / TICKS_PER_S > (now.atMs - before.atMs) / 2_000;
  return ticks === 0;
}

const isStopped = ({ state }: Look): boolean => state === 'T' || state === 't';

function silent(what: string): AppError {
  return new AppError('DEADLINE_EXCEEDED', `${what} and has not answered for ${(2 * SILENCE_MS) / 1_000} s`);
}

function stillText(look: Look): string {
  const why = isStopped(look) ? ' (it is stopped)' : '';
  return `${look.name}, the stealer that held the target, has not answered for ${(2 * SILENCE_MS) / 1_000} s${why}`;
}

/** proc(5): state, utime and stime are fields 3, 14 and 15; the name before them may hold anything. */
function lookAt(pid: number): Look {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state = '?'] = fields;
  return { pid, name: nameOf(pid), state, ticks: Number(fields[11]) + Number(fields[12]), atMs: performance.now() };
}

function onHolder<T>(namespaceFd: number, act: (pid: number, pidFd: number) => T): T {
  const fd = joinHolderFd(namespaceFd);
  try {
    return withStealer(fd, act);
  } finally {
    closeSync(fd);
  }
}
