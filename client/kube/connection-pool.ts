// Connections to the API server that requests share: kept open between calls, few at a time.

import { Agent, type ClientRequestArgs } from 'node:http';
import type { Duplex } from 'node:stream';
import type { ClusterAccess } from './config.ts';
import { connectToServer } from './connection.ts';

/** A command asks for one or two things at a time. */
const MAX_CONNECTIONS = 6;
/** What stands between closes idle connections without a word, some after a minute; the end of a long session must not meet one. */
const IDLE_MS = 20_000;

export class ConnectionPool extends Agent {
  readonly #access: ClusterAccess;
  readonly #closing: AbortSignal;

  constructor(access: ClusterAccess, closing: AbortSignal) {
    super({ keepAlive: true, maxSockets: MAX_CONNECTIONS, maxFreeSockets: MAX_CONNECTIONS, timeout: IDLE_MS });
    this.#access = access;
    this.#closing = closing;
  }

  override createConnection(
    _options: ClientRequestArgs,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): Duplex | null | undefined {
    connectToServer(this.#access, this.#closing).then(
      (socket) => callback?.(null, socket),
      // Node's own callback takes an error alone.
      (error: Error) => (callback as ((error: Error) => void) | undefined)?.(error),
    );
    return undefined;
  }

  /** A connection keeps the certificate it was made with. */
  destroyIdle(): void {
    for (const sockets of Object.values(this.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
  }
}
