// Reads the fields of a batch where its bytes lie: in one piece, or in several as the transport brought them. Copies nothing.

import { AppError } from './errors.ts';

/** One batch as the transport brought it: in one, or in pieces that follow each other. */
export type BatchBytes = Uint8Array | readonly Uint8Array[];

export class BatchCursor {
  readonly length: number;
  at = 0;
  readonly #pieces: readonly Uint8Array[];
  /** The piece that `at` lies in, or will when the next byte is asked for; and where it begins. */
  #piece: Uint8Array;
  #index = 0;
  #start = 0;

  constructor(bytes: BatchBytes) {
    this.#pieces = bytes instanceof Uint8Array ? [bytes] : bytes;
    this.#piece = this.#pieces[0] ?? new Uint8Array(0);
    this.length = bytesOf(this.#pieces);
  }

  /** An unsigned number: of 32 bits everywhere but where batches are counted. */
  varint(limit = 0xffff_ffff): number {
    const first = this.#piece[this.at - this.#start];
    if (first === undefined || first >= 0x80 || first > limit) return this.#longVarint(limit);
    this.at += 1;
    return first;
  }

  #longVarint(limit: number): number {
    let value = 0;
    for (let shift = 0, scale = 1; shift < 56 && scale <= limit; shift += 7, scale *= 0x80) {
      const byte = this.#byte();
      if (byte === undefined) throw violation(`batch ends inside a number at byte ${this.at}`);
      this.at += 1;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (value > limit) break;
        return value;
      }
    }
    throw violation(`number before byte ${this.at} is over ${limit}`);
  }

  lengthEnd(limit: number): number {
    const length = this.varint();
    const end = this.at + length;
    if (end > limit) throw violation(`field of ${length} bytes at byte ${this.at} goes beyond byte ${limit}`);
    return end;
  }

  view(limit: number): BatchBytes {
    const end = this.lengthEnd(limit);
    const first = this.#viewUpTo(end);
    if (this.at === end) return first;
    const views = [first];
    while (this.at < end) views.push(this.#viewUpTo(end));
    return views;
  }

  /** Passes a field of a newer peer (protobuf.dev "Encoding", unknown fields); groups and field 0 are no such thing. */
  skip(tag: number, limit: number): void {
    const wireType = tag & 7;
    if (tag < 8) throw violation(`field number 0 before byte ${this.at}`);
    if (wireType === 0) this.skipVarint();
    else if (wireType === 1) this.at += 8;
    else if (wireType === 2) this.at = this.lengthEnd(limit);
    else if (wireType === 5) this.at += 4;
    else throw violation(`wire type ${wireType} before byte ${this.at}`);
    if (this.at > limit) throw violation(`field before byte ${this.at} goes beyond byte ${limit}`);
  }

  private skipVarint(): void {
    for (let count = 0; count < 10; count += 1) {
      const byte = this.#byte();
      if (byte === undefined) break;
      this.at += 1;
      if (byte < 0x80) return;
    }
    throw violation(`number without an end before byte ${this.at}`);
  }

  #byte(): number | undefined {
    const byte = this.#piece[this.at - this.#start];
    return byte === undefined && this.#moveOn() ? this.#piece[this.at - this.#start] : byte;
  }

  /** What of the rest up to `end`, which is within the batch, lies in one piece. */
  #viewUpTo(end: number): Uint8Array {
    if (this.at >= this.#start + this.#piece.length) this.#moveOn();
    const from = this.at - this.#start;
    const view = this.#piece.subarray(from, end - this.#start);
    this.at += view.length;
    return view;
  }

  /** To the piece that `at` lies in; false behind the last. */
  #moveOn(): boolean {
    while (this.at >= this.#start + this.#piece.length) {
      const next = this.#pieces[this.#index + 1];
      if (next === undefined) return false;
      this.#start += this.#piece.length;
      this.#piece = next;
      this.#index += 1;
    }
    return true;
  }
}

export function bytesOf(pieces: readonly Uint8Array[]): number {
  let bytes = 0;
  for (let index = 0; index < pieces.length; index++) bytes += (pieces[index] as Uint8Array).length;
  return bytes;
}

export function violation(message: string): AppError {
  return new AppError('PROTOCOL_VIOLATION', message);
}
