import fc from 'fast-check';
import { expect, test } from 'vitest';
import { AppError } from './errors.ts';
import {
  dataBytes,
  dataPieces,
  decodeNumberedBatch,
  encodeBatch,
  encodeBatchPieces,
  encodedBatchBytes,
  type Frame,
  makeFrame,
} from './frame.ts';
import { FrameKind } from './gen/v1/frame.ts';

const anyFrames = fc.array(
  fc.record({
    id: fc.nat(0xffff_ffff),
    kind: fc.constantFrom(FrameKind.FRAME_KIND_FILE_REPLY, FrameKind.FRAME_KIND_DATA),
    head: fc.uint8Array({ maxLength: 300 }),
    data: fc.uint8Array({ maxLength: 9_000, size: 'max' }),
  }),
  { maxLength: 5 },
);
/** Where a batch is cut, in parts of its length; the same place twice is an empty piece. */
const anyCuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 12 });

function cut(bytes: Buffer, parts: readonly number[]): Buffer[] {
  const places = parts.map((part) => Math.round(part * bytes.length)).sort((a, b) => a - b);
  return [0, ...places].map((place, index) => bytes.subarray(place, places[index] ?? bytes.length));
}

const plain = (frame: Frame) => ({ id: frame.id, kind: frame.kind, head: [...frame.head], data: [...frame.data] });

/** What is read, or the words with which it is refused. */
function outcome(bytes: Uint8Array | readonly Uint8Array[]) {
  try {
    const { frames, ...rest } = decodeNumberedBatch(bytes);
    return { ...rest, frames: frames.map(plain) };
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'PROTOCOL_VIOLATION') throw error;
    return error.message;
  }
}

test('a batch is read the same however it is cut', () => {
  fc.assert(
    fc.property(anyFrames, anyCuts, (frames, cuts) => {
      const bytes = encodeBatch(frames, { sequence: 300, acknowledged: 7 });
      expect(outcome(cut(bytes, cuts))).toEqual(outcome(bytes));
    }),
  );
});

test('a small batch is read the same cut at every byte, and in single bytes', () => {
  const frames = [
    makeFrame(70_000, FrameKind.FRAME_KIND_FILE_REPLY, Buffer.from('head'), Buffer.from('data')),
    makeFrame(1, FrameKind.FRAME_KIND_DATA, Buffer.alloc(0), Buffer.alloc(200, 'x')),
  ];
  const bytes = encodeBatch(frames, { sequence: 129, acknowledged: 128 });
  const whole = outcome(bytes);
  for (let at = 0; at <= bytes.length; at += 1) {
    expect(outcome([bytes.subarray(0, at), bytes.subarray(at)]), `cut at ${at}`).toEqual(whole);
  }
  expect(outcome([...bytes].map((byte) => Buffer.from([byte])))).toEqual(whole);
});

test('a batch that is mangled or ends too early is refused in the same words', () => {
  const mangled = fc.tuple(fc.nat(40_000), fc.nat(255), fc.double({ min: 0, max: 1, noNaN: true }));
  fc.assert(
    fc.property(anyFrames, anyCuts, mangled, (frames, cuts, [at, value, end]) => {
      const whole = encodeBatch(frames);
      const bytes = whole.subarray(0, Math.ceil(whole.length * end));
      if (at < bytes.length) bytes[at] = value;
      expect(outcome(cut(bytes, cuts))).toEqual(outcome(bytes));
    }),
    { numRuns: 500 },
  );
});

test('data that lies in pieces is handed on in pieces, and goes out so', () => {
  const data = Buffer.alloc(100_000, 'abc');
  const bytes = encodeBatch([makeFrame(5, FrameKind.FRAME_KIND_FILE_REPLY, Buffer.from('head'), data)]);
  const pieces = [bytes.subarray(0, 40_000), bytes.subarray(40_000, 70_000), bytes.subarray(70_000)];
  const [frame] = decodeNumberedBatch(pieces).frames as [Frame];
  expect(dataBytes(frame)).toBe(data.length);
  expect(dataPieces(frame).map((piece) => piece.buffer === bytes.buffer)).toEqual([true, true, true]);
  const again = encodeBatchPieces([frame], encodedBatchBytes([frame]), 0);
  expect(again.slice(1)).toEqual(dataPieces(frame));
  expect(Buffer.concat(again).equals(bytes)).toBe(true);
  expect(Buffer.from(frame.data).equals(data)).toBe(true);
  expect(frame.data).toBe(frame.data);
});

test('data in one piece is a view of it, and a head in two is whole', () => {
  const bytes = encodeBatch([makeFrame(5, FrameKind.FRAME_KIND_FILE_REPLY, Buffer.from('head'), Buffer.from('data'))]);
  const inHead = bytes.indexOf('head') + 2;
  const [frame] = decodeNumberedBatch([bytes.subarray(0, inHead), bytes.subarray(inHead)]).frames as [Frame];
  expect(Buffer.from(frame.head).toString()).toBe('head');
  expect([frame.data.buffer === bytes.buffer, frame.pieces]).toEqual([true, undefined]);
});
