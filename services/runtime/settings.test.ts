import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { flag, integer, listOf, oneOf, optionalText, readSettings, sessionKey, text } from './settings.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'settings-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

const table = {
  listen: text('LISTEN'),
  nats: optionalText('NATS'),
  level: oneOf('LEVEL', ['info', 'debug'], 'info'),
  services: listOf('SERVICES', ['fs-env', 'sniffer']),
  limit: integer('LIMIT', { min: 1, max: 10, fallback: 5 }),
  isChild: flag('CHILD'),
};

test('values are typed, absent ones have their defaults, and the whole is frozen', () => {
  const settings = readSettings({ LISTEN: 'unix:/x', NATS: '', SERVICES: 'fs-env, sniffer', CHILD: '1' }, table);
  expect(settings).toEqual({
    listen: 'unix:/x',
    nats: null,
    level: 'info',
    services: ['fs-env', 'sniffer'],
    limit: 5,
    isChild: true,
  });
  expect(Object.isFrozen(settings)).toBe(true);
});

test('every fault is reported at once', () => {
  const read = () => readSettings({ LEVEL: 'loud', SERVICES: 'x', LIMIT: '11', CHILD: 'yes' }, table);
  expect(read).toThrow(
    expect.objectContaining({
      code: 'CONFIG_INVALID',
      message: [
        'LISTEN is not set',
        'LEVEL is "loud", not one of info, debug',
        'SERVICES is "x", not one of fs-env, sniffer',
        'LIMIT is "11", not a whole number from 1 to 10',
        'CHILD is "yes", not one of 0, 1',
      ].join('\n'),
    }),
  );
});

test('a session key is read from a file that only its owner can read, and never repeated', () => {
  const file = path.join(directory, 'key');
  writeFileSync(file, 'ab'.repeat(32), { mode: 0o600 });
  expect(sessionKey('KEY')({ KEY: file })).toEqual(Buffer.alloc(32, 0xab));
  chmodSync(file, 0o640);
  expect(() => sessionKey('KEY')({ KEY: file })).toThrow('mode 640 lets others read it');
  writeFileSync(file, 'secret');
  chmodSync(file, 0o600);
  expect(() => sessionKey('KEY')({ KEY: file })).toThrow(/^(?!.*secret).*64 hex digits/);
  expect(() => sessionKey('KEY')({ KEY: `${file}-none` })).toThrow('ENOENT');
});
