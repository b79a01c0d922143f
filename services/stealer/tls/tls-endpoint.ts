// A connection in TLS as an endpoint of the relay, which sees its plaintext. Node's own TLS over a socket of Node's: what is
// read are buffers of their own, and stay.
//
// Buffers: one read, and what the kernel has not taken of what was written; the relay is told, and reads no more of the other
// side.

import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Endpoint, EndpointEvents } from '../relay/endpoint.ts';
import { HALF_CLOSED_MS } from '../relay/pool-endpoint.ts';
import { socketPool } from '../relay/socket-pool.ts';

export class TlsEndpoint implements Endpoint {
  readonly #secure: TLSSocket;
  readonly #raw: Socket;
  #events: EndpointEvents | undefined;
  /** Written in this turn: one record, if it can be. */
  #piece: Buffer | undefined;
  #isFlushDue = false;
  #isPaused = false;
  /** Node tells an end that nothing precedes also to who has paused. */
  #hasReadEnd = false;
  #isEndTold = false;
  #isOver = false;
  #isEnding = false;
  #failure: Error | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** @param raw what `secure` is laid over, with `allowHalfOpen` */
  constructor(secure: TLSSocket, raw: Socket) {
    this.#secure = secure;
    this.#raw = raw;
    raw.setNoDelay(true);
    secure.on('data', (bytes: Buffer) => {
      this.#timer?.refresh();
      this.#events?.onData(bytes);
    });
    secure.on('end', () => {
      this.#hasReadEnd = true;
      this.#tellEnd();
    });
    secure.on('drain', () => this.#events?.onDrain());
    secure.on('error', (error) => {
      this.#failure ??= error;
    });
    raw.on('error', (error) => {
      this.#failure ??= error;
    });
    secure.on('close', () => this.#onClose());
    // Nobody listens yet.
    secure.pause();
  }

  listen(events: EndpointEvents): void {
    this.#events = events;
    if (this.#isOver) queueMicrotask(() => events.onClosed(this.#failure));
    else this.resume();
  }

  write(bytes: Buffer): boolean {
    if (bytes.length === 0 || this.#isOver || this.#isEnding) return true;
    const last = this.#piece;
    if (last !== undefined && last.buffer === bytes.buffer && last.byteOffset + last.length === bytes.byteOffset) {
      this.#piece = Buffer.from(last.buffer, last.byteOffset, last.length + bytes.length);
    } else {
      this.#flush();
      this.#piece = socketPool().isBorrowed(bytes) ? Buffer.from(bytes) : bytes;
    }
    if (!this.#isFlushDue) {
      this.#isFlushDue = true;
      // The pieces of a turn leave together.
      this.#secure.cork();
      process.nextTick(() => this.#uncork());
    }
    return !this.#secure.writableNeedDrain;
  }

  end(): void {
    if (this.#isOver || this.#isEnding) return;
    this.#flush();
    this.#isEnding = true;
    this.#secure.end();
    this.#timer = setTimeout(() => this.#secure.destroy(), HALF_CLOSED_MS).unref();
  }

  destroy(): void {
    if (this.#isOver) return;
    this.#release();
    this.#events = undefined;
    // Not within a call of TLS's own, which goes on with the socket after it.
    setImmediate(() => {
      if (!this.#raw.destroyed) this.#raw.resetAndDestroy();
      this.#secure.destroy();
    });
  }

  /** It is not what it should be: over, and told so. */
  fail(error: Error): void {
    this.#secure.destroy(error);
  }

  pause(): void {
    this.#isPaused = true;
    this.#secure.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#secure.resume();
    if (this.#hasReadEnd) queueMicrotask(() => this.#tellEnd());
  }

  #tellEnd(): void {
    if (this.#isEndTold || this.#isPaused || this.#isOver || this.#events === undefined) return;
    this.#isEndTold = true;
    this.#events.onEnd();
  }

  #uncork(): void {
    this.#isFlushDue = false;
    this.#flush();
    if (!this.#isOver) this.#secure.uncork();
  }

  #flush(): void {
    const bytes = this.#piece;
    this.#piece = undefined;
    if (bytes !== undefined && !this.#isOver) this.#secure.write(bytes);
  }

  #onClose(): void {
    if (this.#isOver) return;
    this.#release();
    this.#raw.destroy();
    this.#events?.onClosed(this.#failure);
  }

  #release(): void {
    this.#isOver = true;
    this.#piece = undefined;
    clearTimeout(this.#timer);
  }
}
