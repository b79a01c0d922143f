import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { trustedServiceAddress } from './service-address.ts';

let folder: string;
let server: net.Server;

beforeEach(async () => {
  folder = realpathSync(mkdtempSync(path.join(tmpdir(), 'service-address-')));
  server = net.createServer();
  await new Promise<void>((resolve) => server.listen(path.join(folder, 's.sock'), resolve));
});

afterEach(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

const check = (name: string) => () => trustedServiceAddress(`unix:${path.join(folder, name)}`);

test('a socket of ours in a folder of ours is trusted', () => {
  expect(check('s.sock')).not.toThrow();
});

test.each(['127.0.0.1:4222', 'evil.example:443', 'unix:', 'unix:relative', 'file:///x'])(
  'a service does not serve at %s',
  (address) => {
    expect(() => trustedServiceAddress(address)).toThrow('is no socket');
  },
);

test('a folder that others may write is refused, whoever owns the socket', () => {
  chmodSync(folder, 0o777);
  expect(check('s.sock')).toThrow('others may change');
  chmodSync(folder, 0o1777);
  expect(check('s.sock')).not.toThrow();
});

test('a link leads to what it names, and that is dialled', () => {
  symlinkSync('s.sock', path.join(folder, 'link'));
  expect(check('link')()).toBe(`unix:${path.join(folder, 's.sock')}`);
});

test('a file and nothing are no socket', () => {
  writeFileSync(path.join(folder, 'file'), '');
  expect(check('file')).toThrow('is no socket of ours');
  expect(check('nothing')).toThrow('nobody is there');
});

test.skipIf(process.geteuid?.() !== 0)('a socket or a folder of another user is refused', () => {
  chownSync(path.join(folder, 's.sock'), 65_534, 65_534);
  expect(check('s.sock')).toThrow('is no socket of ours');
  chownSync(path.join(folder, 's.sock'), 0, 0);
  mkdirSync(path.join(folder, 'real'));
  chownSync(folder, 65_534, 65_534);
  expect(check('s.sock')).toThrow('others may change');
});
