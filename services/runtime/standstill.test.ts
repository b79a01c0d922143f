import { expect, test } from 'vitest';
import { type Look, standsStill } from './standstill.ts';

const look = (state: string, ticks: number, atMs: number): Look => ({
  pid: 1,
  startTicks: '5',
  state,
  ticks,
  atMs,
});

test.each([
  ['stopped', 'T', 'T', 0, true],
  ['stopped only just now', 'S', 'T', 3, false],
  ['waiting for something that does not come', 'S', 'S', 0, true],
  ['slow, and does something', 'S', 'S', 2, false],
  ['running in circles', 'R', 'R', 300, true],
  ['kept from running by others', 'R', 'R', 10, false],
])('a process that is %s', (_, before, now, ticks, isStill) => {
  expect(standsStill(look(before, 1_000, 0), look(now, 1_000 + ticks, 3_500))).toBe(isStill);
});
