// Bytes of one connection between their arrival and their use: read into one piece of memory, looked at where they lie, and
// never moved but for the beginning of a frame whose end does not fit any more. The memory is used from its start again as
// soon as nobody holds on to what lay there, so that bulk that is only passed on stays in the cache.

import { BLOCK_BYTES, ReceiveBlock } from './receive-blocks.ts';
import type { BulkDelivery } from './sockets/bulk-delivery.ts';

/** For a connection that brings little. */
const FIRST_BYTES = 16 * 1024;
/** Behind what was asked for, so that the head of the next frame, which says how long that is, comes in the same read. */
const NEXT_HEAD_BYTES = 64;
/** Of one read: a frame of bulk whole. Less than the memory, so that the end of a frame finds room behind its beginning. */
const READ_BYTES = 257 * 1024;
/** A frame that fills a read is read by itself: all that is moved is the head of the next. */
const ALONE_BYTES = 192 * 1024;
const LEAST_READ_BYTES = 8 * 1024;

export class ReceivedBytes {
  /** Who keeps a part of the bytes holds it. */
  block = ReceiveBlock.small(FIRST_BYTES);
  /** Of what has not been used. */
  start = 0;
  #end = 0;
  #neededBytes = 0;

  get bytes(): Buffer {
    return this.block.bytes;
  }

  get length(): number {
    return this.#end - this.start;
  }

  /** Where the next bytes go. */
  room(): Buffer {
    if (this.length <= NEXT_HEAD_BYTES && this.start > 0 && !this.block.isHeld) this.#begin();
    const missingBytes = this.#neededBytes - this.length;
    const leastBytes = Math.max(missingBytes, LEAST_READ_BYTES);
    if (this.bytes.length - this.#end < leastBytes) this.#move();
    const most = missingBytes > ALONE_BYTES ? missingBytes + NEXT_HEAD_BYTES : READ_BYTES;
    return this.bytes.subarray(this.#end, Math.min(this.bytes.length, this.#end + most));
  }

  /** All of the memory is there to be read into, but what has not been used. */
  get isFree(): boolean {
    return this.bytes.length === BLOCK_BYTES && !this.block.isHeld;
  }

  /** Only while it is free. False: something else lies here, and nothing was done. */
  deliver(delivery: BulkDelivery): boolean {
    if (!delivery.run(this.block, this.start, this.#end)) return false;
    this.start = delivery.start;
    this.#end = delivery.end;
    this.#neededBytes = 0;
    return true;
  }

  added(count: number): void {
    this.#end += count;
  }

  /** What begins at `start` is so long. */
  needs(bytes: number): void {
    this.#neededBytes = bytes;
  }

  used(bytes: number): void {
    this.start += bytes;
    this.#neededBytes = 0;
  }

  #begin(): void {
    this.bytes.copyWithin(0, this.start, this.#end);
    this.#end -= this.start;
    this.start = 0;
  }

  #move(): void {
    const { block, start } = this;
    const rest = this.bytes.subarray(start, this.#end);
    if (block.isHeld || block.bytes.length < BLOCK_BYTES) {
      this.block = ReceiveBlock.take();
      this.block.bytes.set(rest);
      block.leave();
    } else block.bytes.copyWithin(0, start, this.#end);
    this.start = 0;
    this.#end = rest.length;
  }
}
