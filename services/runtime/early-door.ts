// A door that is there before anybody serves behind it: who comes early waits in front of it, connected, instead of knocking
// again and again.

import type { Socket } from 'node:net';
import { type Listening, listen } from './listen.ts';

/** Beyond it somebody else knocks. */
const MAX_WAITING = 64;

interface Waiting {
  readonly sockets: Set<Socket>;
  /** null: nobody serves yet. */
  onSocket: ((socket: Socket) => void) | null;
}

export class EarlyDoor {
  readonly #waiting: Waiting;
  readonly #listening: Listening;

  private constructor(waiting: Waiting, listening: Listening) {
    this.#waiting = waiting;
    this.#listening = listening;
  }

  /** Rejects as `listen` does. */
  static async open(address: string): Promise<EarlyDoor> {
    const waiting: Waiting = { sockets: new Set(), onSocket: null };
    return new EarlyDoor(waiting, await listen(address, (socket) => arrive(waiting, socket)));
  }

  /** With the real port. */
  get address(): string {
    return this.#listening.address;
  }

  /** Who waits comes in, in order; so does from then on who knocks. */
  serve(onSocket: (socket: Socket) => void): Listening {
    const { sockets } = this.#waiting;
    this.#waiting.onSocket = onSocket;
    for (const socket of sockets) {
      socket.removeAllListeners('error').removeAllListeners('close');
      onSocket(socket);
    }
    sockets.clear();
    return this.#listening;
  }

  /** For a door behind which nobody ever served. */
  close(): void {
    if (this.#waiting.onSocket !== null) return;
    this.#listening.close();
    for (const socket of this.#waiting.sockets) socket.destroy();
  }
}

function arrive({ sockets, onSocket }: Waiting, socket: Socket): void {
  if (onSocket !== null) {
    onSocket(socket);
    return;
  }
  if (sockets.size >= MAX_WAITING) {
    socket.destroy();
    return;
  }
  sockets.add(socket);
  socket.on('error', () => {
    // Its 'close' follows.
  });
  socket.once('close', () => sockets.delete(socket));
}
