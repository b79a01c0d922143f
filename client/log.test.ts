import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Log } from './log.ts';

let state: string;

beforeEach(() => {
  state = mkdtempSync(join(tmpdir(), 'mirrord-log-test-'));
});

afterEach(() => {
  rmSync(state, { recursive: true });
});

function newLog(echo?: (line: string) => void): Log {
  return new Log({ env: { XDG_STATE_HOME: state }, echo, now: () => new Date(0) });
}

test('a run that goes well leaves no file', () => {
  const log = newLog();
  log.info('fine');
  expect(existsSync(join(state, 'mirrord'))).toBe(false);
});

test('a log that is kept holds what came before and what comes after, closed to others', () => {
  const log = newLog();
  log.info('before', { pid: 7 });
  const file = log.keep() ?? '';
  log.attach('agent', 'its words');
  log.error('after');
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  expect(lines).toEqual([
    '{"time":"1970-01-01T00:00:00.000Z","level":"info","message":"before","pid":7}',
    '{"from":"agent"}',
    'its words',
    '{"time":"1970-01-01T00:00:00.000Z","level":"error","message":"after"}',
  ]);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(statSync(dirname(file)).mode & 0o777).toBe(0o700);
  expect(log.keep()).toBe(file);
});

test('--verbose shows each line at once', () => {
  const lines: string[] = [];
  newLog((line) => lines.push(line)).debug('now');
  expect(lines).toHaveLength(1);
});

test('the last twenty logs are kept', () => {
  mkdirSync(join(state, 'mirrord'));
  for (let index = 10; index < 40; index += 1) writeFileSync(join(state, 'mirrord', `exec-0000-${index}.log`), '');
  writeFileSync(join(state, 'mirrord', 'mine.txt'), '');
  const kept = newLog().keep() ?? '';
  const names = readdirSync(join(state, 'mirrord'));
  expect(names.filter((name) => name.startsWith('exec-'))).toHaveLength(20);
  expect(names).toContain('mine.txt');
  expect(existsSync(kept)).toBe(true);
});

test('a folder that others may write is not written to', () => {
  mkdirSync(join(state, 'mirrord'));
  chmodSync(join(state, 'mirrord'), 0o777);
  const kept = newLog().keep();
  if (kept !== null) rmSync(kept);
  expect(readdirSync(join(state, 'mirrord'))).toEqual([]);
});

test.skipIf(process.geteuid?.() !== 0)('a folder of another user is not written to', () => {
  mkdirSync(join(state, 'mirrord'));
  chownSync(join(state, 'mirrord'), 65_534, 65_534);
  const kept = newLog().keep();
  if (kept !== null) rmSync(kept);
  expect(readdirSync(join(state, 'mirrord'))).toEqual([]);
});

test('a name that is there already, a link perhaps, is not written through', () => {
  mkdirSync(join(state, 'mirrord'));
  writeFileSync(join(state, 'precious'), 'mine');
  symlinkSync('../precious', join(state, 'mirrord', `exec-1970-01-01T00-00-00-000Z-${process.pid}.log`));
  const log = newLog();
  log.error('x');
  const kept = log.keep();
  if (kept !== null) rmSync(kept);
  expect(readFileSync(join(state, 'precious'), 'utf8')).toBe('mine');
});
