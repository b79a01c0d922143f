import { expect, test } from 'vitest';
import { type Look, standsStill } from './silent-holder.ts';

const look = (state: string, ticks: number, atMs: number): Look => ({
  pid: 1,
  name: 'process 1 (node)',
  state,
  ticks,
  atMs,
});

test.each([
  ['stopped', 'T', 0, true],
  ['waiting for something that does not come', 'S', 0, true],
  ['running in circles', 'R', 300, true],
  ['kept from running by others', 'R', 10, false],
])('a holder that is %s', (_, state, ticks, isStill) => {
  expect(standsStill(look('S', 1_000, 0), look(state, 1_000 + ticks, 3_500))).toBe(isStill);
});
