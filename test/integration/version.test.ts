import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';

const checkout = path.join(import.meta.dirname, '../..');
const mirrord = path.join(checkout, 'bin/mirrord');

function milliseconds(words: readonly string[]): number {
  const startedMs = performance.now();
  const { status } = spawnSync(process.execPath, words);
  if (status !== 0) throw new Error(`${words.join(' ')} ended with ${status}`);
  return performance.now() - startedMs;
}

test('the version is that of the package', () => {
  const { version } = JSON.parse(readFileSync(path.join(checkout, 'package.json'), 'utf8'));
  expect(spawnSync(mirrord, ['--version'], { encoding: 'utf8' }).stdout).toBe(`mirrord ${version}\n`);
});

// Turn by turn, and the best of each, so that what else the machine does falls on both alike.
test('the version is told within 1.5 times what Node itself takes', () => {
  const native: number[] = [];
  const ours: number[] = [];
  for (let turn = 0; turn < 15; turn += 1) {
    native.push(milliseconds(['-e', '0']));
    ours.push(milliseconds([mirrord, '--version']));
  }
  expect(Math.min(...ours)).toBeLessThanOrEqual(1.5 * Math.min(...native));
});
