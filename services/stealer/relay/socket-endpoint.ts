// A TCP socket as an endpoint of the relay. Half-closed connections live on, and one that both sides have ended is released
// even when its peer never says so.

import type { Socket } from 'node:net';
import type { Endpoint, EndpointEvents } from './endpoint.ts';

/** How long a socket whose own direction has ended may wait for its peer's end, in ms. Like the kernel's tcp_fin_timeout. */
export const HALF_CLOSED_MS = 60_000;

export class SocketEndpoint implements Endpoint {
  readonly #socket: Socket;
  #events: EndpointEvents | undefined;
  #isDestroyed = false;
  /** Written in this turn, and not yet given to the socket. */
  #pending: Buffer | undefined;
  readonly #flushSoon = (): void => this.#flush();

  /** @param socket made with allowHalfOpen, or being connected */
  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
  }

  listen(events: EndpointEvents): void {
    const isFirst = this.#events === undefined;
    this.#events = events;
    if (!isFirst) return;
    let error: Error | undefined;
    this.#socket
      .on('data', (bytes: Buffer) => this.#events?.onData(bytes))
      .on('end', () => this.#events?.onEnd())
      .on('drain', () => this.#events?.onDrain())
      .on('error', (cause) => {
        error = cause;
      })
      .on('close', () => {
        if (!this.#isDestroyed) this.#events?.onClosed(error);
      });
  }

  /** Pieces that lie one behind the other in memory go out in one system call: what came in one read leaves in one write. */
  write(bytes: Buffer): boolean {
    if (this.#socket.destroyed || this.#socket.writableEnded) return true;
    const last = this.#pending;
    if (last !== undefined && last.buffer === bytes.buffer && last.byteOffset + last.length === bytes.byteOffset) {
      this.#pending = Buffer.from(last.buffer, last.byteOffset, last.length + bytes.length);
    } else {
      this.#flush();
      this.#pending = bytes;
      queueMicrotask(this.#flushSoon);
    }
    return !this.#socket.writableNeedDrain;
  }

  #flush(): void {
    const bytes = this.#pending;
    this.#pending = undefined;
    if (bytes !== undefined && !this.#socket.destroyed && !this.#socket.writableEnded) this.#socket.write(bytes);
  }

  end(): void {
    if (this.#socket.destroyed || this.#socket.writableEnded) return;
    this.#flush();
    this.#socket.end();
    this.#socket.setTimeout(HALF_CLOSED_MS, () => this.#socket.destroy());
  }

  destroy(): void {
    this.#isDestroyed = true;
    if (this.#socket.connecting) this.#socket.destroy();
    else this.#socket.resetAndDestroy();
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }
}
