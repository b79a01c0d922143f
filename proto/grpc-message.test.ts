import { expect, test } from 'vitest';
import { type BatchBytes, decodeBatch, encodeBatch, makeFrame, NO_BYTES } from './frame.ts';
import { FrameKind } from './gen/v1/frame.ts';
import { type DataWay, MessageReader, MessageWriter } from './grpc-message.ts';

const KIND = FrameKind.FRAME_KIND_FILE_REPLY;

/** A way that takes what it is told to take. */
class SlowWay implements DataWay {
  readonly frames: Uint8Array[][] = [];
  room = Number.POSITIVE_INFINITY;
  writtenBytes = 0;
  takenBytes = 0;
  #flush: () => void = () => undefined;

  get waitingBytes(): number {
    return this.writtenBytes - this.takenBytes;
  }

  get bytes(): Buffer {
    return Buffer.concat(this.frames.flat());
  }

  onRoom(_id: number, flush: () => void): void {
    this.#flush = flush;
  }

  roomFor(): number {
    return this.room;
  }

  writeData(_id: number, pieces: readonly Uint8Array[], bytes: number): void {
    expect(pieces.reduce((sum, { length }) => sum + length, 0)).toBe(bytes);
    this.frames.push([...pieces]);
    this.writtenBytes += bytes;
    if (Number.isFinite(this.room)) this.room -= bytes;
  }

  take(bytes = this.waitingBytes): void {
    this.takenBytes += bytes;
    this.#flush();
  }
}

function makeWriter(onDrained: () => void = () => undefined) {
  const way = new SlowWay();
  const stream = { destroyed: false };
  return { way, stream, writer: new MessageWriter(way, stream, 1, onDrained) };
}

const whole = (message: BatchBytes) => Buffer.concat(message instanceof Uint8Array ? [message] : message);

function reading(): { got: Buffer[]; reader: MessageReader } {
  const got: Buffer[] = [];
  return { got, reader: new MessageReader((message) => got.push(whole(message)) > 0) };
}

test('batches written are read again, however the bytes are cut', () => {
  const batches = [
    [makeFrame(1, KIND, Buffer.from('head'), Buffer.from('data'))],
    [makeFrame(3, KIND, NO_BYTES, Buffer.alloc(5_000, 7)), makeFrame(5, KIND, Buffer.from('last'))],
  ];
  const { way, writer } = makeWriter();
  for (const batch of batches) writer.write(batch);
  const wire = way.bytes;
  for (const step of [1, 2, 7, wire.length]) {
    const { got, reader } = reading();
    for (let at = 0; at < wire.length; at += step) reader.push(wire.subarray(at, at + step));
    expect(got).toEqual(batches.map((batch) => encodeBatch(batch)));
  }
});

test('a message that comes in chunks is not copied, but for one in ever so many', () => {
  const { way, writer } = makeWriter();
  writer.write([makeFrame(1, KIND, NO_BYTES, Buffer.alloc(200_000, 7))]);
  const wire = way.bytes;
  const come = (step: number) => {
    const got: BatchBytes[] = [];
    const reader = new MessageReader((message) => got.push(message) > 0);
    for (let at = 0; at < wire.length; at += step) reader.push(wire.subarray(at, at + step));
    const [message] = got as [BatchBytes];
    expect(whole(message).equals(wire.subarray(5))).toBe(true);
    return message;
  };
  const pieces = come(16_384) as readonly Uint8Array[];
  expect(pieces.map(({ buffer }) => buffer === wire.buffer)).toEqual(Array.from({ length: 13 }, () => true));
  const copy = come(1_000) as Uint8Array;
  expect([copy.length, copy.buffer === wire.buffer]).toEqual([wire.length - 5, false]);
});

