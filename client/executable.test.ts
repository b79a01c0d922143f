import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findExecutable } from './executable.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'mirrord-executable-test-'));
  for (const name of ['first', 'second']) mkdirSync(join(folder, name));
  for (const name of ['first/plain', 'second/plain', 'second/tool']) writeFileSync(join(folder, name), '');
  chmodSync(join(folder, 'second/plain'), 0o755);
  chmodSync(join(folder, 'second/tool'), 0o755);
  mkdirSync(join(folder, 'first/tool'));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

test('a name is looked for along PATH; what cannot be run is passed over', () => {
  const path = `${folder}/first:${folder}/second`;
  expect(findExecutable('tool', path, '/')).toEqual({ kind: 'found', path: `${folder}/second/tool` });
  expect(findExecutable('nothing', path, '/')).toEqual({ kind: 'not-found' });
});

test('a folder of PATH that cannot be looked into is passed over', () => {
  symlinkSync('loop', join(folder, 'loop'));
  const path = `${folder}/loop:${folder}/second`;
  expect(findExecutable('tool', path, '/')).toEqual({ kind: 'found', path: `${folder}/second/tool` });
});

test('a file that is there and may not be run is another thing than none', () => {
  const found = findExecutable('./first/plain', '', folder);
  expect(found.kind).toBe('not-executable');
});

test('a name with a slash is a path', () => {
  expect(findExecutable('second/tool', '', folder)).toEqual({ kind: 'found', path: `${folder}/second/tool` });
  expect(findExecutable('tool', 'second', folder)).toEqual({ kind: 'found', path: `${folder}/second/tool` });
});
