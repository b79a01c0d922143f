import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AppError } from './errors.ts';
import {
  decodeBatch,
  decodeNumberedBatch,
  encodeBatch,
  encodedFrameBytes,
  type Frame,
  MAX_DATA_BYTES,
  MAX_HEAD_BYTES,
  makeFrame,
} from './frame.ts';
import { Batch, FrameKind } from './gen/v1/frame.ts';

/** No measure of speed: work that grows with the square of its input takes minutes. */
const LINEAR_MS = 10_000;

const corpusDir = path.join(import.meta.dirname, '../test/corpus/frame');
const corpus = readdirSync(corpusDir).map((name) => ({
  name,
  bytes: Buffer.from(readFileSync(path.join(corpusDir, name), 'utf8').replace(/#.*$/gm, '').replace(/\s/g, ''), 'hex'),
}));

const anyBytes = fc.oneof(fc.uint8Array({ maxLength: 300 }), fc.constant(new Uint8Array(0)));
const anyFrame: fc.Arbitrary<Frame> = fc.record({
  id: fc.oneof(fc.nat(300), fc.integer({ min: 0, max: 0xffff_ffff })),
  kind: fc.oneof(
    fc.constantFrom(...Object.values(FrameKind).filter((kind) => kind >= 0)),
    fc.nat(0x7fff_ffff),
  ) as fc.Arbitrary<FrameKind>,
  head: anyBytes,
  data: anyBytes,
});
const anyFrames = fc.array(anyFrame, { maxLength: 20 });

const plain = ({ id, kind, head, data }: Frame) => ({ id, kind, head: [...head], data: [...data] });
const generated = (frames: Frame[], sequence = 0, acknowledged = 0) =>
  Batch.encode({
    sequence: BigInt(sequence),
    acknowledged: BigInt(acknowledged),
    frames: frames.map(({ id, kind, head, data }) => ({ id, kind, head: Buffer.from(head), data: Buffer.from(data) })),
  }).finish();

/** Decodes what may be garbage: the only way to fail is a violation. */
function decodeOrRefuse(bytes: Uint8Array): Frame[] | null {
  try {
    return decodeBatch(bytes);
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'PROTOCOL_VIOLATION') throw error;
    return null;
  }
}

describe('the hand codec and the generated one', () => {
  test('write the same bytes', () => {
    fc.assert(fc.property(anyFrames, (frames) => Buffer.compare(encodeBatch(frames), generated(frames)) === 0));
  });

  test('number batches alike, up to what a number can count', () => {
    const anyCount = fc.oneof(fc.constant(0), fc.maxSafeNat(), fc.nat(300), fc.constant(Number.MAX_SAFE_INTEGER));
    fc.assert(
      fc.property(anyFrames, anyCount, anyCount, (frames, sequence, acknowledged) => {
        const bytes = encodeBatch(frames, { sequence, acknowledged });
        expect(Buffer.compare(bytes, generated(frames, sequence, acknowledged))).toBe(0);
        expect(decodeNumberedBatch(bytes)).toMatchObject({ sequence, acknowledged });
      }),
    );
    expect(() =>
      decodeNumberedBatch(Batch.encode({ frames: [], sequence: 2n ** 53n, acknowledged: 0n }).finish()),
    ).toThrow('is over');
  });

  test('read the same frames', () => {
    fc.assert(
      fc.property(anyFrames, (frames) => {
        expect(decodeBatch(generated(frames)).map(plain)).toEqual(frames.map(plain));
      }),
    );
  });

  test('agree about every batch that both accept, however it was mangled', () => {
    const mangled = fc.tuple(anyFrames, fc.array(fc.tuple(fc.nat(4_000), fc.nat(255)), { maxLength: 4 }));
    fc.assert(
      fc.property(mangled, ([frames, changes]) => {
        const bytes = encodeBatch(frames);
        for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
        const ours = decodeOrRefuse(bytes);
        if (ours === null) return;
        const theirs = Batch.decode(bytes).frames.map((frame) => ({ ...frame, kind: frame.kind >>> 0 }) as Frame);
        expect(ours.map(plain)).toEqual(theirs.map(plain));
      }),
      { numRuns: 2_000 },
    );
  });
});

test('frames are views into the batch, not copies', () => {
  const bytes = encodeBatch([makeFrame(1, FrameKind.FRAME_KIND_FILE_REPLY, Buffer.from('head'), Buffer.from('data'))]);
  const [frame] = decodeBatch(bytes);
  expect([frame?.head.buffer, frame?.data.buffer]).toEqual([bytes.buffer, bytes.buffer]);
});

test('the size of a frame in a batch is known before it is encoded', () => {
  fc.assert(fc.property(anyFrame, (frame) => encodedFrameBytes(frame) === encodeBatch([frame]).length));
});

test('a batch that ends too early is refused at every length', () => {
  const frame = makeFrame(77_777, FrameKind.FRAME_KIND_FILE_REPLY, Buffer.alloc(130), Buffer.alloc(20));
  const bytes = encodeBatch([frame]);
  for (let length = 1; length < bytes.length; length += 1) {
    expect(decodeOrRefuse(bytes.subarray(0, length)), `${length} bytes`).toBeNull();
  }
});

describe('limits', () => {
  const head = (bytes: number) => makeFrame(1, FrameKind.FRAME_KIND_FILE_REQUEST, Buffer.alloc(bytes));
  const data = (bytes: number) => makeFrame(1, FrameKind.FRAME_KIND_FILE_REQUEST, Buffer.alloc(0), Buffer.alloc(bytes));

  test.each([
    ['the largest head', head(MAX_HEAD_BYTES), true],
    ['a head beyond', head(MAX_HEAD_BYTES + 1), false],
    ['the largest data', data(MAX_DATA_BYTES), true],
    ['data beyond', data(MAX_DATA_BYTES + 1), false],
  ])('%s', (_, frame, isAllowed) => {
    const received = decodeOrRefuse(generated([frame]));
    if (isAllowed) expect(received?.map(plain)).toEqual(decodeBatch(encodeBatch([frame])).map(plain));
    else {
      expect(received).toBeNull();
      expect(() => encodeBatch([frame])).toThrow(AppError);
    }
  });

  test('a batch beyond its size is refused before it is read', () => {
    expect(decodeOrRefuse(Buffer.alloc(448 * 1024 + 1))).toBeNull();
    expect(() => encodeBatch([data(MAX_DATA_BYTES), data(MAX_DATA_BYTES)])).toThrow('batch of');
  });

  test('a batch of nothing but empty frames is read in bounded time', () => {
    const bytes = Buffer.alloc(448 * 1024, Buffer.from([0x0a, 0x00]));
    const startedMs = performance.now();
    expect(decodeBatch(bytes)).toHaveLength(224 * 1024);
    expect(performance.now() - startedMs).toBeLessThan(LINEAR_MS);
  });
});

describe('garbage', () => {
  test.each(corpus)('$name is decoded or refused', ({ name, bytes }) => {
    expect(decodeOrRefuse(bytes) === null).toBe(name.startsWith('bad-'));
  });

  test('is refused with PROTOCOL_VIOLATION and nothing else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 4_096 }), (bytes) => {
        decodeOrRefuse(bytes);
      }),
      { numRuns: 2_000 },
    );
  });

  test('grown from the corpus is refused with PROTOCOL_VIOLATION and nothing else', () => {
    const edits = fc.array(fc.tuple(fc.constantFrom('set', 'cut', 'insert', 'repeat'), fc.nat(), fc.nat(255)), {
      minLength: 1,
      maxLength: 8,
    });
    fc.assert(
      fc.property(fc.constantFrom(...corpus), edits, ({ bytes }, changes) => {
        let grown = Buffer.from(bytes);
        for (const [edit, where, value] of changes) grown = mutate(grown, edit, where % (grown.length + 1), value);
        decodeOrRefuse(grown);
      }),
      { numRuns: 3_000 },
    );
  });
});

function mutate(bytes: Buffer, edit: string, at: number, value: number): Buffer<ArrayBuffer> {
  const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
  if (edit === 'cut') return Buffer.concat([before, after.subarray(value % 16)]);
  if (edit === 'insert') return Buffer.concat([before, Buffer.from([value]), after]);
  if (edit === 'repeat') return Buffer.concat([before, after.subarray(0, value), after]);
  return Buffer.concat([before, Buffer.from([value]), after.subarray(1)]);
}
