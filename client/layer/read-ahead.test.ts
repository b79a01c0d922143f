import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PIECE_BYTES, ReadAhead, ReadAheadBudget, type ReadResult } from './read-ahead.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

/** As a message of the session comes: in chunks of whatever size. */
function inPieces(data: Buffer) {
  const pieces: Buffer[] = [];
  for (let at = 0; at < data.length; at += 60_001) pieces.push(data.subarray(at, at + 60_001));
  return { pieces, bytes: data.length };
}

/** A file in memory whose reads are answered when told to, or at once; counts what was asked. */
function fileOf(sizeBytes: number) {
  const content = Buffer.alloc(sizeBytes);
  for (let at = 0; at + 4 <= sizeBytes; at += 4 * KIB) content.writeUInt32LE(at / KIB, at);
  const asked: { offset: number; length: number }[] = [];
  const file = {
    content,
    asked,
    errno: 0,
    held: null as (() => void)[] | null,
    get askedBytes() {
      return asked.reduce((sum, { offset, length }) => sum + Math.min(length, Math.max(0, content.length - offset)), 0);
    },
    fetch: async (offset: number, length: number) => {
      asked.push({ offset, length });
      const data = Buffer.from(file.content.subarray(offset, offset + length));
      if (file.held !== null) await new Promise<void>((resolve) => file.held?.push(resolve));
      return file.errno === 0 ? { errno: 0, ...inPieces(data) } : { errno: file.errno, pieces: [], bytes: 0 };
    },
  };
  return file;
}

async function readAt(reader: ReadAhead, offset: number, length: number): Promise<Buffer> {
  const { errno, chunks, bytes } = await reader.read(offset, length);
  expect(errno).toBe(0);
  const joined = Buffer.concat(chunks);
  expect(joined.length).toBe(bytes);
  return joined;
}

test('a sequential reader gets every byte once and asks for each byte once', async () => {
  const file = fileOf(10 * MIB + 123);
  const reader = new ReadAhead(file.fetch, new ReadAheadBudget(), file.content.length);
  const parts: Buffer[] = [];
  for (let at = 0; at < file.content.length; at += 128 * KIB) parts.push(await readAt(reader, at, 128 * KIB));
  expect(Buffer.concat(parts).equals(file.content)).toBe(true);
  expect(file.askedBytes).toBe(file.content.length);
});

test('a sequential reader has up to 3 MiB on the way before it asks', async () => {
  const file = fileOf(64 * MIB);
  const reader = new ReadAhead(file.fetch, new ReadAheadBudget(), file.content.length);
  for (let at = 0; at < 16 * MIB; at += 128 * KIB) await readAt(reader, at, 128 * KIB);
  const ahead = Math.max(...file.asked.map(({ offset, length }) => offset + length)) - 16 * MIB;
  expect(ahead).toBeGreaterThanOrEqual(2.5 * MIB);
  expect(ahead).toBeLessThanOrEqual(3 * MIB);
});

test('the head of a file costs its head only', async () => {
  const file = fileOf(8 * MIB);
  const reader = new ReadAhead(file.fetch, new ReadAheadBudget(), file.content.length);
  await readAt(reader, 0, 16 * KIB);
  expect(file.asked).toEqual([{ offset: 0, length: 16 * KIB }]);
});

test('a reader that jumps asks for what it reads and nothing else', async () => {
  const file = fileOf(64 * MIB);
  const reader = new ReadAhead(file.fetch, new ReadAheadBudget(), file.content.length);
  const offsets = [40, 3, 60, 21, 9, 50, 33, 1, 58, 14].map((mib) => mib * MIB + 4096);
  for (const offset of offsets) {
    const data = await readAt(reader, offset, 4 * KIB);
    expect(data.equals(file.content.subarray(offset, offset + 4 * KIB))).toBe(true);
  }
  expect(file.asked).toEqual(offsets.map((offset) => ({ offset, length: 4 * KIB })));
});

test('reads of one order that arrive out of it are answered right', async () => {
  const file = fileOf(4 * MIB);
  const reader = new ReadAhead(file.fetch, new ReadAheadBudget(), file.content.length);
  const offsets = [0, 2, 1, 3, 5, 4, 6, 7].map((index) => index * 128 * KIB);
  const parts = await Promise.all(offsets.map((offset) => readAt(reader, offset, 128 * KIB)));
  for (const [index, offset] of offsets.entries()) {
    expect(parts[index]?.equals(file.content.subarray(offset, offset + 128 * KIB))).toBe(true);
  }
  expect(file.askedBytes).toBeLessThanOrEqual(4 * MIB);
});

