// Batches of frames as bytes: the hand codec of proto/v1/frame.proto, in place of the generated one. Encoding is byte for
// byte what the generated code writes, and copies no large data; decoding copies nothing and keeps the limits of the .proto.

import { type BatchBytes, BatchCursor, bytesOf, violation } from './batch-cursor.ts';
import type { FrameKind } from './gen/v1/frame.ts';
import type { Lease } from './receive-blocks.ts';
import type { BulkTaker } from './sockets/bulk-delivery.ts';

export interface Frame {
  id: number;
  /** A kind this build does not know is delivered too: the receiver answers it with ERROR/UNSUPPORTED. */
  kind: FrameKind;
  head: Uint8Array;
  /** Whole. What came in pieces is joined when it is first asked for: who can do with pieces takes `dataPieces`. */
  readonly data: Uint8Array;
  /** Of data that came so; nothing where it came in one. */
  readonly pieces?: readonly Uint8Array[];
  /** Called once when nobody will look at `data` any more: it has been sent, and the peer has it. Never for what is dropped. */
  release?: () => void;
  /** Set by who was given it: nothing of head or data is held on to, or only by a hold of `lease`. */
  isUsedUp?: boolean;
  /** Set by who was given it: more of this kind for the same connection may go there as bulk. */
  taker?: BulkTaker;
  /** Of the memory that head and data lie in, where it can be given back. */
  lease?: Lease;
}

/** 448 KiB: one frame with a full head and full `data`, and room for more. */
export const MAX_BATCH_BYTES = 448 * 1024;
export const MAX_HEAD_BYTES = 128 * 1024;
export const MAX_DATA_BYTES = 256 * 1024;

export const NO_BYTES: Uint8Array = new Uint8Array(0);

export type { BatchBytes };

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
  /** Of the whole batch, encoded. */
  bytes: number;
}

type FramedData = Pick<Frame, 'data' | 'pieces'>;

export function makeFrame(
  id: number,
  kind: FrameKind,
  head: Uint8Array = NO_BYTES,
  data: Uint8Array = NO_BYTES,
): Frame {
  return { id, kind, head, data };
}

/** Of the frame's data, whether in pieces or not. */
export function dataBytes(framed: FramedData): number {
  return framed.pieces === undefined ? framed.data.length : bytesOf(framed.pieces);
}

/** The frame's data without joining it: to take `data` out of a frame, even to look at it no further, joins it. */
export function dataPieces(framed: FramedData): readonly Uint8Array[] {
  return framed.pieces ?? [framed.data];
}

/** Bytes the frame adds to a batch. */
export function encodedFrameBytes(frame: Frame): number {
  const body = bodyBytes(frame, dataBytes(frame));
  return 1 + varintBytes(body) + body;
}

/** Of all of them. */
export function encodedBytes(frames: readonly Frame[]): number {
  return frames.reduce((bytes, frame) => bytes + encodedFrameBytes(frame), 0);
}

/** The whole batch in one buffer. Throws PROTOCOL_VIOLATION when the frames are beyond the limits. */
export function encodeBatch(frames: readonly Frame[], numbers: BatchNumbers = NO_NUMBERS): Buffer {
  return Buffer.concat(encodeBatchPieces(frames, encodedBatchBytes(frames, numbers), 0, numbers));
}

