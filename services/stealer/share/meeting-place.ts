// Where the stealers of one target meet: an abstract unix name in the target's network namespace. Who has the name holds the
// target's connections; the kernel gives it to one at a time, and takes it back when that one is gone, however it went.

import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { errnoName } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import { type FdPoll, READABLE, watchFd } from '#proto/sockets/addon.ts';
import { stealerAddon } from '../native/index.ts';
import { assertIsStealer } from './peer.ts';

export const NAME = 'mirrord-steal';
/** Taken in one turn of the loop: who connects for nothing must not starve the target's connections. */
const ACCEPTED_PER_TURN = 8;
/** Where there is no descriptor left: who comes waits in the kernel. */
const SHORTAGE_PAUSE_MS = 100;

/** The name is ours: what comes to it is handed on when it is a stealer, and closed unread when it is not. */
export class Claim {
  readonly #fd: number;
  #poll: FdPoll | null = null;
  #isClosed = false;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** Null while somebody else has the name. Throws what the kernel says otherwise. */
  static take(namespaceFd: number): Claim | null {
    try {
      return new Claim(stealerAddon().claim(namespaceFd, NAME));
    } catch (cause) {
      if (errnoOf(cause) === 'EADDRINUSE') return null;
      throw AppError.from(cause, 'NOT_PERMITTED');
    }
  }

  listen(onStealer: (socket: Socket) => void, onStranger: (error: AppError) => void): void {
    this.#poll = watchFd(this.#fd, () => this.#accept(onStealer, onStranger));
    this.#poll.start(READABLE);
  }

  /** Others may have the name. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#poll === null) closeSync(this.#fd);
    else this.#poll.close();
  }

  #accept(onStealer: (socket: Socket) => void, onStranger: (error: AppError) => void): void {
    for (let count = 0; count < ACCEPTED_PER_TURN && !this.#isClosed; count++) {
      let fd: number | null = null;
      try {
        fd = stealerAddon().acceptPeer(this.#fd);
        if (fd === null) return;
        assertIsStealer(fd);
      } catch (thrown) {
        if (fd === null) {
          this.#poll?.start(0);
          setTimeout(() => this.#poll?.start(READABLE), SHORTAGE_PAUSE_MS).unref();
          return;
        }
        closeSync(fd);
        onStranger(AppError.from(thrown, 'BUG'));
        continue;
      }
      onStealer(new Socket({ fd, readable: true, writable: true }));
    }
  }
}

/**
 * A connection to the stealer that has the name.
 *
 * @throws AppError SERVICE_UNAVAILABLE when nobody is there at this moment, NOT_PERMITTED when it is no stealer
 */
export function connectToHolder(namespaceFd: number): Socket {
  return new Socket({ fd: joinHolderFd(namespaceFd), readable: true, writable: true });
}

/** A connected descriptor, which is the caller's; throws likewise. */
export function joinHolderFd(namespaceFd: number): number {
  let fd: number;
  try {
    fd = stealerAddon().join(namespaceFd, NAME);
  } catch (cause) {
    const isMoment = ['ECONNREFUSED', 'EAGAIN', 'EINTR'].includes(errnoOf(cause));
    const said = `who holds the target's connections cannot be reached: ${errnoOf(cause)}`;
    throw new AppError(isMoment ? 'SERVICE_UNAVAILABLE' : 'NOT_PERMITTED', said, { cause });
  }
  try {
    assertIsStealer(fd);
  } catch (thrown) {
    closeSync(fd);
    const { message } = AppError.from(thrown, 'BUG');
    throw new AppError('NOT_PERMITTED', takenText(message));
  }
  return fd;
}

/** A process of the target's network keeps everybody from stealing: its user is told which one, and what helps. */
export function takenText(who: string): string {
  return (
    `the name by which stealers of this target meet (the abstract unix socket ${NAME}) is taken: ${who}; ` +
    'nothing can be stolen from this target until that process ends or closes the socket'
  );
}

function errnoOf(thrown: unknown): string {
  return errnoName(thrown instanceof Error && 'errno' in thrown ? Number(thrown.errno) : 0);
}
