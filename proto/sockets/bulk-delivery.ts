// Bulk that one native call reads from a session and writes to a connection, several frames at once (native/delivery.h): the other end of
// bulk-order.ts. Who is read from offers one upwards, each layer limits it or refuses, and the connection that had the last bulk
// names its socket; what was delivered goes up again, and each counts it. One delivery serves all.

import type { ReceiveBlock } from '../receive-blocks.ts';
import type { NativeSockets } from './addon.ts';

/** Where a connection's bytes can go without anybody looking at them. */
export interface BulkTaker {
  /** Names its connection and its socket, and limits it. False where it takes none that way just now. */
  offer(delivery: BulkDelivery): boolean;
  /** All that was delivered is its own, but what is left of the last frame. */
  delivered(delivery: BulkDelivery): void;
}

/** As delivery.h has it. */
const FRAMES = 8;
const [AT_FRAMES, AT_START, AT_END, AT_REST, AT_REST_END, AT_ERRNO, AT_ASKED, AT_EACH] = [0, 1, 2, 3, 4, 5, 6, 7];
const WORDS_PER_FRAME = 2;
const READY_MASK = AT_EACH + FRAMES * WORDS_PER_FRAME;
const HAS_SEEN_OTHERS = READY_MASK + 1;

export class BulkDelivery {
  /** Whose socket it goes to, and the connection of the session. */
  to = -1;
  connection = 0;
  /** Of HTTP/2. */
  call = 0;
  /** Of the batch that is due. */
  sequence = 0;
  lastRead = 0;
  /** The memory that it lies in. */
  block: ReceiveBlock | null = null;
  #native: NativeSockets | null = null;
  #fd = -1;
  #sourceId = 0;
  #mostBytes = 0;
  readonly #numbers = new Float64Array(7);
  readonly #report = new Uint32Array(HAS_SEEN_OTHERS + 1);

  /** From that socket. */
  begin(native: NativeSockets, fd: number, sourceId: number): void {
    this.#native = native;
    this.#fd = fd;
    this.#sourceId = sourceId;
    this.#mostBytes = Number.MAX_SAFE_INTEGER;
    this.#report.fill(0);
  }

  /** At most so many bytes of messages. False where that is none. */
  limit(bytes: number): boolean {
    if (bytes < this.#mostBytes) this.#mostBytes = bytes;
    return this.#mostBytes > 0;
  }

  /** From `start` to `end` of the block lies what was read before. False: nothing was read or delivered, because that is for somebody else. */
  run(block: ReceiveBlock, start: number, end: number): boolean {
    const numbers = this.#numbers;
    this.block = block;
    numbers[0] = this.call;
    numbers[1] = this.connection;
    numbers[2] = this.sequence;
    numbers[3] = this.#mostBytes;
    numbers[4] = start;
    numbers[5] = end;
    const native = this.#native as NativeSockets;
    this.lastRead = native.deliver(this.#fd, this.#sourceId, this.to, numbers, block.bytes, this.#report);
    return this.frames > 0 || this.askedBytes > 0;
  }

  get frames(): number {
    return this.#report[AT_FRAMES] as number;
  }

  /** Of what was read and not delivered, in the block. */
  get start(): number {
    return this.#report[AT_START] as number;
  }

  get end(): number {
    return this.#report[AT_END] as number;
  }

  /** Bytes of the last frame that the kernel has not taken. */
  get rest(): Uint8Array | null {
    const [from, end] = [this.#report[AT_REST] as number, this.#report[AT_REST_END] as number];
    return from < end && this.block !== null ? this.block.bytes.subarray(from, end) : null;
  }

  /** Of the last write, 0 for none. */
  get errno(): number {
    return this.#report[AT_ERRNO] as number;
  }

  /** What the last read asked for; 0 where none was made. */
  get askedBytes(): number {
    return this.#report[AT_ASKED] as number;
  }

  /** The last batch that the peer has of ours, 0 where it did not say. */
  get acknowledged(): number {
    return this.#numbers[6] as number;
  }

  /** What was seen of the socket that is read from, as the pool tells it. */
  get readyMask(): number {
    return this.#report[READY_MASK] as number;
  }

  get hasSeenOthers(): boolean {
    return this.#report[HAS_SEEN_OTHERS] !== 0;
  }

  /** Of all messages. */
  get messageBytes(): number {
    return this.#sum(0);
  }

  /** Of the connection. */
  get bytes(): number {
    return this.#sum(1);
  }

  #sum(word: number): number {
    let bytes = 0;
    for (let frame = 0; frame < this.frames; frame++) {
      bytes += this.#report[AT_EACH + WORDS_PER_FRAME * frame + word] as number;
    }
    return bytes;
  }
}
