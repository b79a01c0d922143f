import { expect, test } from 'vitest';
import { ERRNO } from '#proto/errno.ts';
import { FileReply, FileStat } from '#proto/gen/v1/fs_env.ts';
import type { Answer } from './native/index.ts';
import { type Patience, whenReady } from './wait-ready.ts';

const answer = (reply: Partial<FileReply>, text = ''): Answer => ({
  head: Buffer.from(FileReply.encode({ errno: 0, result: undefined, ...reply }).finish()),
  data: Buffer.from(text),
  file: null,
});

const AGAIN = answer({ errno: ERRNO.EAGAIN });
const EMPTY = answer({});
const TEA = answer({}, 'tea');

const statOf = (mode: number) =>
  answer({ result: { $case: 'stat', value: { ...FileStat.decode(new Uint8Array()), mode } } });

/** Tries give these answers, the last one for ever. */
function start(answers: readonly Answer[], mode = 0o010644, patience: Partial<Patience> = {}) {
  const told: Patience = { mayWait: true, hasHadWriter: false, ...patience };
  const counts = { tries: 0, stats: 0 };
  const world = { isWanted: true };
  const result = whenReady({
    patience: told,
    act: async () => answers[Math.min(counts.tries++, answers.length - 1)] as Answer,
    stat: async () => {
      counts.stats++;
      return statOf(mode);
    },
    isWanted: () => world.isWanted,
  });
  return { result, told, counts, world };
}

test('a pipe without bytes is asked again until it has some', async () => {
  expect((await start([AGAIN, AGAIN, TEA]).result).data.toString()).toBe('tea');
});

test('a pipe that had no writer has not ended, one that had has', async () => {
  expect((await start([EMPTY, EMPTY, TEA]).result).data.toString()).toBe('tea');
  expect(await start([EMPTY, AGAIN, EMPTY]).result).toBe(EMPTY);
});

test('the end of a file is its end, and is asked about once', async () => {
  const first = start([EMPTY], 0o100644);
  expect(await first.result).toBe(EMPTY);
  const second = start([EMPTY], 0o100644, first.told);
  expect(await second.result).toBe(EMPTY);
  expect([first.counts.stats, second.counts.stats]).toEqual([1, 0]);
});

test('who opened it without waiting does not wait', async () => {
  expect(await start([AGAIN, TEA], 0o010644, { mayWait: false }).result).toBe(AGAIN);
});

test('once nobody wants the answer it is not waited for', async () => {
  const { result, world } = start([AGAIN]);
  world.isWanted = false;
  expect(await result).toBe(AGAIN);
});
