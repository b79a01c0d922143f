// Batches of frames as bytes: the hand codec of proto/v1/frame.proto, in place of the generated one. Encoding is byte for
// byte what the generated code writes, and copies no large data; decoding copies nothing and keeps the limits of the .proto.

import { AppError } from './errors.ts';
import type { FrameKind } from './gen/v1/frame.ts';

export interface Frame {
  id: number;
  /** A kind this build does not know is delivered too: the receiver answers it with ERROR/UNSUPPORTED. */
  kind: FrameKind;
  head: Uint8Array;
  data: Uint8Array;
}

/** 448 KiB: one frame with a full head and full `data`, and room for more. */
export const MAX_BATCH_BYTES = 448 * 1024;
export const MAX_HEAD_BYTES = 128 * 1024;
export const MAX_DATA_BYTES = 256 * 1024;

export const NO_BYTES: Uint8Array = new Uint8Array(0);

/** Below it a copy costs less than one more piece to write. */
const LEFT_IN_PLACE_BYTES = 4 * 1024;

const TAG_FRAME = 0x0a;
const TAG_ID = 0x08;
const TAG_KIND = 0x10;
const TAG_HEAD = 0x1a;
const TAG_DATA = 0x22;
const TAG_SEQUENCE = 0x10;
const TAG_ACKNOWLEDGED = 0x18;

/** Of a batch in a session that can be renewed (frame.proto); 0 stands for none. */
export interface BatchNumbers {
  readonly sequence: number;
  readonly acknowledged: number;
}

const NO_NUMBERS: BatchNumbers = { sequence: 0, acknowledged: 0 };

export interface DecodedBatch extends BatchNumbers {
  frames: Frame[];
}

export function makeFrame(
  id: number,
  kind: FrameKind,
  head: Uint8Array = NO_BYTES,
  data: Uint8Array = NO_BYTES,
): Frame {
  return { id, kind, head, data };
}

/** Bytes the frame adds to a batch. */
export function encodedFrameBytes(frame: Frame): number {
  const body = bodyBytes(frame);
  return 1 + varintBytes(body) + body;
}

/** The whole batch in one buffer. Throws PROTOCOL_VIOLATION when the frames are beyond the limits. */
export function encodeBatch(frames: readonly Frame[], numbers: BatchNumbers = NO_NUMBERS): Buffer {
  return Buffer.concat(encodeBatchPieces(frames, encodedBatchBytes(frames, numbers), 0, numbers));
}

/** Throws PROTOCOL_VIOLATION when the frames are beyond the limits. */
export function encodedBatchBytes(frames: readonly Frame[], numbers: BatchNumbers = NO_NUMBERS): number {
  let size = numberBytes(numbers.sequence) + numberBytes(numbers.acknowledged);
  for (const frame of frames) {
    assertFrameLimits(frame);
    size += encodedFrameBytes(frame);
  }
  if (size > MAX_BATCH_BYTES) throw violation(`batch of ${size} bytes is over ${MAX_BATCH_BYTES}`);
  return size;
}

/**
 * A batch of `batchBytes` as pieces to write in order, the first with `roomBytes` left free at its start. Data of
 * LEFT_IN_PLACE_BYTES and more is a piece of its own and stays where it is: it is the caller's until it has been written.
 */
export function encodeBatchPieces(
  frames: readonly Frame[],
  batchBytes: number,
  roomBytes: number,
  { sequence, acknowledged }: BatchNumbers = NO_NUMBERS,
): Buffer[] {
  let copiedBytes = roomBytes + batchBytes;
  for (const { data } of frames) if (data.length >= LEFT_IN_PLACE_BYTES) copiedBytes -= data.length;
  const out = Buffer.allocUnsafe(copiedBytes);
  const pieces: Buffer[] = [];
  let start = 0;
  let at = roomBytes;
  for (const frame of frames) {
    out[at] = TAG_FRAME;
    at = writeVarint(out, at + 1, bodyBytes(frame));
    at = writeBody(out, at, frame);
    const { data } = frame;
    if (data.length < LEFT_IN_PLACE_BYTES) continue;
    pieces.push(out.subarray(start, at), Buffer.from(data.buffer, data.byteOffset, data.length));
    start = at;
  }
  at = writeNumber(out, at, TAG_SEQUENCE, sequence);
  at = writeNumber(out, at, TAG_ACKNOWLEDGED, acknowledged);
  if (start < at) pieces.push(out.subarray(start, at));
  return pieces;
}

/** Frames whose head and data are views into `bytes`. Throws only PROTOCOL_VIOLATION, whatever the bytes are. */
export function decodeBatch(bytes: Uint8Array): Frame[] {
  return decodeNumberedBatch(bytes).frames;
}