test('a read across the end is short and the end is asked for anew each time', async () => {
  const file = fileOf(100);
  const reader = new ReadAhead(file.fetch, new ReadAheadBudget(), 100);
  expect((await readAt(reader, 0, 4096)).length).toBe(100);
  expect((await readAt(reader, 100, 4096)).length).toBe(0);
  file.content = Buffer.concat([file.content, Buffer.from('more')]);
  expect((await readAt(reader, 100, 4096)).toString()).toBe('more');
});

test('what was read before our own write is not given out after it', async () => {
  const file = fileOf(2 * MIB);
  const reader = new ReadAhead(file.fetch, new ReadAheadBudget(), file.content.length);
  await readAt(reader, 0, 128 * KIB);
  await readAt(reader, 128 * KIB, 128 * KIB);
  file.content.fill(7, 256 * KIB);
  reader.invalidate();
  expect((await readAt(reader, 256 * KIB, 128 * KIB)).every((byte) => byte === 7)).toBe(true);
});

test('what was on its way when we wrote is not given out either', async () => {
  const file = fileOf(2 * MIB);
  const reader = new ReadAhead(file.fetch, new ReadAheadBudget(), file.content.length);
  await readAt(reader, 0, 128 * KIB);
  await readAt(reader, 128 * KIB, 128 * KIB);
  file.held = [];
  const third = readAt(reader, 256 * KIB, 300 * KIB);
  file.content.fill(7, 256 * KIB);
  reader.invalidate();
  const { held } = file;
  file.held = null;
  for (const answer of held) answer();
  await third;
  expect((await readAt(reader, 1024 * KIB, 64 * KIB)).every((byte) => byte === 7)).toBe(true);
});

test('all files together hold no more than their budget, and give it back', async () => {
  const budget = new ReadAheadBudget(1 * MIB);
  const files = Array.from({ length: 4 }, () => fileOf(8 * MIB));
  const readers = files.map((file) => new ReadAhead(file.fetch, budget, file.content.length));
  for (let at = 0; at < 2 * MIB; at += 128 * KIB) {
    for (const reader of readers) await readAt(reader, at, 128 * KIB);
    expect(budget.freeBytes).toBeGreaterThanOrEqual(0);
  }
  for (const reader of readers) reader.close();
  expect(budget.freeBytes).toBe(1 * MIB);
});

test('a reader that goes away while pieces are on their way pays for them until they are here', async () => {
  const budget = new ReadAheadBudget(4 * MIB);
  const file = fileOf(8 * MIB);
  const reader = new ReadAhead(file.fetch, budget, file.content.length);
  await readAt(reader, 0, 128 * KIB);
  file.held = [];
  const pending = reader.read(128 * KIB, 128 * KIB);
  reader.close();
  expect(budget.freeBytes).toBeLessThan(4 * MIB);
  for (const answer of file.held) answer();
  await pending;
  expect(budget.freeBytes).toBe(4 * MIB);
});

test('pieces that nobody has read for five seconds are asked for again', async () => {
  let nowMs = 0;
  const file = fileOf(4 * MIB);
  const reader = new ReadAhead(file.fetch, new ReadAheadBudget(), file.content.length, () => nowMs);
  await readAt(reader, 0, 128 * KIB);
  await readAt(reader, 128 * KIB, 128 * KIB);
  file.content.fill(9, 256 * KIB);
  nowMs = 5_001;
  expect((await readAt(reader, 256 * KIB, 4 * KIB)).every((byte) => byte === 9)).toBe(true);
});

test('the errno of a failing read is the answer, and the next read asks again', async () => {
  const file = fileOf(1 * MIB);
  const reader = new ReadAhead(file.fetch, new ReadAheadBudget(), file.content.length);
  file.errno = 5;
  expect(await reader.read(0, 4096)).toEqual({ errno: 5, chunks: [], bytes: 0 });
  file.errno = 0;
  expect((await readAt(reader, 0, 4096)).length).toBe(4096);
});

