import { chownSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { makeRuntimeFolder, removeRuntimeFolder } from './runtime-folder.ts';

let parent: string;

beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'mirrord-runtime-test-'));
});

afterEach(() => {
  rmSync(parent, { recursive: true });
});

test('the folder is ours alone and goes with all that is in it', async () => {
  const folder = makeRuntimeFolder({ XDG_RUNTIME_DIR: parent });
  expect(statSync(folder).mode & 0o777).toBe(0o700);
  writeFileSync(join(folder, 'key'), 'x');
  removeRuntimeFolder(folder);
  expect(readdirSync(parent)).toEqual([]);
});

test('what a killed client left is removed by the next, what a living one uses is not', async () => {
  const living = makeRuntimeFolder({ XDG_RUNTIME_DIR: parent });
  const names = ['mirrord-run-4194304-1-abcDEF', `mirrord-run-${process.pid}-1-abcDEF`, 'mirrord-run-other', 'foreign'];
  for (const name of names) mkdirSync(join(parent, name));
  const own = makeRuntimeFolder({ XDG_RUNTIME_DIR: parent });
  const left = readdirSync(parent).map((name) => join(parent, name));
  expect(left.sort()).toEqual([living, own, join(parent, 'foreign'), join(parent, 'mirrord-run-other')].sort());
});

test('a runtime folder of the system that cannot be used is not needed', async () => {
  const folder = makeRuntimeFolder({ XDG_RUNTIME_DIR: join(parent, 'nowhere') });
  expect(folder.startsWith(tmpdir())).toBe(true);
  removeRuntimeFolder(folder);
});

test.skipIf(process.geteuid?.() !== 0)('what another user or a link has put under our name is left alone', async () => {
  const foreign = join(parent, 'mirrord-run-4194304-1-abcDEF');
  mkdirSync(foreign);
  writeFileSync(join(foreign, 'theirs'), 'x');
  chownSync(foreign, 65_534, 65_534);
  mkdirSync(join(parent, 'precious'));
  symlinkSync('precious', join(parent, 'mirrord-run-4194304-2-abcDEF'));
  makeRuntimeFolder({ XDG_RUNTIME_DIR: parent });
  expect(readdirSync(foreign)).toEqual(['theirs']);
  expect(readdirSync(parent)).toContain('precious');
  expect(readdirSync(parent)).toContain('mirrord-run-4194304-2-abcDEF');
});