/** The same with the numbers of the batch. */
export function decodeNumberedBatch(bytes: Uint8Array): DecodedBatch {
  if (bytes.length > MAX_BATCH_BYTES) throw violation(`batch of ${bytes.length} bytes is over ${MAX_BATCH_BYTES}`);
  const cursor = new Cursor(bytes);
  const frames: Frame[] = [];
  let sequence = 0;
  let acknowledged = 0;
  while (cursor.at < bytes.length) {
    const tag = cursor.varint();
    if (tag === TAG_FRAME) frames.push(decodeFrame(cursor));
    else if (tag === TAG_SEQUENCE) sequence = cursor.varint(Number.MAX_SAFE_INTEGER);
    else if (tag === TAG_ACKNOWLEDGED) acknowledged = cursor.varint(Number.MAX_SAFE_INTEGER);
    else cursor.skip(tag, bytes.length);
  }
  return { frames, sequence, acknowledged };
}

/** Throws PROTOCOL_VIOLATION for a frame no batch may carry. */
export function assertFrameLimits(frame: Frame): void {
  if (frame.head.length > MAX_HEAD_BYTES) {
    throw violation(`head of ${frame.head.length} bytes is over ${MAX_HEAD_BYTES}`);
  }
  if (frame.data.length > MAX_DATA_BYTES) {
    throw violation(`data of ${frame.data.length} bytes is over ${MAX_DATA_BYTES}`);
  }
}

function decodeFrame(cursor: Cursor): Frame {
  const end = cursor.lengthEnd(cursor.bytes.length);
  const frame: Frame = { id: 0, kind: 0 as FrameKind, head: NO_BYTES, data: NO_BYTES };
  while (cursor.at < end) {
    const tag = cursor.varint();
    if (tag === TAG_ID) frame.id = cursor.varint();
    else if (tag === TAG_KIND) frame.kind = cursor.varint() as FrameKind;
    else if (tag === TAG_HEAD) frame.head = cursor.view(end);
    else if (tag === TAG_DATA) frame.data = cursor.view(end);
    else cursor.skip(tag, end);
  }
  if (cursor.at !== end) throw violation(`frame ends at byte ${cursor.at}, not at ${end} as it said`);
  assertFrameLimits(frame);
  return frame;
}

class Cursor {
  readonly bytes: Uint8Array;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  /** An unsigned number: of 32 bits everywhere but where batches are counted. */
  varint(limit = 0xffff_ffff): number {
    let value = 0;
    for (let shift = 0; shift < 56 && 2 ** shift <= limit; shift += 7) {
      const byte = this.bytes[this.at];
      if (byte === undefined) throw violation(`batch ends inside a number at byte ${this.at}`);
      this.at += 1;
      value += (byte & 0x7f) * 2 ** shift;
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

  view(limit: number): Uint8Array {
    const end = this.lengthEnd(limit);
    const view = this.bytes.subarray(this.at, end);
    this.at = end;
    return view;
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
      const byte = this.bytes[this.at];
      if (byte === undefined) break;
      this.at += 1;
      if (byte < 0x80) return;
    }
    throw violation(`number without an end before byte ${this.at}`);
  }
}

function bodyBytes(frame: Frame): number {
  let size = 0;
  if (frame.id !== 0) size += 1 + varintBytes(frame.id);
  if (frame.kind !== 0) size += 1 + varintBytes(frame.kind);
  if (frame.head.length !== 0) size += 1 + varintBytes(frame.head.length) + frame.head.length;
  if (frame.data.length !== 0) size += 1 + varintBytes(frame.data.length) + frame.data.length;
  return size;
}

/** All of the frame but data that stays in place, which comes last. */
function writeBody(out: Uint8Array, start: number, frame: Frame): number {
  let at = start;
  if (frame.id !== 0) {
    out[at] = TAG_ID;
    at = writeVarint(out, at + 1, frame.id);
  }
  if (frame.kind !== 0) {
    out[at] = TAG_KIND;
    at = writeVarint(out, at + 1, frame.kind);
  }
  if (frame.head.length !== 0) at = writeField(out, at, TAG_HEAD, frame.head);
  const { data } = frame;
  if (data.length === 0) return at;
  if (data.length < LEFT_IN_PLACE_BYTES) return writeField(out, at, TAG_DATA, data);
  out[at] = TAG_DATA;
  return writeVarint(out, at + 1, data.length);
}

function writeField(out: Uint8Array, start: number, tag: number, bytes: Uint8Array): number {
  out[start] = tag;
  const at = writeVarint(out, start + 1, bytes.length);
  out.set(bytes, at);
  return at + bytes.length;
}

function numberBytes(value: number): number {
  return value === 0 ? 0 : 1 + varintBytes(value);
}

function writeNumber(out: Uint8Array, start: number, tag: number, value: number): number {
  if (value === 0) return start;
  out[start] = tag;
  return writeVarint(out, start + 1, value);
}

function varintBytes(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x20_0000) return 3;
  if (value < 0x1000_0000) return 4;
  let bytes = 5;
  for (let rest = Math.floor(value / 2 ** 35); rest > 0; rest = Math.floor(rest / 0x80)) bytes += 1;
  return bytes;
}

function writeVarint(out: Uint8Array, start: number, value: number): number {
  let at = start;
  let rest = value;
  while (rest >= 0x80) {
    out[at] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
    at += 1;
  }
  out[at] = rest;
  return at + 1;
}

function violation(message: string): AppError {
  return new AppError('PROTOCOL_VIOLATION', message);
}
