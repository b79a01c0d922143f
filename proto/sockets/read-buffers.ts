// Memory that bulk is read into, used again as soon as its bytes have gone their way: fresh memory costs page faults, a cold
// cache and the collector as much as the copy into it. Who never gives a buffer back costs a fresh one, and nothing else.

import { wipe } from '../receive-blocks.ts';

/** Of one read. */
export const BULK_READ_BYTES = 256 * 1024;
/** Before and behind them, for what is written around them (native/bulk.h). */
export const READ_ROOM_BYTES = 64;
/** Kept for the next: what two sessions have on their way. */
const MAX_KEPT = 32;

const kept: Buffer[] = [];

export function takeReadBuffer(): Buffer {
  return kept.pop() ?? Buffer.allocUnsafeSlow(BULK_READ_BYTES + 2 * READ_ROOM_BYTES);
}

/** Nobody has a view into it any more. */
export function giveReadBuffer(buffer: Buffer): void {
  wipe(buffer);
  if (kept.length < MAX_KEPT) kept.push(buffer);
}

const shared = Buffer.allocUnsafeSlow(BULK_READ_BYTES);

/** Such a part of a read is bulk: less is copied, since it would keep the whole buffer. */
export const BULK_PART = 4;

/**
 * Where one stream reads to: who brings bulk gets a buffer each time, which goes on as it is; thousands of others share
 * one, and what they bring is copied.
 */
export class ReadRoom {
  readonly #readBytes: number;
  #own: Buffer | null = null;
  #isBulk = false;

  constructor(readBytes: number) {
    this.#readBytes = readBytes;
  }

  /** The last read brought much. */
  get isBulk(): boolean {
    return this.#isBulk;
  }

  /** So much came, and lies elsewhere. */
  passed(count: number): void {
    this.#isBulk = count * BULK_PART >= this.#readBytes;
  }

  take(): Buffer {
    // Not before it is read into: who waits keeps none.
    if (this.#isBulk) this.#own ??= takeReadBuffer();
    return (this.#own ?? shared).subarray(0, this.#readBytes);
  }

  /** The bytes as they may be kept, and what to call when nobody keeps them any more. */
  took(count: number): { data: Buffer; release?: () => void } {
    const own = this.#own;
    this.passed(count);
    if (own === null || !this.#isBulk) {
      const data = Buffer.from((own ?? shared).subarray(0, count));
      this.close();
      return { data };
    }
    this.#own = null;
    return { data: own.subarray(0, count), release: () => giveReadBuffer(own) };
  }

  close(): void {
    if (this.#own !== null) giveReadBuffer(this.#own);
    this.#own = null;
  }
}
