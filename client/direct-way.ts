// Two ways to an agent in a cluster: through the API server, which always works, and, where it was asked for and can be
// reached, the address of its pod. The session begins on the first and goes over to the second.

import type { Duplex } from 'node:stream';
import { connectDirect } from '#proto/direct-tls.ts';
import { AppError } from '#proto/errors.ts';
import type { DirectDoor } from '#proto/gen/v1/session.ts';
import type { Log } from './log.ts';

export type Connect = (signal: AbortSignal) => Promise<Duplex>;

/** An address that is not to be reached often says nothing at all. */
const DIRECT_DEADLINE_MS = 4_000;

export interface DirectSession {
  readonly direct: DirectDoor | undefined;
  reconnect(reason: string): void;
}

export class DirectWay {
  readonly #through: Connect;
  readonly #log: Log;
  readonly #deadlineMs: number;
  #host = '';
  #door: DirectDoor | null = null;

  constructor(through: Connect, log: Log, deadlineMs = DIRECT_DEADLINE_MS) {
    this.#through = through;
    this.#log = log;
    this.#deadlineMs = deadlineMs;
  }

  /** The direct way once it is known to work, and the other whenever it does not. */
  readonly connect: Connect = async (signal) => {
    if (this.#door === null) return this.#through(signal);
    try {
      return await this.#openDirect(this.#door, signal);
    } catch (thrown) {
      this.#log.warn('direct connection failed', { message: AppError.from(thrown, 'AGENT_LOST').message });
      return this.#through(signal);
    }
  };

  /** Resolves with what to tell the user: that the session has gone over, or why it stays. */
  async take(session: DirectSession, host: string | undefined): Promise<string> {
    const stays = 'the session stays with the connection through the API server';
    if (session.direct === undefined || host === undefined) return `the agent has no direct address: ${stays}`;
    this.#host = host;
    try {
      const probe = await this.#openDirect(session.direct, new AbortController().signal);
      probe.destroy();
    } catch (thrown) {
      return `${AppError.from(thrown, 'AGENT_LOST').message}: ${stays}`;
    }
    this.#door = session.direct;
    session.reconnect('going over to a direct connection');
    return `connected directly to ${host}:${session.direct.port}`;
  }

  #openDirect({ port, key }: DirectDoor, signal: AbortSignal): Promise<Duplex> {
    const late = AbortSignal.timeout(this.#deadlineMs);
    return connectDirect(this.#host, port, key, AbortSignal.any([signal, late]));
  }
}
