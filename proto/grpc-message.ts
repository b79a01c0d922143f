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
}

/** Throws PROTOCOL_VIOLATION for a batch beyond the limits. */
export function encodeMessage(batch: readonly Frame[], numbers?: BatchNumbers): Message {
  const bytes = encodedBatchBytes(batch, numbers);
  const pieces = encodeBatchPieces(batch, bytes, PREFIX_BYTES, numbers);
  pieces[0]?.writeUInt8(0, 0);
  pieces[0]?.writeUInt32BE(bytes, 1);
  return { pieces, bytes: bytes + PREFIX_BYTES };
}

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
  readonly #onMessage: (message: BatchBytes) => void;

  constructor(onMessage: (message: BatchBytes) => void) {
    this.#onMessage = onMessage;
  }

  /** Throws PROTOCOL_VIOLATION, after which the stream is of no use. Messages are views: chunks are left alone. */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) at = this.#missing === 0 ? this.#begin(chunk, at) : this.#goOn(chunk, at);
  }

  #begin(chunk: Buffer, start: number): number {
    const copied = chunk.copy(this.#prefix, this.#prefixFilled, start, start + PREFIX_BYTES - this.#prefixFilled);
    this.#prefixFilled += copied;
    if (this.#prefixFilled < PREFIX_BYTES) return start + copied;
    this.#prefixFilled = 0;
    const at = start + copied;
    const length = this.#prefix.readUInt32BE(1);
    if (this.#prefix[0] !== 0) throw new AppError('PROTOCOL_VIOLATION', 'a compressed message, which nobody agreed on');
    if (length > MAX_BATCH_BYTES) {
      throw new AppError('PROTOCOL_VIOLATION', `message of ${length} bytes is over ${MAX_BATCH_BYTES}`);
    }
    if (chunk.length - at >= length) {
      this.#onMessage(chunk.subarray(at, at + length));
      return at + length;
    }
    this.#missing = length;
    return at;
  }

  #goOn(chunk: Buffer, at: number): number {
    const piece = chunk.subarray(at, at + this.#missing);
    if (this.#copy !== null) piece.copy(this.#copy, this.#copy.length - this.#missing);
    else if (this.#pieces.length < MAX_PIECES) this.#pieces.push(piece);
    else this.#copy = this.#copyAll(piece);
    this.#missing -= piece.length;
    if (this.#missing === 0) this.#finish();
    return at + piece.length;
  }

  #copyAll(last: Buffer): Buffer {
    const had = this.#pieces.reduce((bytes, piece) => bytes + piece.length, 0);
    const copy = Buffer.allocUnsafeSlow(had + this.#missing);
    let at = 0;
    for (const piece of [...this.#pieces, last]) at += piece.copy(copy, at);
    return copy;
  }

  #finish(): void {
    const message = this.#copy ?? this.#pieces;
    this.#copy = null;
    this.#pieces = [];
    this.#onMessage(message);
  }
}

/** Batches into a stream, each in one go with its prefix and without a copy of large data. */
export class MessageWriter {
  readonly #stream: Http2Stream;
  readonly #onDrained: () => void;
  #isFull = false;

  constructor(stream: Http2Stream, onDrained: () => void) {
    this.#stream = stream;
    this.#onDrained = onDrained;
  }

  /** False when the peer is behind: `onDrained` follows. Throws PROTOCOL_VIOLATION for a batch beyond the limits. */
  write(batch: readonly Frame[]): boolean {
    return this.writeMessage(encodeMessage(batch));
  }

  writeMessage({ pieces }: Message): boolean {
    const stream = this.#stream;
    if (stream.destroyed || stream.writableEnded) return true;
    stream.cork();
    // They leave together: the last one is told of for all.
    for (const [index, piece] of pieces.entries()) {
      if (index < pieces.length - 1) stream.write(piece);
      else stream.write(piece, this.#written);
    }
    stream.uncork();
    this.#isFull = stream.writableLength >= HIGH_WATER_BYTES;
    return !this.#isFull;
  }

  readonly #written = (): void => {
    if (!this.#isFull || this.#stream.writableLength > LOW_WATER_BYTES) return;
    this.#isFull = false;
    this.#onDrained();
  };
}
