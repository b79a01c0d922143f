// A holder that answers nothing: its hold on the target is a lease, which it loses by silence. While it stands still nothing that
// comes to the stolen ports is answered by anybody, so the next one ends it, and the kernel gives the ports back at once.

import { closeSync } from 'node:fs';
import { AppError } from '#proto/errors.ts';
import { isStopped, type Look, lookAt, standsStill } from '#runtime/standstill.ts';
import { stealerAddon } from '../native/index.ts';
import { joinHolderFd } from './meeting-place.ts';
import { nameOf, withStealer } from './peer.ts';

/** Of one question. A holder that has not answered two of them is looked at. */
export const SILENCE_MS = 3_500;

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
    if (now.pid !== before.pid || now.startTicks !== before.startTicks)
      throw new AppError('SERVICE_UNAVAILABLE', 'another stealer holds the target by now');
    if (!standsStill(before, now)) throw silent(`${nameOf(now.pid)}, the stealer that holds the target, is slow`);
    const said = stillText(now);
    try {
      stealerAddon().endPeer(pidFd);
    } catch (cause) {
      throw new AppError('NOT_PERMITTED', `${said}, and cannot be ended from here: kill -KILL ${pid}`, {
        cause,
      });
    }
    return said;
  });
}

function silent(what: string): AppError {
  return new AppError('DEADLINE_EXCEEDED', `${what} and has not answered for ${(2 * SILENCE_MS) / 1_000} s`);
}

function stillText(look: Look): string {
  const why = isStopped(look) ? ' (it is stopped)' : '';
  return `${nameOf(look.pid)}, the stealer that held the target, has not answered for ${(2 * SILENCE_MS) / 1_000} s${why}`;
}

function onHolder<T>(namespaceFd: number, act: (pid: number, pidFd: number) => T): T {
  const fd = joinHolderFd(namespaceFd);
  try {
    return withStealer(fd, act);
  } finally {
    closeSync(fd);
  }
}
