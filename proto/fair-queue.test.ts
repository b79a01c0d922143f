import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { creditFrame, creditOf } from './credits.ts';
import { FairQueue } from './fair-queue.ts';
import { encodedFrameBytes, type Frame, makeFrame, NO_BYTES } from './frame.ts';
import { FrameKind } from './gen/v1/frame.ts';

const { FRAME_KIND_DATA: DATA, FRAME_KIND_FILE_REQUEST: ASK, FRAME_KIND_HALF_CLOSE: END } = FrameKind;
const data = (id: number, bytes: number) => makeFrame(id, DATA, NO_BYTES, Buffer.alloc(bytes));
const all = () => true;

function drain(queue: FairQueue): Frame[] {
  const frames: Frame[] = [];
  for (let frame = queue.take(all); frame !== null; frame = queue.take(all)) frames.push(frame);
  return frames;
}

const ids = (frames: readonly Frame[]) => frames.map(({ id }) => id);

describe('frames of connections', () => {
  test('take turns by bytes', () => {
    const queue = new FairQueue();
    for (let count = 0; count < 3; count += 1) queue.push(data(1, 64 * 1024));
    for (let count = 0; count < 6; count += 1) queue.push(data(3, 32 * 1024));
    const order = ids(drain(queue));
    expect(order.slice(0, 5).filter((id) => id === 1).length).toBe(2);
    expect(order).toHaveLength(9);
  });

  test('that are small do not wait behind megabytes of others', () => {
    const queue = new FairQueue();
    for (let count = 0; count < 100; count += 1) queue.push(data(1, 64 * 1024));
    queue.take(all);
    queue.push(data(3, 64));
    expect([queue.take(all)?.id, queue.take(all)?.id]).toEqual([3, 1]);
  });

  test('that come one by one do not keep bulk from its turn', () => {
    const queue = new FairQueue();
    for (let count = 0; count < 10; count += 1) queue.push(data(1, 64 * 1024));
    const taken: number[] = [];
    for (let count = 0; count < 20; count += 1) {
      queue.push(data(3 + 2 * (count % 2), 64));
      taken.push(queue.take(all)?.id ?? 0);
    }
    expect(taken.filter((id) => id === 1).length).toBeGreaterThan(1);
  });
});

test('requests keep their order among each other, whatever their ids', () => {
  const queue = new FairQueue();
  for (let id = 1; id < 40; id += 2) queue.push(makeFrame(id, ASK, NO_BYTES, Buffer.alloc(id * 5_000)));
  expect(ids(drain(queue))).toEqual(Array.from({ length: 20 }, (_, index) => 2 * index + 1));
});

test('what is granted twice in a row is granted in one, to whom it was', () => {
  const queue = new FairQueue();
  for (const [id, bytes] of [
    [1, 5],
    [1, 300_000],
    [3, 7],
    [1, 6],
    [2, 1],
    [4, 2],
    [2, 3],
  ] as const) {
    queue.push(creditFrame(id, bytes));
  }
  const before = queue.bytes;
  const frames = drain(queue);
  const granted = frames.map((frame) => `${frame.id}: ${creditOf(frame)}`);
  expect(granted.sort()).toEqual(['1: 300011', '2: 1', '2: 3', '3: 7', '4: 2']);
  expect(frames.reduce((sum, frame) => sum + encodedFrameBytes(frame), 0)).toBe(before);
  expect(queue.bytes).toBe(0);
  queue.push(creditFrame(1, 1));
  queue.push(data(1, 10));
  queue.push(creditFrame(1, 2));
  expect(drain(queue).map(({ kind }) => kind)).toEqual([
    FrameKind.FRAME_KIND_CREDIT,
    DATA,
    FrameKind.FRAME_KIND_CREDIT,
  ]);
});

test('a goodbye comes after all that was said before it', () => {
  const queue = new FairQueue();
  for (let count = 0; count < 5; count += 1) queue.push(data(1, 64 * 1024));
  queue.push(makeFrame(0, FrameKind.FRAME_KIND_SESSION_CLOSE));
  expect(ids(drain(queue))).toEqual([1, 1, 1, 1, 1, 0]);
});

test('what may not go stays, and is the next', () => {
  const queue = new FairQueue();
  queue.push(data(1, 10));
  expect(queue.take(() => false)).toBeNull();
  expect(queue.bytes).toBe(encodedFrameBytes(data(1, 10)));
  expect(queue.take((_frame, isNew) => isNew)?.id).toBe(1);
  expect(queue.bytes).toBe(0);
});

test('every frame comes out once, those of one connection in order', () => {
  const frame = fc.record({ id: fc.integer({ min: 0, max: 12 }), bytes: fc.integer({ min: 0, max: 90_000 }) });
  fc.assert(
    fc.property(fc.array(fc.oneof(frame, fc.constant(null)), { maxLength: 120 }), (steps) => {
      const queue = new FairQueue();
      const pushed: Frame[] = [];
      const taken: Frame[] = [];
      for (const step of steps) {
        if (step === null) taken.push(...[queue.take(all) ?? []].flat());
        else {
          const next = step.bytes === 0 ? makeFrame(step.id, END) : data(step.id, step.bytes);
          pushed.push(next);
          queue.push(next);
        }
      }
      taken.push(...drain(queue));
      expect(taken.length).toBe(pushed.length);
      for (let id = 0; id <= 12; id += 1) {
        expect(taken.filter((one) => one.id === id)).toEqual(pushed.filter((one) => one.id === id));
      }
      expect(queue.bytes).toBe(0);
    }),
    { numRuns: 60 },
  );
});
