// One stream of a copy of HTTP/2: its frames that wait, and, until the local process begins to answer, those that have gone, which
// are said once more on another connection when this one turns out not to take them. Pure.
//
// Buffers: 64 KiB that have gone, of a stream; what waits is within the connection's credit.

import type { Http2Upload } from './http2-upload.ts';

/** A larger request is not said twice. */
const MAX_KEPT_BYTES = 64 * 1024;

export class UploadStream {
  readonly id: number;
  /** Where it is; null while it waits for a connection. */
  upload: Http2Upload | null = null;
  /** What is left of its window, less the initial one. */
  window = 0;
  hasOurEnd = false;
  hasTheirEnd = false;
  /** The local process has refused it once (REFUSED_STREAM). */
  wasRefused = false;
  readonly #keep: (bytes: number) => boolean;
  /** Whole frames; a block of headers is one. The first `#gone` of them have gone. */
  readonly #frames: Buffer[] = [];
  #gone = 0;
  /** Frames that have gone on this connection or an earlier one. */
  #copied = 0;
  #keptBytes = 0;
  #waitingBytes = 0;
  #isKept = true;

  /** @param keep whether so many bytes more may be kept of what has gone; told when they are less */
  constructor(id: number, keep: (bytes: number) => boolean) {
    this.id = id;
    this.#keep = keep;
  }

  /** Of the copy, bytes that have never gone. */
  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  get canBeRepeated(): boolean {
    return this.#isKept;
  }

  get next(): Buffer | undefined {
    return this.#frames[this.#gone];
  }

  push(bytes: Buffer): void {
    this.#frames.push(bytes);
    this.#waitingBytes += bytes.length;
  }

  /** The next frame goes. @returns false when it has gone before, on another connection */
  take(): boolean {
    const isFirstTime = this.#gone >= this.#copied;
    const frame = this.#frames[this.#gone] as Buffer;
    if (isFirstTime) this.#waitingBytes -= frame.length;
    if (this.#isKept && isFirstTime && !this.#mayKeep(frame.length)) this.forget();
    if (!this.#isKept) {
      this.#frames.shift();
      if (!isFirstTime) this.#copied -= 1;
      return isFirstTime;
    }
    if (isFirstTime) {
      // Not the batch that it came in.
      this.#frames[this.#gone] = Buffer.from(frame);
      this.#copied += 1;
      this.#keptBytes += frame.length;
    }
    this.#gone += 1;
    return isFirstTime;
  }

  #mayKeep(bytes: number): boolean {
    return this.#keptBytes + bytes <= MAX_KEPT_BYTES && this.#keep(bytes);
  }

  /** It is being answered: it is not said again. What has gone on an earlier connection alone still goes. */
  forget(): void {
    if (!this.#isKept) return;
    this.#isKept = false;
    this.#frames.splice(0, this.#gone);
    this.#copied -= this.#gone;
    this.#gone = 0;
    this.#keep(-this.#keptBytes);
    this.#keptBytes = 0;
  }

  /** For another connection. */
  rewind(): void {
    this.upload = null;
    this.#gone = 0;
    this.hasOurEnd = false;
    this.hasTheirEnd = false;
  }

  /** It is over: nothing of it is held any more. */
  clear(): void {
    this.forget();
    this.#frames.length = 0;
    this.#waitingBytes = 0;
  }
}
