import { Duplex } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { type BatchBytes, decodeBatch, encodeBatch, makeFrame, NO_BYTES } from './frame.ts';
import { FrameKind } from './gen/v1/frame.ts';
import { MessageReader, MessageWriter } from './grpc-message.ts';

const KIND = FrameKind.FRAME_KIND_FILE_REPLY;

/** What the writer needs of an HTTP/2 stream: a Duplex whose other end is slow. */
class SlowStream extends Duplex {
  readonly taken: Buffer[] = [];
  #release: (() => void) | null = null;

  override _read(): void {}

  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this.taken.push(...chunks.map(({ chunk }) => chunk));
    this.#release = done;
  }

  release(): void {
    const done = this.#release;
    this.#release = null;
    done?.();
  }
}

function makeWriter(onDrained: () => void = () => undefined) {
  const stream = new SlowStream({ decodeStrings: false });
  return { stream, writer: new MessageWriter(stream as never, onDrained) };
}

const whole = (message: BatchBytes) => Buffer.concat(message instanceof Uint8Array ? [message] : message);

function written(stream: SlowStream): Buffer[] {
  const messages: Buffer[] = [];
  const reader = new MessageReader((message) => messages.push(whole(message)));
  reader.push(Buffer.concat(stream.taken));
  return messages;
}

test('batches written are read again, however the bytes are cut', () => {
  const batches = [
    [makeFrame(1, KIND, Buffer.from('head'), Buffer.from('data'))],
    [makeFrame(3, KIND, NO_BYTES, Buffer.alloc(5_000, 7)), makeFrame(5, KIND, Buffer.from('last'))],
  ];
  const { stream, writer } = makeWriter();
  for (const batch of batches) {
    writer.write(batch);
    stream.release();
  }
  const wire = Buffer.concat(stream.taken);
  for (const step of [1, 2, 7, wire.length]) {
    const got: Buffer[] = [];
    const reader = new MessageReader((message) => got.push(whole(message)));
    for (let at = 0; at < wire.length; at += step) reader.push(wire.subarray(at, at + step));
    expect(got).toEqual(batches.map((batch) => encodeBatch(batch)));
  }
});

test('a message that comes in chunks is not copied, but for one in ever so many', () => {
  const data = Buffer.alloc(200_000, 7);
  const { stream, writer } = makeWriter();
  writer.write([makeFrame(1, KIND, NO_BYTES, data)]);
  const wire = Buffer.concat(stream.taken);
  const come = (step: number) => {
    const got: BatchBytes[] = [];
    const reader = new MessageReader((message) => got.push(message));
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

test('large data is not copied on its way out', () => {
  const data = Buffer.alloc(64 * 1024, 1);
  const { stream, writer } = makeWriter();
  writer.write([makeFrame(1, KIND, Buffer.from('head'), data), makeFrame(3, KIND, Buffer.from('next'))]);
  expect(stream.taken.some((piece) => piece.buffer === data.buffer && piece.length === data.length)).toBe(true);
  const [message] = written(stream);
  expect(decodeBatch(message as Buffer).map(({ id, data }) => [id, data.length])).toEqual([
    [1, data.length],
    [3, 0],
  ]);
});

test('a stream that is behind says so, and when it has caught up', async () => {
  let drained = 0;
  const { stream, writer } = makeWriter(() => {
    drained += 1;
  });
  const frame = makeFrame(1, KIND, NO_BYTES, Buffer.alloc(256 * 1024));
  expect(writer.write([frame])).toBe(true);
  expect(writer.write([frame])).toBe(false);
  expect(drained).toBe(0);
  while (stream.writableLength > 0) {
    stream.release();
    await nextTurn();
  }
  await expect.poll(() => drained).toBe(1);
  expect(writer.write([frame])).toBe(true);
});

test('nothing is written into a stream that has ended', () => {
  const { stream, writer } = makeWriter();
  stream.end();
  expect(writer.write([makeFrame(1, KIND)])).toBe(true);
  expect(stream.taken).toEqual([]);
});

test.each([
  ['a compressed message', [1, 0, 0, 0, 0]],
  ['a message beyond the limit', [0, 1, 0, 0, 0]],
])('%s is a violation before any of it is held', (_, prefix) => {
  const reader = new MessageReader(() => undefined);
  expect(() => reader.push(Buffer.from(prefix))).toThrowError(expect.objectContaining({ code: 'PROTOCOL_VIOLATION' }));
});
