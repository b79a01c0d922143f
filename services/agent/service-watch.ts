// Watches a service that holds something of targets. One that stands still (stopped, or hung) keeps their ports and answers nobody,
// so it is ended: the kernel gives back what it held, and whoever started it starts it anew.
//
// It is asked over the bus; when that brings no answer, at its own door, since the bus may be what is wrong.

import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import type { Logger } from 'pino';
import { AppError } from '#proto/errors.ts';
import type { ServiceName } from '#proto/subjects.ts';
import { isStopped, type Look, lookAt, standsStill } from '#runtime/standstill.ts';

export type Found = Readonly<{ address: string; pid: number }>;

export interface ServiceWatchOptions {
  service: ServiceName;
  /** Rejects while nobody answers, within a second or so. */
  lookup(): Promise<Found>;
  logger: Logger;
}

const ASK_EVERY_MS = 1_000;
/** For the first bytes of a door; they come by themselves. */
const DOOR_MS = 1_500;
/** Questions at the door without an answer, before one that runs counts as one that runs in circles. */
const CIRCLING_TIMES = 4;

export class ServiceWatch {
  readonly #options: ServiceWatchOptions;
  #found: Look & Found;
  #timer: NodeJS.Timeout;
  #isClosed = false;

  private constructor(options: ServiceWatchOptions, found: Look & Found) {
    this.#options = options;
    this.#found = found;
    this.#timer = this.#later();
  }

  /** Null for what is no process of the service that we see. */
  static of(found: Found, options: ServiceWatchOptions): ServiceWatch | null {
    const look = lookAtService(found, options.service);
    return look === null ? null : new ServiceWatch(options, look);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  #later(): NodeJS.Timeout {
    return setTimeout(() => void this.#ask(), ASK_EVERY_MS);
  }

  async #ask(): Promise<void> {
    const { lookup, service } = this.#options;
    try {
      const found = await lookup();
      this.#found = lookAtService(found, service) ?? this.#found;
    } catch {
      await this.#askAtDoor();
    }
    if (!this.#isClosed) this.#timer = this.#later();
  }

  async #askAtDoor(): Promise<void> {
    for (let times = 1; times <= CIRCLING_TIMES && !this.#isClosed; times++) {
      const before = this.#lookAgain();
      if (before === null || (await doorOf(this.#found.address)) !== 'silent') return;
      const now = this.#lookAgain();
      if (now === null || this.#isClosed || !standsStill(before, now)) return;
      if (now.state === 'R' && times < CIRCLING_TIMES) continue;
      this.#end(now);
      return;
    }
  }

  /** Null when it has gone: then it holds nothing. */
  #lookAgain(): Look | null {
    const look = lookAtService(this.#found, this.#options.service);
    return look?.startTicks === this.#found.startTicks ? look : null;
  }

  #end(look: Look): void {
    const { service, logger } = this.#options;
    try {
      process.kill(look.pid, 'SIGKILL');
      logger.warn({ service, pid: look.pid, isStopped: isStopped(look) }, 'a service that stood still was ended');
    } catch (thrown) {
      const err = AppError.from(thrown, 'NOT_PERMITTED');
      logger.error({ service, pid: look.pid, err }, 'a service stands still and cannot be ended');
    }
  }
}

/** By its command, as its start is ours to know (service-child.ts, services/beside). */
function lookAtService(found: Found, service: ServiceName): (Look & Found) | null {
  try {
    const words = readFileSync(`/proc/${found.pid}/cmdline`, 'utf8').split('\0');
    const isIt = words.some((word, at) => {
      if (word.endsWith('/beside.js')) return words[at + 1] === service;
      return word.endsWith(`/${service}.js`);
    });
    return isIt ? { ...lookAt(found.pid), address: found.address } : null;
  } catch {
    return null;
  }
}

/** A server of HTTP/2 speaks first (RFC 9113 section 3.4). */
function doorOf(address: string): Promise<'open' | 'silent' | 'closed'> {
  return new Promise((resolve) => {
    const socket = connect({ path: address.replace(/^unix:/, '') });
    const settle = (how: 'open' | 'silent' | 'closed') => {
      clearTimeout(late);
      socket.destroy();
      resolve(how);
    };
    const late = setTimeout(() => settle('silent'), DOOR_MS);
    socket.once('data', () => settle('open'));
    socket.once('error', (error: NodeJS.ErrnoException) => settle(error.code === 'EAGAIN' ? 'silent' : 'closed'));
    socket.once('end', () => settle('closed'));
  });
}
