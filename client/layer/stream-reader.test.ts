import { expect, test } from 'vitest';
import { ERRNO } from '#proto/errno.ts';
import type { Fetched } from './read-ahead.ts';
import { StreamReader } from './stream-reader.ts';

const never = new AbortController().signal;

/** A pipe whose bytes come when the test says so. */
function openPipe() {
  const asked: { length: number; give: (text: string, errno?: number) => void }[] = [];
  const fetch = (_offset: number, length: number) =>
    new Promise<Fetched>((resolve) => {
      asked.push({
        length,
        give: (text, errno = 0) => resolve({ errno, pieces: [Buffer.from(text)], bytes: text.length }),
      });
    });
  return { asked, reader: new StreamReader(fetch, 100) };
}

const textOf = ({ chunks }: { chunks: Uint8Array[] }) => Buffer.concat(chunks).toString();
const turn = () => new Promise((resolve) => setImmediate(resolve));

test('reads are asked for one after the other', async () => {
  const { asked, reader } = openPipe();
  const reads = [reader.read(50, never), reader.read(500, never)];
  await turn();
  expect(asked.map(({ length }) => length)).toEqual([50]);
  asked[0]?.give('one');
  await turn();
  expect(asked.map(({ length }) => length)).toEqual([50, 100]);
  asked[1]?.give('two');
  expect((await Promise.all(reads)).map(textOf)).toEqual(['one', 'two']);
});

test('what comes for a read that was given up is the next one’s, however little that asks for', async () => {
  const { asked, reader } = openPipe();
  const controller = new AbortController();
  const given = reader.read(50, controller.signal);
  await turn();
  controller.abort();
  expect((await given).errno).toBe(ERRNO.EINTR);
  const next = reader.read(2, never);
  asked[0]?.give('tea');
  expect(textOf(await next)).toBe('te');
  expect(textOf(await reader.read(50, never))).toBe('a');
  expect(asked).toHaveLength(1);
});

test('an errno is told and the next read asks anew', async () => {
  const { asked, reader } = openPipe();
  const read = reader.read(50, never);
  await turn();
  asked[0]?.give('', ERRNO.EIO);
  expect((await read).errno).toBe(ERRNO.EIO);
  void reader.read(50, never);
  await turn();
  expect(asked).toHaveLength(2);
});