test('no request is larger than the session stream carries', async () => {
  const file = fileOf(8 * MIB);
  const reader = new ReadAhead(file.fetch, new ReadAheadBudget(), file.content.length);
  for (let at = 0; at < 8 * MIB; at += 1 * MIB) await readAt(reader, at, 1 * MIB);
  expect(Math.max(...file.asked.map(({ length }) => length))).toBeLessThanOrEqual(PIECE_BYTES);
});

test('whatever is read, written and reordered, a read gives what the file holds since our last write', async () => {
  const sizeBytes = 3 * MIB;
  const offset = fc.nat({ max: sizeBytes + 8 * KIB });
  const act = fc.oneof(
    fc.record({ kind: fc.constant('read' as const), offset, length: fc.integer({ min: 1, max: 600 * KIB }) }),
    fc.record({ kind: fc.constant('next' as const), length: fc.integer({ min: 1, max: 300 * KIB }) }),
    fc.record({ kind: fc.constant('write' as const), offset: fc.nat({ max: sizeBytes - 1 }) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(act, { maxLength: 40 }), async (acts) => {
      const file = fileOf(sizeBytes);
      const budget = new ReadAheadBudget(4 * MIB);
      const reader = new ReadAhead(file.fetch, budget, sizeBytes);
      let at = 0;
      for (const [index, one] of acts.entries()) {
        if (one.kind === 'write') {
          file.content.fill(index + 1, one.offset, Math.min(sizeBytes, one.offset + 100 * KIB));
          reader.invalidate();
          continue;
        }
        const from = one.kind === 'read' ? one.offset : at;
        const expected = file.content.subarray(from, from + one.length);
        expect((await readAt(reader, from, one.length)).equals(expected)).toBe(true);
        at = from + one.length;
      }
      reader.close();
      await new Promise((resolve) => setImmediate(resolve));
      expect(budget.freeBytes).toBe(4 * MIB);
    }),
    { numRuns: 60 },
  );
});

test('bytes are given back once and never while a reader has them, whatever the readers do', async () => {
  const step = fc.record({
    offset: fc.integer({ min: 0, max: 24 }),
    length: fc.integer({ min: 1, max: 6 }),
    act: fc.constantFrom('read', 'read', 'read', 'answer', 'use', 'invalidate', 'wait'),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60 }), async (steps) => {
      const file = fileOf(3 * MIB);
      file.held = [];
      let given = 0;
      const fetch = async (offset: number, length: number) => {
        const fetched = await file.fetch(offset, length);
        let isGiven = false;
        const giveBack = () => {
          expect(isGiven).toBe(false);
          isGiven = true;
          given += 1;
          for (const piece of fetched.pieces) piece.fill(0xdb);
        };
        return { ...fetched, giveBack };
      };
      const reader = new ReadAhead(fetch, new ReadAheadBudget(), file.content.length);
      const results: { offset: number; length: number; result: ReadResult }[] = [];
      const reads: Promise<unknown>[] = [];
      const check = () => {
        for (const { offset, length, result } of results) {
          expect(Buffer.concat(result.chunks).equals(file.content.subarray(offset, offset + length))).toBe(true);
        }
      };
      const answerAll = () => {
        for (const answer of file.held?.splice(0) ?? []) answer();
      };
      let sequential = 0;
      for (const { offset, length, act } of steps) {
        const at = offset < 12 ? sequential : (offset - 12) * 256 * KIB;
        if (act === 'read') {
          sequential = at + length * 64 * KIB;
          const asked = reader.read(at, length * 64 * KIB);
          reads.push(asked.then((result) => results.push({ offset: at, length: length * 64 * KIB, result })));
        } else if (act === 'answer') answerAll();
        else if (act === 'use') results.shift()?.result.giveBack?.();
        else if (act === 'invalidate') reader.invalidate();
        else await new Promise((resolve) => setImmediate(resolve));
        check();
      }
      answerAll();
      file.held = null;
      await Promise.all(reads);
      check();
      for (const { result } of results.splice(0)) result.giveBack?.();
      reader.close();
      // What nobody waited for comes as well.
      await new Promise((resolve) => setImmediate(resolve));
      expect(given).toBe(file.asked.length);
    }),
    { numRuns: 60 },
  );
});
