import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ApiServer } from '../testing/api-server.ts';
import { KubeApi } from './api.ts';
import { Deadline } from './deadline.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
});
afterEach(() => {
  vi.useRealTimers();
});

test('it aborts when it is over, and not what has its own time', async () => {
  const deadline = new Deadline(1_000, []);
  await deadline.without(async (signal) => {
    vi.advanceTimersByTime(60_000);
    expect([signal.aborted, deadline.signal.aborted]).toEqual([false, false]);
  });
  vi.advanceTimersByTime(999);
  expect(deadline.signal.aborted).toBe(false);
  vi.advanceTimersByTime(1);
  expect([deadline.signal.aborted, deadline.others.aborted]).toEqual([true, false]);
});

test('who gives up gives up both', () => {
  const giveUp = new AbortController();
  const deadline = new Deadline(1_000, [giveUp.signal]);
  giveUp.abort();
  expect([deadline.signal.aborted, deadline.others.aborted]).toEqual([true, true]);
  deadline.release();
  expect(vi.getTimerCount()).toBe(0);
});

test('a login that takes longer than a call may is waited for', async () => {
  const server = await ApiServer.start();
  server.answers.set('GET /a', { hello: 1 });
  const access = await server.access({ user: { token: 'abc' } });
  const options = access.login.options.bind(access.login);
  vi.spyOn(access.login, 'options').mockImplementation(async (signal) => {
    vi.advanceTimersByTime(50_000);
    return options(signal);
  });
  const api = new KubeApi(access);
  try {
    expect(await api.get('/a')).toEqual({ hello: 1 });
  } finally {
    await api.close();
    await server.close();
  }
});
