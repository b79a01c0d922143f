import { expect, test } from 'vitest';
import { eachOnce } from './troubles.ts';

test('a text is told once, and no more than a hundred of them', () => {
  const told: string[] = [];
  const tell = eachOnce((text) => told.push(text));
  for (let n = 0; n < 300; n += 1) tell(`text ${n >> 1}`);
  expect(told).toEqual(Array.from({ length: 100 }, (_, n) => `text ${n}`));
});
