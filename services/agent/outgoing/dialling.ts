// Holds the id of a connection until its dial has an end.

import { AppError } from '#proto/errors.ts';
import type { Frame } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { type Connection, type ConnectionHost, resetFrame } from './connection.ts';

export class Dialling implements Connection {
  readonly #id: number;
  readonly #host: ConnectionHost;
  readonly #abort = new AbortController();
  hasClientEnded = false;

  constructor(id: number, host: ConnectionHost) {
    this.#id = id;
    this.#host = host;
  }

  /** Aborted when nobody wants the connection any longer. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  receive(frame: Frame): void {
    if (frame.kind === FrameKind.FRAME_KIND_HALF_CLOSE) this.hasClientEnded = true;
    else if (frame.kind === FrameKind.FRAME_KIND_DATA) {
      this.fail(new AppError('PROTOCOL_VIOLATION', `data on connection ${this.#id} where none may come`));
    } else this.destroy();
  }

  fail(error: AppError): void {
    if (!this.#abort.signal.aborted) this.#host.send(resetFrame(this.#id, error));
    this.destroy();
  }

  grant(): void {
    // Nothing was sent yet.
  }

  finish(): void {
    this.destroy();
  }

  destroy(): void {
    this.#abort.abort();
    this.#host.release(this.#id);
    this.#host.ended(this.#id, this);
  }
}
