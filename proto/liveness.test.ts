import { expect, test } from 'vitest';
import { CHECK_EVERY_MS, Liveness, LOST_AFTER_MS, PING_AFTER_MS } from './liveness.ts';

/** Checks every second from 0 to `untilMs` and returns when each verdict was first given. */
function run(liveness: Liveness, untilMs: number, each: (nowMs: number) => void = () => undefined) {
  const first: Record<string, number> = {};
  for (let nowMs = CHECK_EVERY_MS; nowMs <= untilMs; nowMs += CHECK_EVERY_MS) {
    each(nowMs);
    first[liveness.check(nowMs)] ??= nowMs;
  }
  return first;
}

test('a side that sends nothing pings', () => {
  const first = run(new Liveness(0), PING_AFTER_MS);
  expect(first['ping']).toBe(PING_AFTER_MS);
});

test('a side that sends does not ping', () => {
  const liveness = new Liveness(0);
  const first = run(liveness, 60_000, (nowMs) => {
    liveness.sent(nowMs);
    liveness.received(nowMs);
  });
  expect(Object.keys(first)).toEqual(['alive']);
});

test('a silent peer is lost within 15 s', () => {
  const lostMs = run(new Liveness(0), 60_000)['lost'];
  expect(lostMs).toBeGreaterThanOrEqual(LOST_AFTER_MS);
  expect(lostMs).toBeLessThanOrEqual(15_000 - CHECK_EVERY_MS);
});

test('a peer that answers pings is never lost', () => {
  const liveness = new Liveness(0);
  const first = run(liveness, 120_000, (nowMs) => {
    if (nowMs % 5_000 === 0) liveness.received(nowMs);
  });
  expect(first['lost']).toBeUndefined();
});

test('after a pause of our own the peer gets its time anew', () => {
  const liveness = new Liveness(0);
  expect(liveness.check(60_000)).not.toBe('lost');
  expect(liveness.check(61_000)).not.toBe('lost');
  for (let nowMs = 62_000; nowMs < 72_000; nowMs += CHECK_EVERY_MS) liveness.check(nowMs);
  expect(liveness.check(60_000 + LOST_AFTER_MS + CHECK_EVERY_MS)).toBe('lost');
});

test('a silence that was announced is no loss until what comes next, and at most an hour', () => {
  const liveness = new Liveness(0);
  liveness.suspended();
  expect(run(liveness, 3_600_000 - CHECK_EVERY_MS)['lost']).toBeUndefined();
  expect(liveness.check(3_600_000)).toBe('overslept');
  liveness.received(3_600_500);
  const after: string[] = [];
  for (let nowMs = 3_601_000; nowMs < 3_620_000; nowMs += CHECK_EVERY_MS) after.push(liveness.check(nowMs));
  expect(after).not.toContain('overslept');
  expect(after).toContain('lost');
});
