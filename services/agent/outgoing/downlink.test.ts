import { expect, test } from 'vitest';
import { Downlink } from './downlink.ts';

const KIB = 1024;

/** A link whose buffer the test sets. */
function openLink() {
  const waiters: (() => void)[] = [];
  const link = {
    bufferedBytes: 0,
    send: () => undefined,
    drained: () =>
      link.bufferedBytes <= 128 * KIB ? Promise.resolve() : new Promise<void>((resolve) => waiters.push(resolve)),
  };
  const drain = () => {
    link.bufferedBytes = 0;
    for (const wake of waiters.splice(0)) wake();
  };
  return { link, drain, way: new Downlink(link) };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('bulk waits at half a MiB, what is small a little later, a datagram at 4 MiB', () => {
  const { link, way } = openLink();
  const states = [0, 512, 768, 4_096].map((kib) => {
    link.bufferedBytes = kib * KIB;
    return [way.isFull, way.isStuffed, way.mayWait];
  });
  expect(states).toEqual([
    [false, false, true],
    [true, false, true],
    [true, true, true],
    [true, true, false],
  ]);
});

test('who waits goes on in the order of asking, eight in a turn, and only while there is room', async () => {
  const { link, drain, way } = openLink();
  link.bufferedBytes = 600 * KIB;
  const order: number[] = [];
  for (let at = 0; at < 20; at += 1) {
    way.whenWritable(() => {
      order.push(at);
      if (order.length === 10) link.bufferedBytes = 600 * KIB;
    });
  }
  await turn();
  expect(order).toEqual([]);
  drain();
  await turn();
  await turn();
  expect(order).toHaveLength(8);
  for (let count = 0; count < 4; count += 1) await turn();
  expect(order).toHaveLength(10);
  drain();
  for (let count = 0; count < 6; count += 1) await turn();
  expect(order).toEqual(Array.from({ length: 20 }, (_, at) => at));
});

test('who has left is not called', async () => {
  const { drain, link, way } = openLink();
  link.bufferedBytes = 600 * KIB;
  const resume = () => expect.unreachable();
  way.whenWritable(resume);
  way.forget(resume);
  drain();
  await turn();
  await turn();
});
