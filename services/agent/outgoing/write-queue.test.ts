import fc from 'fast-check';
import { expect, test } from 'vitest';
import { WriteQueue } from './write-queue.ts';

function drain(queue: WriteQueue): Uint8Array[] {
  const blocks: Uint8Array[] = [];
  for (let block = queue.shift(); block !== null; block = queue.shift()) blocks.push(block);
  return blocks;
}

test('bytes come out in the order in which they went in, however they are cut', () => {
  const step = fc.oneof(fc.nat(40_000), fc.constant('shift' as const));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
      const queue = new WriteQueue();
      const out: Uint8Array[] = [];
      let next = 0;
      for (const what of steps) {
        if (what === 'shift') {
          const block = queue.shift();
          if (block !== null) out.push(Buffer.from(block));
        } else queue.push(Uint8Array.from({ length: what }, () => next++ & 0xff));
      }
      out.push(...drain(queue));
      const all = Buffer.concat(out);
      expect(queue.isEmpty).toBe(true);
      expect(all.length).toBe(next);
      expect(all.every((byte, at) => byte === (at & 0xff))).toBe(true);
    }),
    { numRuns: 30 },
  );
});

test('many small pieces become few blocks that hold nothing of the batches they came in', () => {
  const queue = new WriteQueue();
  const batch = new Uint8Array(64 * 1024);
  for (let at = 0; at < 20_000; at += 1) queue.push(batch.subarray(at, at + 1));
  const blocks = drain(queue);
  expect(blocks.map(({ length }) => length)).toEqual([16_384, 3_616]);
  expect(blocks.every(({ buffer }) => buffer !== batch.buffer)).toBe(true);
});

test('a large piece that is most of its batch is not copied', () => {
  const queue = new WriteQueue();
  const batch = new Uint8Array(64 * 1024);
  queue.push(batch.subarray(100));
  expect(queue.shift()?.buffer).toBe(batch.buffer);
});
