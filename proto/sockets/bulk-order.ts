// Bulk that one native call reads from a connection and writes into the session, several frames at once (native/bulk.h). An
// order goes down from the connection to the session's socket, and each layer on its way limits it, or refuses; what was
// carried comes up again, and each counts it. One order serves all connections: it is used up before anybody else has a turn.

import type { NativeSockets } from './addon.ts';
import { BULK_PART, BULK_READ_BYTES, giveReadBuffer, READ_ROOM_BYTES, takeReadBuffer } from './read-buffers.ts';

/** Of one order: a megabyte, after which it is others' turn. As soon as somebody else is ready it ends. */
const MAX_FRAMES = 4;
/** Of a frame all but its bytes, at most. */
const FRAME_HEADS_BYTES = 2 * READ_ROOM_BYTES;
/** Of HTTP/2 with the message in it. */
export const MOST_FRAME_BYTES = BULK_READ_BYTES + FRAME_HEADS_BYTES;

/** As bulk.h has it: frames, bytes taken of the last, errno of the last write, then where each lies and its bytes. */
const REPORT_FRAMES = 8;
const FIRST_FRAME = 3;
const WORDS_PER_FRAME = 3;
const READY_MASK = FIRST_FRAME + REPORT_FRAMES * WORDS_PER_FRAME;
const HAS_SEEN_OTHERS = READY_MASK + 1;

/** The frame's own head of HTTP/2, which is no part of the message. */
const HTTP2_HEAD_BYTES = 9;

export class BulkOrder {
  /** Whose bytes it carries: descriptor and id in the pool. */
  fd = -1;
  sourceId = 0;
  /** Called once there is room again, if nothing was carried for want of it. */
  onRoom: () => void = () => undefined;
  /** Of the session; and of HTTP/2. */
  connection = 0;
  call = 0;
  /** Of the first batch, and of the last one that came from the peer. */
  sequence = 0;
  acknowledged = 0;
  /** Nothing was read for want of room: `onRoom` will be called. */
  isWaiting = false;
  /** The session's socket does not take more just now. */
  isFull = false;
  /** What the last read returned. */
  lastRead = 0;
  #most = MAX_FRAMES;
  readonly #numbers = new Float64Array(5);
  readonly #report = new Uint32Array(HAS_SEEN_OTHERS + 1);
  readonly #rooms: Buffer[] = [];

  begin(fd: number, sourceId: number): void {
    this.fd = fd;
    this.sourceId = sourceId;
    this.isWaiting = false;
    this.isFull = false;
    this.#most = MAX_FRAMES;
    this.#report[0] = 0;
  }

  /** At most so many frames. False where that is none. */
  limit(frames: number): boolean {
    if (frames < this.#most) this.#most = Math.floor(frames);
    return this.#most > 0;
  }

  wait(): true {
    this.isWaiting = true;
    return true;
  }

  /** Bytes of the last frame that the kernel has not taken. */
  carry(native: NativeSockets, to: number): Uint8Array | null {
    const numbers = this.#numbers;
    const rooms = this.#rooms;
    numbers[0] = this.call;
    numbers[1] = this.connection;
    numbers[2] = this.sequence;
    numbers[3] = this.acknowledged;
    numbers[4] = BULK_READ_BYTES;
    while (rooms.length < this.#most) rooms.push(takeReadBuffer());
    this.lastRead = native.carry(this.fd, this.sourceId, to, numbers, rooms, this.#most, this.#report);
    const last = this.frames - 1;
    if (last < 0) return null;
    const from = this.#start(last) + (this.#report[1] as number);
    const end = this.#end(last);
    return from < end ? (rooms[last] as Buffer).subarray(from, end) : null;
  }

  get frames(): number {
    return this.#report[0] as number;
  }

  /** Of the last write, 0 for none. */
  get errno(): number {
    return this.#report[2] as number;
  }

  /** What was seen of the socket that is read from, as the pool tells it. */
  get readyMask(): number {
    return this.#report[READY_MASK] as number;
  }

  get hasSeenOthers(): boolean {
    return this.#report[HAS_SEEN_OTHERS] !== 0;
  }

  /** Of the connection. */
  bytesOf(frame: number): number {
    return this.#report[FIRST_FRAME + WORDS_PER_FRAME * frame + 2] as number;
  }

  /** Of all frames. */
  get bytes(): number {
    let bytes = 0;
    for (let frame = 0; frame < this.frames; frame++) bytes += this.bytesOf(frame);
    return bytes;
  }

  messageBytesOf(frame: number): number {
    return this.#end(frame) - this.#start(frame) - HTTP2_HEAD_BYTES;
  }

  /** As it is kept: with what gives its memory back, if there is much of it. */
  messageOf(frame: number): { message: Buffer; release?: () => void } {
    const room = this.#rooms[frame] as Buffer;
    const message = room.subarray(this.#start(frame) + HTTP2_HEAD_BYTES, this.#end(frame));
    if (message.length * BULK_PART < BULK_READ_BYTES) return { message: Buffer.from(message) };
    return { message, release: () => giveReadBuffer(room) };
  }

  /** Who carried has counted all: rooms that were used are whose the messages are. */
  done(): void {
    const { frames } = this;
    if (frames > 0) this.#rooms.splice(0, frames);
  }

  #start(frame: number): number {
    return this.#report[FIRST_FRAME + WORDS_PER_FRAME * frame] as number;
  }

  #end(frame: number): number {
    return this.#report[FIRST_FRAME + WORDS_PER_FRAME * frame + 1] as number;
  }
}
