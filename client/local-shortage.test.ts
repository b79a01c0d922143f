import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { AppError } from '#proto/errors.ts';
import { shortage, withoutRoom } from './local-shortage.ts';
import { makeRuntimeFolder } from './runtime-folder.ts';

const before = process.env['TMPDIR'];
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'mirrord-shortage-test-'));
});
afterEach(() => {
  delete process.env['TMPDIR'];
  if (before !== undefined) process.env['TMPDIR'] = before;
  rmSync(folder, { recursive: true });
});

test('a TMPDIR that is not there is named, with what to do', () => {
  const missing = join(folder, 'nowhere');
  process.env['TMPDIR'] = missing;
  const error = thrownBy(() => makeRuntimeFolder({}));
  expect(error).toMatchObject({ code: 'CONFIG_INVALID' });
  expect(error.message).toContain(`no folder can be made in ${missing}: ENOENT`);
  expect(error.data?.['advice']).toContain('set TMPDIR');
});

test('an agent that had no room for its files ended for that, and not otherwise', () => {
  const ended = new AppError('SERVICE_UNAVAILABLE', 'the agent ended before it was ready (exit code 1)');
  const full = withoutRoom(folder, ended, Number.POSITIVE_INFINITY);
  expect(full).toMatchObject({ code: 'LIMIT_REACHED', message: expect.stringContaining(`are left in ${folder}`) });
  expect(withoutRoom(folder, ended, 0)).toBeNull();
});

test('what is short for processes is theirs, and a program that is missing is a fault of ours', () => {
  const failed = (code: string) =>
    shortage('it could not be started', Object.assign(new Error(`spawn x ${code}`), { code }), { inFolder: false });
  expect(failed('EMFILE')).toMatchObject({ code: 'LIMIT_REACHED', message: 'it could not be started: spawn x EMFILE' });
  expect(failed('EMFILE').data?.['advice']).toContain('ulimit -n');
  expect(failed('ENOENT')).toMatchObject({ code: 'BUG', data: null });
});

function thrownBy(act: () => unknown): AppError {
  try {
    act();
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}