test('large data is not copied on its way out, and a message is one frame', () => {
  const data = Buffer.alloc(64 * 1024, 1);
  const { way, writer } = makeWriter();
  writer.write([makeFrame(1, KIND, Buffer.from('head'), data), makeFrame(3, KIND, Buffer.from('next'))]);
  expect(way.frames.length).toBe(1);
  expect(way.frames[0]?.some((piece) => piece.buffer === data.buffer && piece.length === data.length)).toBe(true);
  const { got, reader } = reading();
  reader.push(way.bytes);
  expect(decodeBatch(got[0] as Buffer).map(({ id, data }) => [id, data.length])).toEqual([
    [1, data.length],
    [3, 0],
  ]);
});

test('a message goes out in as many frames as the window makes of it', () => {
  const batch = [
    makeFrame(1, KIND, Buffer.from('head'), Buffer.from(Array.from({ length: 20_000 }, (_, at) => at % 251))),
  ];
  const { way, writer } = makeWriter();
  way.room = 0;
  writer.write(batch);
  for (const room of [1, 4, 5, 1, 7_000, 13_500]) {
    way.room = room;
    way.take();
  }
  expect(way.frames.length).toBe(6);
  const { got, reader } = reading();
  reader.push(way.bytes);
  expect(got).toEqual([encodeBatch(batch)]);
});

test('a way that is behind says so, and when it has caught up', () => {
  let drained = 0;
  const { way, writer } = makeWriter(() => {
    drained += 1;
  });
  const frame = makeFrame(1, KIND, NO_BYTES, Buffer.alloc(256 * 1024));
  expect(writer.write([frame])).toBe(true);
  expect(writer.write([frame])).toBe(false);
  way.take(200 * 1024);
  expect(drained).toBe(0);
  way.take();
  expect(drained).toBe(1);
  expect(writer.write([frame])).toBe(true);
});

test('memory is given back when the way has taken what lies in it, and not before', () => {
  const released: number[] = [];
  const { way, writer } = makeWriter();
  for (const id of [1, 3]) {
    writer.write([{ ...makeFrame(id, KIND, NO_BYTES, Buffer.alloc(10_000)), release: () => released.push(id) }]);
  }
  way.take(9_000);
  expect(released).toEqual([]);
  way.take(2_000);
  expect(released).toEqual([1]);
  way.take();
  expect(released).toEqual([1, 3]);
});

test('an end waits for what is before it, and nothing comes after it', () => {
  const { way, stream, writer } = makeWriter();
  let ends = 0;
  way.room = 0;
  writer.write([makeFrame(1, KIND)]);
  writer.end(() => {
    ends += 1;
  });
  expect(writer.write([makeFrame(3, KIND)])).toBe(true);
  expect(ends).toBe(0);
  way.room = 100;
  way.take();
  way.take();
  expect(ends).toBe(1);
  expect(way.frames.length).toBe(1);
  const other = makeWriter();
  other.stream.destroyed = true;
  expect(other.writer.write([makeFrame(1, KIND)])).toBe(true);
  expect([other.way.frames, stream.destroyed]).toEqual([[], false]);
});

test('whether a message is held on to is told of the chunk that it lies in', () => {
  const wire = Buffer.concat([Buffer.from([0, 0, 0, 0, 2]), Buffer.from('ab')]);
  let isUsedUp = true;
  const reader = new MessageReader(() => isUsedUp);
  expect(reader.push(wire)).toBe(true);
  isUsedUp = false;
  expect(reader.push(wire)).toBe(false);
  // What has begun to come is.
  isUsedUp = true;
  expect([reader.push(wire.subarray(0, 5)), reader.push(wire.subarray(5, 6)), reader.push(wire.subarray(6))]).toEqual([
    true,
    false,
    false,
  ]);
});

test.each([
  ['a compressed message', [1, 0, 0, 0, 0]],
  ['a message beyond the limit', [0, 1, 0, 0, 0]],
])('%s is a violation before any of it is held', (_, prefix) => {
  const { reader } = reading();
  expect(() => reader.push(Buffer.from(prefix))).toThrowError(expect.objectContaining({ code: 'PROTOCOL_VIOLATION' }));
});
