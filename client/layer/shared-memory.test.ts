import { closeSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { SharedMemory } from './shared-memory.ts';

const BYTES = 8192;
let folder: string;
let fd: number;
let memory: SharedMemory;

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'mirrord-memory-'));
  fd = openSync(path.join(folder, 'memory'), 'w+');
  ftruncateSync(fd, BYTES);
  memory = SharedMemory.open(process.pid, fd, BYTES);
});

afterEach(() => {
  memory.close();
  closeSync(fd);
  rmSync(folder, { recursive: true, force: true });
});

const content = () => readFileSync(path.join(folder, 'memory'));

test('chunks lie one behind the other at their place, and nothing else changes', () => {
  expect(memory.lay(100n, [Buffer.from('ab'), Buffer.alloc(0), Buffer.from('cde')])).toBe(true);
  const expected = Buffer.alloc(BYTES);
  expected.write('abcde', 100);
  expect(content().equals(expected)).toBe(true);
});

test('up to the last byte', () => {
  expect(memory.lay(BigInt(BYTES - 3), [Buffer.from('end')])).toBe(true);
  expect(content().subarray(-3).toString()).toBe('end');
});

test('what does not fit is not laid', () => {
  expect(memory.lay(BigInt(BYTES - 2), [Buffer.from('end')])).toBe(false);
  expect(memory.lay(2n ** 64n - 1n, [Buffer.from('x')])).toBe(false);
  expect(content()).toEqual(Buffer.alloc(BYTES));
});

test('a descriptor that is not there is an error', () => {
  expect(() => SharedMemory.open(process.pid, 99_999, BYTES)).toThrow('ENOENT');
});
