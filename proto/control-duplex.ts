// The socket that node:http2 is given, where the real one is read and written past it.

import { Duplex } from 'node:stream';

export interface ControlWay {
  /** Whole frames, or parts of them in order. */
  write(chunk: Buffer): void;
  end(): void;
  close(): void;
  /** node has taken what was pushed. */
  resume(): void;
}

export class ControlDuplex extends Duplex {
  readonly #way: ControlWay;
  /** node has enough for the moment. */
  isFull = false;

  constructor(way: ControlWay) {
    super({ allowHalfOpen: true });
    this.#way = way;
  }

  override push(chunk: Buffer | null): boolean {
    const goesOn = super.push(chunk);
    if (!goesOn && chunk !== null) this.isFull = true;
    return goesOn;
  }

  override _read(): void {
    if (!this.isFull) return;
    this.isFull = false;
    this.#way.resume();
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.#way.write(chunk);
    done();
  }

  override _final(done: () => void): void {
    this.#way.end();
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#way.close();
    done(error);
  }
}
