// gRPC over HTTP/2 as bytes (grpc.io, "gRPC over HTTP2"): length-prefixed messages in and out of a stream, each a batch of
// frames. Hand-made because a library copies every message twice and takes twice the CPU (docs/benchmarks.md).

import type { Http2Stream } from 'node:http2';
import { AppError } from './errors.ts';
import {
  type BatchBytes,
  type BatchNumbers,
  encodeBatchPieces,
  encodedBatchBytes,
  type Frame,
  MAX_BATCH_BYTES,
} from './frame.ts';
import { Lease, type ReceiveBlock } from './receive-blocks.ts';
import type { BulkOrder } from './sockets/bulk-order.ts';

const PREFIX_BYTES = 5;
/** What the stream may hold that the kernel has not taken: enough to keep it busy while we are woken. */
const HIGH_WATER_BYTES = 512 * 1024;
const LOW_WATER_BYTES = 256 * 1024;
/** Of one message. The largest comes in 30 of 16 KiB, which are what node sends; one in more than this is copied into one. */
const MAX_PIECES = 64;

/** A batch as it goes out: its prefix, and the batch in pieces that may be written more than once. */
export interface Message {
  readonly pieces: readonly Buffer[];
  readonly bytes: number;
  /** `release` of its frames. */
  readonly releases: readonly (() => void)[];
}

/** Throws PROTOCOL_VIOLATION for a batch beyond the limits. */
export function encodeMessage(batch: readonly Frame[], numbers?: BatchNumbers): Message {
  const bytes = encodedBatchBytes(batch, numbers);
  const pieces = encodeBatchPieces(batch, bytes, PREFIX_BYTES, numbers);
  const first = pieces[0];
  if (first !== undefined) writePrefix(first, bytes);
  return { pieces, bytes: bytes + PREFIX_BYTES, releases: releasesOf(batch) };
}

/** Not compressed, and so long. */
function writePrefix(out: Buffer, bytes: number): void {
  out[0] = 0;
  out[1] = bytes >>> 24;
  out[2] = bytes >>> 16;
  out[3] = bytes >>> 8;
  out[4] = bytes;
}

const NO_RELEASES: readonly (() => void)[] = [];

function releasesOf(batch: readonly Frame[]): readonly (() => void)[] {
  let releases: (() => void)[] | null = null;
  for (let index = 0; index < batch.length; index++) {
    const { release } = batch[index] as Frame;
    if (release === undefined) continue;
    if (releases === null) releases = [release];
    else releases.push(release);
  }
  return releases ?? NO_RELEASES;
}

/**
 * True: nothing of it is held on to but by a hold of the lease, which ends it. Without a lease what is held on to is the
 * collector's.
 */
export type OnMessage = (message: BatchBytes, lease?: Lease) => boolean;

/**
 * Messages out of chunks of any size: views into the chunks, in one piece where a chunk holds it whole. Memory: the chunks
 * of one partial message; of one that comes in ever so small chunks a copy, allocated when its prefix is acceptable.
 */
export class MessageReader {
  readonly #prefix = Buffer.alloc(PREFIX_BYTES);
  #prefixFilled = 0;
  /** Of the message that has begun; 0 between two. */
  #missing = 0;
  #pieces: Buffer[] = [];
  /** Where more than MAX_PIECES were: all that is there, with room for the rest. */
  #copy: Buffer | null = null;
  /** Of the blocks that #pieces lie in. */
  #lease: Lease | undefined;
  readonly #onMessage: OnMessage;
  /** Nobody holds on to the chunk. */
  #isUsedUp = true;

  constructor(onMessage: OnMessage) {
    this.#onMessage = onMessage;
  }

  /** Nothing of a message has come whose end has not. */
  get isBetween(): boolean {
    return this.#prefixFilled === 0 && this.#missing === 0;
  }

  /**
   * Throws PROTOCOL_VIOLATION, after which the stream is of no use. Messages are views: chunks are left alone, unless it says
   * true: nobody holds on to this one but by a hold of the block that it is a part of.
   */
  push(chunk: Buffer, block?: ReceiveBlock): boolean {
    this.#isUsedUp = true;
    let at = 0;
    while (at < chunk.length) at = this.#missing === 0 ? this.#begin(chunk, at, block) : this.#goOn(chunk, at, block);
    return this.#isUsedUp;
  }

