import { constants } from 'node:os';
import { expect, test } from 'vitest';
import { ERRNO, errnoName, errnoNumber } from './errno.ts';

test.runIf(process.platform === 'linux')('the numbers are those of this machine, which is Linux', () => {
  const here = constants.errno as Record<string, number>;
  const shared = Object.entries(ERRNO).filter(([name]) => name in here);
  expect(shared.length).toBeGreaterThan(60);
  for (const [name, number] of shared) expect([name, number]).toEqual([name, here[name]]);
});

test('a name becomes its number and back', () => {
  expect(errnoNumber('ENOENT')).toBe(2);
  expect(errnoName(2)).toBe('ENOENT');
});

test('a number without a name keeps its number, and a name that is none of the kernel has none', () => {
  expect(errnoName(4095)).toBe('errno 4095');
  expect(errnoNumber('ENOTFOUND')).toBe(0);
  expect(errnoNumber('toString')).toBe(0);
});
