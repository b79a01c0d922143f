import { expect, test } from 'vitest';
import type { NetworkSession } from '../session.ts';
import { Uplink } from './uplink.ts';

/** A session of which only the way to the agent matters. */
function fullSession() {
  const waiters: (() => void)[] = [];
  const session = {
    bufferedBytes: 1 << 20,
    drained: () => new Promise<void>((resolve) => waiters.push(resolve)),
  };
  const drain = async () => {
    session.bufferedBytes = 0;
    for (const resolve of waiters.splice(0)) resolve();
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { session, drain, uplink: new Uplink(session as unknown as NetworkSession) };
}

test('while the way is full everybody waits, and then goes on in the order of asking', async () => {
  const { uplink, drain } = fullSession();
  const went: number[] = [];
  for (const number of [1, 2, 3]) uplink.whenWritable(() => went.push(number));
  await new Promise((resolve) => setImmediate(resolve));
  expect([uplink.isFull, went]).toEqual([true, []]);
  await drain();
  expect(went).toEqual([1, 2, 3]);
});

test('one that fills it again lets the others wait for the next turn', async () => {
  const { uplink, session, drain } = fullSession();
  const went: string[] = [];
  const first = () => {
    went.push('first');
    session.bufferedBytes = 1 << 20;
    uplink.whenWritable(first);
  };
  uplink.whenWritable(first);
  uplink.whenWritable(() => went.push('second'));
  await drain();
  expect(went).toEqual(['first']);
  await drain();
  expect(went).toEqual(['first', 'second', 'first']);
});

test('who has ended is not called', async () => {
  const { uplink, drain } = fullSession();
  let calls = 0;
  const resume = () => {
    calls += 1;
  };
  uplink.whenWritable(resume);
  uplink.forget(resume);
  await drain();
  expect(calls).toBe(0);
});
