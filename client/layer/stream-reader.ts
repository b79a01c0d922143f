// Reads of a pipe or device of the target, which have no positions and cannot be repeated: one at a time, in order, and the
// bytes that come for a read that was given up are the next one's. They wait as long as the target's do.

import { ERRNO } from '#proto/errno.ts';
import type { Fetch, Fetched, ReadResult } from './read-ahead.ts';

export class StreamReader {
  readonly #fetch: Fetch;
  readonly #maxBytes: number;
  #coming: Promise<Fetched> | null = null;
  #left: Uint8Array = new Uint8Array(0);
  #turn: Promise<unknown> = Promise.resolve();

  constructor(fetch: Fetch, maxBytes: number) {
    this.#fetch = fetch;
    this.#maxBytes = maxBytes;
  }

  /** `signal`: nobody waits any more. */
  read(length: number, signal: AbortSignal): Promise<ReadResult> {
    const result = this.#turn.then(() => this.#readNext(length, signal));
    this.#turn = result.catch(() => {});
    return result;
  }

  async #readNext(length: number, signal: AbortSignal): Promise<ReadResult> {
    if (this.#left.length === 0) {
      this.#coming ??= this.#fetch(0, Math.min(length, this.#maxBytes));
      const fetched = await unlessAborted(this.#coming, signal);
      if (fetched === null) return { errno: ERRNO.EINTR, chunks: [], bytes: 0 };
      this.#coming = null;
      if (fetched.errno !== 0) return { errno: fetched.errno, chunks: [], bytes: 0 };
      // Kept for long perhaps: not a view into a batch.
      this.#left = Buffer.concat(fetched.pieces);
      fetched.giveBack?.();
    }
    const chunk = this.#left.subarray(0, length);
    this.#left = this.#left.subarray(length);
    return { errno: 0, chunks: [chunk], bytes: chunk.length };
  }
}

function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T | null> {
  return new Promise((resolve, reject) => {
    const abort = () => resolve(null);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