/** Throws PROTOCOL_VIOLATION when the frames are beyond the limits. */
export function encodedBatchBytes(frames: readonly Frame[], numbers: BatchNumbers = NO_NUMBERS): number {
  let size = numberBytes(numbers.sequence) + numberBytes(numbers.acknowledged);
  for (let index = 0; index < frames.length; index++) {
    const frame = frames[index] as Frame;
    assertFrameLimits(frame);
    const body = bodyBytes(frame, dataBytes(frame));
    size += 1 + varintBytes(body) + body;
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
  // Loops over indexes, and each length asked for once: bulk comes by here, in clients too young for code that is made fast.
  let copiedBytes = roomBytes + batchBytes;
  for (let index = 0; index < frames.length; index++) {
    const bytes = dataBytes(frames[index] as Frame);
    if (bytes >= LEFT_IN_PLACE_BYTES) copiedBytes -= bytes;
  }
  const out = Buffer.allocUnsafe(copiedBytes);
  const pieces: Buffer[] = [];
  let start = 0;
  let at = roomBytes;
  for (let index = 0; index < frames.length; index++) {
    const frame = frames[index] as Frame;
    const bytes = dataBytes(frame);
    out[at] = TAG_FRAME;
    at = writeVarint(out, at + 1, bodyBytes(frame, bytes));
    at = writeBody(out, at, frame, bytes);
    if (bytes < LEFT_IN_PLACE_BYTES) continue;
    pieces.push(out.subarray(start, at));
    if (frame.pieces === undefined) pieces.push(asBuffer(frame.data));
    else for (const piece of frame.pieces) pieces.push(asBuffer(piece));
    start = at;
  }
  at = writeNumber(out, at, TAG_SEQUENCE, sequence);
  at = writeNumber(out, at, TAG_ACKNOWLEDGED, acknowledged);
  if (start < at) pieces.push(out.subarray(start, at));
  return pieces;
}

/** Frames whose head and data are views into `bytes` (a head that lies in two pieces is a copy). Throws only PROTOCOL_VIOLATION, whatever the bytes are. */
export function decodeBatch(bytes: BatchBytes): Frame[] {
  return decodeNumberedBatch(bytes).frames;
}

/** The same with the numbers of the batch. */
export function decodeNumberedBatch(bytes: BatchBytes): DecodedBatch {
  const cursor = new BatchCursor(bytes);
  const { length } = cursor;
  if (length > MAX_BATCH_BYTES) throw violation(`batch of ${length} bytes is over ${MAX_BATCH_BYTES}`);
  const frames: Frame[] = [];
  let sequence = 0;
  let acknowledged = 0;
  while (cursor.at < length) {
    const tag = cursor.varint();
    if (tag === TAG_FRAME) frames.push(decodeFrame(cursor));
    else if (tag === TAG_SEQUENCE) sequence = cursor.varint(Number.MAX_SAFE_INTEGER);
    else if (tag === TAG_ACKNOWLEDGED) acknowledged = cursor.varint(Number.MAX_SAFE_INTEGER);
    else cursor.skip(tag, length);
  }
  return { frames, sequence, acknowledged, bytes: length };
}

/** Throws PROTOCOL_VIOLATION for a frame no batch may carry. */
export function assertFrameLimits(frame: Frame): void {
  if (frame.head.length > MAX_HEAD_BYTES) {
    throw violation(`head of ${frame.head.length} bytes is over ${MAX_HEAD_BYTES}`);
  }
  const bytes = dataBytes(frame);
  if (bytes > MAX_DATA_BYTES) throw violation(`data of ${bytes} bytes is over ${MAX_DATA_BYTES}`);
}

/** Data that lies in several pieces of a batch. */
class FrameInPieces implements Frame {
  readonly id: number;
  readonly kind: FrameKind;
  readonly head: Uint8Array;
  readonly pieces: readonly Uint8Array[];
  #joined: Uint8Array | null = null;

  constructor(id: number, kind: FrameKind, head: Uint8Array, pieces: readonly Uint8Array[]) {
    this.id = id;
    this.kind = kind;
    this.head = head;
    this.pieces = pieces;
  }

  get data(): Uint8Array {
    this.#joined ??= Buffer.concat(this.pieces);
    return this.#joined;
  }
}

function decodeFrame(cursor: BatchCursor): Frame {
  const end = cursor.lengthEnd(cursor.length);
  let id = 0;
  let kind = 0 as FrameKind;
  let head = NO_BYTES;
  let data: BatchBytes = NO_BYTES;
  while (cursor.at < end) {
    const tag = cursor.varint();
    if (tag === TAG_ID) id = cursor.varint();
    else if (tag === TAG_KIND) kind = cursor.varint() as FrameKind;
    else if (tag === TAG_HEAD) head = joined(cursor.view(end));
    else if (tag === TAG_DATA) data = cursor.view(end);
    else cursor.skip(tag, end);
  }
  if (cursor.at !== end) throw violation(`frame ends at byte ${cursor.at}, not at ${end} as it said`);
  const frame = data instanceof Uint8Array ? { id, kind, head, data } : new FrameInPieces(id, kind, head, data);
  assertFrameLimits(frame);
  return frame;
}

function joined(bytes: BatchBytes): Uint8Array {
  return bytes instanceof Uint8Array ? bytes : Buffer.concat(bytes);
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** @param bytes of its data */
function bodyBytes({ id, kind, head }: Frame, bytes: number): number {
  let size = 0;
  if (id !== 0) size += 1 + varintBytes(id);
  if (kind !== 0) size += 1 + varintBytes(kind);
  const headBytes = head.length;
  if (headBytes !== 0) size += 1 + varintBytes(headBytes) + headBytes;
  if (bytes !== 0) size += 1 + varintBytes(bytes) + bytes;
  return size;
}

/** All of the frame but data that stays in place, which comes last. */
function writeBody(out: Uint8Array, start: number, frame: Frame, bytes: number): number {
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
  if (bytes === 0) return at;
  if (bytes < LEFT_IN_PLACE_BYTES) return writeField(out, at, TAG_DATA, frame.data);
  out[at] = TAG_DATA;
  return writeVarint(out, at + 1, bytes);
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

export function varintBytes(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x20_0000) return 3;
  if (value < 0x1000_0000) return 4;
  let bytes = 5;
  for (let rest = Math.floor(value / 2 ** 35); rest > 0; rest = Math.floor(rest / 0x80)) bytes += 1;
  return bytes;
}

/** Returns where it ends. */
export function writeVarint(out: Uint8Array, start: number, value: number): number {
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
