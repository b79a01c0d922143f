import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'mirrord-second-try-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function counted(extra: Record<string, string>): unknown {
  const run = spawnSync(process.execPath, ['test/fixtures/second-try/run.mjs'], {
    encoding: 'utf8',
    env: { PATH: process.env['PATH'], SECOND_TRY_FOLDER: folder, ...extra },
  });
  return JSON.parse(run.stdout.trimEnd().split('\n').at(-1) ?? '');
}

test('a test that fails once and passes alone is passed, and is named', { timeout: 60_000 }, () => {
  expect(counted({})).toEqual({ passed: 3, failed: 0, skipped: [], secondTry: ['fails the first time'] });
});

test('a test that fails twice has failed, and nothing is called lucky', { timeout: 60_000 }, () => {
  expect(counted({ SECOND_TRY_ALWAYS: '1' })).toEqual({ passed: 2, failed: 1, skipped: [], secondTry: [] });
});