  #begin(chunk: Buffer, start: number, block: ReceiveBlock | undefined): number {
    // As it comes nearly always: all of it in one.
    if (this.#prefixFilled === 0 && chunk.length - start >= PREFIX_BYTES) {
      return this.#beginMessage(chunk, start + PREFIX_BYTES, readPrefix(chunk, start), block);
    }
    const copied = chunk.copy(this.#prefix, this.#prefixFilled, start, start + PREFIX_BYTES - this.#prefixFilled);
    this.#prefixFilled += copied;
    if (this.#prefixFilled < PREFIX_BYTES) return start + copied;
    this.#prefixFilled = 0;
    return this.#beginMessage(chunk, start + copied, readPrefix(this.#prefix, 0), block);
  }

  #beginMessage(chunk: Buffer, at: number, length: number, block: ReceiveBlock | undefined): number {
    if (chunk.length - at >= length) {
      const lease = leaseOf(block);
      if (this.#onMessage(chunk.subarray(at, at + length), lease)) lease?.end();
      else if (lease === undefined) this.#isUsedUp = false;
      return at + length;
    }
    this.#missing = length;
    return at;
  }

  #goOn(chunk: Buffer, at: number, block: ReceiveBlock | undefined): number {
    const piece = chunk.subarray(at, at + this.#missing);
    if (this.#copy !== null) piece.copy(this.#copy, this.#copy.length - this.#missing);
    else if (this.#pieces.length < MAX_PIECES) this.#keep(piece, block);
    else this.#copy = this.#copyAll(piece);
    this.#missing -= piece.length;
    if (this.#missing === 0) this.#finish();
    return at + piece.length;
  }

  #keep(piece: Buffer, block: ReceiveBlock | undefined): void {
    this.#pieces.push(piece);
    if (block === undefined) this.#isUsedUp = false;
    else if (this.#lease === undefined) this.#lease = leaseOf(block);
    else this.#lease.add(block);
  }

  #copyAll(last: Buffer): Buffer {
    const had = this.#pieces.reduce((bytes, piece) => bytes + piece.length, 0);
    const copy = Buffer.allocUnsafeSlow(had + this.#missing);
    let at = 0;
    for (const piece of [...this.#pieces, last]) at += piece.copy(copy, at);
    this.#pieces = [];
    this.#lease?.end();
    this.#lease = undefined;
    return copy;
  }

  #finish(): void {
    const message = this.#copy ?? this.#pieces;
    const lease = this.#lease;
    this.#copy = null;
    this.#pieces = [];
    this.#lease = undefined;
    if (this.#onMessage(message, lease)) lease?.end();
  }
}

/** The length of the message. */
function readPrefix(bytes: Buffer, at: number): number {
  const length = bytes.readUInt32BE(at + 1);
  if (bytes[at] !== 0) throw new AppError('PROTOCOL_VIOLATION', 'a compressed message, which nobody agreed on');
  if (length > MAX_BATCH_BYTES) {
    throw new AppError('PROTOCOL_VIOLATION', `message of ${length} bytes is over ${MAX_BATCH_BYTES}`);
  }
  return length;
}

function leaseOf(block: ReceiveBlock | undefined): Lease | undefined {
  if (block === undefined) return undefined;
  const lease = new Lease();
  lease.add(block);
  return lease;
}

/** What carries the DATA of calls: a CallConnection. */
export interface DataWay {
  /** Bytes written so far, of them those that have been taken, and the others. */
  readonly writtenBytes: number;
  readonly takenBytes: number;
  readonly waitingBytes: number;
  /** `flush` is called when more of this call may be written than before, or more was taken. */
  onRoom(id: number, flush: () => void): void;
  /** Bytes of a call that may be written now, in one frame. */
  roomFor(id: number): number;
  /** One frame of `bytes`, which are within `roomFor`. */
  writeData(id: number, pieces: readonly Uint8Array[], bytes: number): void;
  /** Frames of their own, each within the room there is. False where there is none for a whole one, or no way for it. */
  carry?(id: number, order: BulkOrder): boolean;
}

interface Queued {
  pieces: readonly Uint8Array[];
  leftBytes: number;
  readonly releases: readonly (() => void)[];
}

/** Batches into the DATA of a call, each in one go with its prefix and without a copy of large data. */
export class MessageWriter {
  readonly #connection: DataWay;
  readonly #stream: Pick<Http2Stream, 'destroyed'>;
  readonly #id: number;
  readonly #onDrained: () => void;
  readonly #queue: Queued[] = [];
  #queuedBytes = 0;
  /** To be called when so many bytes of the connection have been taken. */
  readonly #releases: { readonly atBytes: number; readonly all: readonly (() => void)[] }[] = [];
  #isFull = false;
  #isFlushing = false;
  #onFlushed: (() => void) | null = null;

  constructor(connection: DataWay, stream: Pick<Http2Stream, 'destroyed'>, id: number, onDrained: () => void) {
    this.#connection = connection;
    this.#stream = stream;
    this.#id = id;
    this.#onDrained = onDrained;
    connection.onRoom(id, () => this.#flush());
  }

  /** Nobody keeps it. False when the peer is behind: `onDrained` follows. Throws PROTOCOL_VIOLATION for a batch beyond the limits. */
  write(batch: readonly Frame[]): boolean {
    const { pieces, bytes, releases } = encodeMessage(batch);
    return this.#add({ pieces, leftBytes: bytes, releases });
  }

  /** It may be written again: it is not released here. */
  writeMessage({ pieces, bytes }: Message): boolean {
    return this.#add({ pieces, leftBytes: bytes, releases: NO_RELEASES });
  }

  /** Messages that lie in the order, each kept by its owner. False where they have to be written instead. */
  carry(order: BulkOrder): boolean {
    if (this.#stream.destroyed || this.#onFlushed !== null || this.#queue.length > 0 || this.#isFlushing) return false;
    if (this.#connection.waitingBytes === 0) {
      if (this.#connection.carry?.(this.#id, order) !== true) return false;
    } else order.isFull = order.wait();
    // Its owner hears of it when the kernel has taken what waits.
    if (order.isFull) this.#isFull = true;
    return true;
  }

  /** Calls `act` when all is written; nothing more is. */
  end(act: () => void): void {
    if (this.#onFlushed !== null) return;
    this.#onFlushed = act;
    this.#flush();
  }

  #add(queued: Queued): boolean {
    if (this.#stream.destroyed || this.#onFlushed !== null) return true;
    this.#queue.push(queued);
    this.#queuedBytes += queued.leftBytes;
    this.#flush();
    this.#isFull = this.#waitingBytes >= HIGH_WATER_BYTES;
    return !this.#isFull;
  }

  get #waitingBytes(): number {
    return this.#queuedBytes + this.#connection.waitingBytes;
  }

  #flush(): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    for (let first = this.#queue[0]; first !== undefined; first = this.#queue[0]) {
      if (this.#connection.waitingBytes >= HIGH_WATER_BYTES) break;
      const bytes = Math.min(this.#connection.roomFor(this.#id), first.leftBytes);
      if (bytes === 0) break;
      this.#writeSome(first, bytes);
    }
    this.#release();
    this.#isFlushing = false;
    if (this.#isFull && this.#waitingBytes <= LOW_WATER_BYTES) {
      this.#isFull = false;
      this.#onDrained();
    }
    if (this.#queue.length === 0 && this.#onFlushed !== null) {
      const act = this.#onFlushed;
      this.#onFlushed = () => undefined;
      act();
    }
  }

  #writeSome(first: Queued, bytes: number): void {
    this.#queuedBytes -= bytes;
    if (bytes < first.leftBytes) {
      const [now, later] = cut(first.pieces, bytes);
      first.pieces = later;
      first.leftBytes -= bytes;
      this.#connection.writeData(this.#id, now, bytes);
      return;
    }
    // As it is nearly always, and several times as quick.
    if (this.#queue.length === 1) this.#queue.pop();
    else this.#queue.shift();
    this.#connection.writeData(this.#id, first.pieces, bytes);
    if (first.releases.length === 0) return;
    this.#releases.push({ atBytes: this.#connection.writtenBytes, all: first.releases });
  }

  #release(): void {
    const { takenBytes } = this.#connection;
    for (let first = this.#releases[0]; first !== undefined && first.atBytes <= takenBytes; first = this.#releases[0]) {
      this.#releases.shift();
      for (const release of first.all) release();
    }
  }
}

/** The first `bytes` of the pieces, and the rest. */
function cut(pieces: readonly Uint8Array[], bytes: number): [Uint8Array[], Uint8Array[]] {
  const now: Uint8Array[] = [];
  const later: Uint8Array[] = [];
  let left = bytes;
  for (const piece of pieces) {
    if (left > 0) now.push(piece.subarray(0, left));
    if (piece.length > left) later.push(piece.subarray(Math.max(0, left)));
    left = Math.max(0, left - piece.length);
  }
  return [now, later];
}
