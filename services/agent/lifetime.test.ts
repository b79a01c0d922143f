import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Lifetime } from './lifetime.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function lifetime(firstSessionMs: number, idleMs: number) {
  const onEnd = vi.fn();
  return { onEnd, lifetime: new Lifetime({ firstSessionMs, idleMs, onEnd }) };
}

test('an agent whose client never comes ends itself', () => {
  const { onEnd } = lifetime(30_000, 1_000);
  vi.advanceTimersByTime(29_999);
  expect(onEnd).not.toHaveBeenCalled();
  vi.advanceTimersByTime(1);
  expect(onEnd).toHaveBeenCalledExactlyOnceWith('no client came within 30000 ms');
});

test('it lives as long as a session does, and ends when none has come after the last', () => {
  const { onEnd, lifetime: it } = lifetime(30_000, 1_000);
  it.sessionsAre(1);
  vi.advanceTimersByTime(1_000_000);
  it.sessionsAre(2);
  it.sessionsAre(1);
  it.sessionsAre(0);
  vi.advanceTimersByTime(999);
  it.sessionsAre(1);
  vi.advanceTimersByTime(1_000_000);
  expect(onEnd).not.toHaveBeenCalled();
  it.sessionsAre(0);
  vi.advanceTimersByTime(1_000);
  expect(onEnd).toHaveBeenCalledExactlyOnceWith('there was no session for 1000 ms');
});

test('without limits it waits for ever, and closed it says nothing more', () => {
  const endless = lifetime(0, 0);
  endless.lifetime.sessionsAre(0);
  const closed = lifetime(10, 10);
  closed.lifetime.close();
  vi.advanceTimersByTime(1_000_000_000);
  expect(endless.onEnd).not.toHaveBeenCalled();
  expect(closed.onEnd).not.toHaveBeenCalled();
});
