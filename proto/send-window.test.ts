import { expect, test } from 'vitest';
import { SESSION_CREDIT_BYTES } from './credits.ts';
import { SendWindow } from './send-window.ts';

const KIB = 1024;
const FRAME_BYTES = 64 * KIB;

/** Bulk until no more goes; its bytes. */
function fill(window: SendWindow, nowMs: number): number {
  let bytes = 0;
  while (window.take(FRAME_BYTES, false, nowMs)) bytes += FRAME_BYTES;
  return bytes;
}

/** Two questions beside four frames of bulk. */
function ask(window: SendWindow): void {
  for (let frame = 0; frame < 4; frame++) expect(window.take(FRAME_BYTES, false, 0)).toBe(true);
  for (let question = 0; question < 2; question++) expect(window.take(64, true, 0)).toBe(true);
}

test('bulk leaves a reserve of the credit, which who is alone may take', () => {
  const window = new SendWindow(SESSION_CREDIT_BYTES);
  expect(fill(window, 0)).toBe(SESSION_CREDIT_BYTES - 64 * KIB);
  expect(window.take(FRAME_BYTES, true, 0)).toBe(true);
  expect(window.take(1, true, 0)).toBe(false);
});

test('beside questions bulk stops at a floor, questions and frames without data never do', () => {
  const window = new SendWindow(SESSION_CREDIT_BYTES);
  ask(window);
  expect(fill(window, 1)).toBe(64 * KIB);
  expect(window.take(FRAME_BYTES, true, 1)).toBe(false);
  expect([window.take(64, true, 2), window.take(0, false, 2)]).toEqual([true, true]);
  window.grant(FRAME_BYTES * 2, 3);
  expect(fill(window, 3)).toBeGreaterThan(0);
});

test('a second after the last question bulk has the credit again', () => {
  const window = new SendWindow(SESSION_CREDIT_BYTES);
  ask(window);
  fill(window, 1);
  expect(fill(window, 1_002)).toBeGreaterThan(2 * 1024 * KIB);
});

test('a session of little credit has no reserve', () => {
  const window = new SendWindow(FRAME_BYTES);
  expect(window.take(FRAME_BYTES, false, 0)).toBe(true);
});
