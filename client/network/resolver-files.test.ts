import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { addressText, formatIp } from '#proto/socket-address.ts';
import { toNsswitch, withOptions, writeNameFiles } from './name-files.ts';
import { candidatesOf, parseHosts, parseResolvConf } from './resolver-files.ts';

test('resolv.conf is read as resolvers read it', () => {
  const conf = parseResolvConf(
    '# comment\nnameserver 10.96.0.10\nnameserver fe80::1%eth0 ; zone\nnameserver nonsense\nnameserver 1.1.1.1\nnameserver 2.2.2.2\n' +
      'domain old.example\nsearch Shop.svc.cluster.local  cluster.local.\noptions timeout:1 ndots:5 rotate\n',
  );
  expect(conf.nameServers.map(addressText)).toEqual(['10.96.0.10:53', '[fe80::1]:53', '1.1.1.1:53']);
  expect(conf.searchDomains).toEqual(['shop.svc.cluster.local', 'cluster.local']);
  expect(conf.ndots).toBe(5);
  expect(parseResolvConf('').nameServers.map(addressText)).toEqual(['127.0.0.1:53']);
});

test('the times of lookups stand last in it, where the configuration names them', () => {
  const conf = Buffer.from('nameserver 10.96.0.10\noptions timeout:9 ndots:5');
  const text = (timeout: number | null, attempts: number | null) =>
    Buffer.from(withOptions(conf, { timeout, attempts })).toString();
  expect(text(null, null)).toBe(conf.toString());
  expect(text(3, null)).toBe(`${conf}\noptions timeout:3\n`);
  expect(text(3, 2)).toBe(`${conf}\noptions timeout:3 attempts:2\n`);
  expect(withOptions(Buffer.alloc(0), { timeout: 3, attempts: 2 })).toHaveLength(0);
});

test('names are tried in the order of resolvers', () => {
  const conf = { nameServers: [], searchDomains: ['a.test', 'b.test'], ndots: 2 };
  expect(candidatesOf('db', conf)).toEqual(['db.a.test', 'db.b.test', 'db']);
  expect(candidatesOf('x.y.db', conf)).toEqual(['x.y.db', 'x.y.db.a.test', 'x.y.db.b.test']);
  expect(candidatesOf('db.', conf)).toEqual(['db']);
});

test('hosts has every address of every name', () => {
  const hosts = parseHosts(
    '127.0.0.1 localhost\n::1 localhost ip6\n10.0.0.1 DB.example db # the database\nbad line\n\n',
  );
  expect(hosts.get('localhost')?.map(formatIp)).toEqual(['127.0.0.1', '::1']);
  expect(hosts.get('db.example')?.map(formatIp)).toEqual(['10.0.0.1']);
  expect(hosts.has('line')).toBe(false);
});

test('any text is read', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      expect(parseResolvConf(text).nameServers.length).toBeGreaterThan(0);
      parseHosts(text);
      expect(toNsswitch(text)).toContain('hosts: files dns');
    }),
  );
});

test('nsswitch.conf keeps all but its line of hosts', () => {
  expect(
    toNsswitch('passwd: files systemd\nhosts:  mymachines resolve [!UNAVAIL=return] files dns\nnetworks: files\n'),
  ).toBe('passwd: files systemd\nhosts: files dns\nnetworks: files\n');
  expect(toNsswitch('passwd: files')).toBe('passwd: files\nhosts: files dns\n');
  expect(toNsswitch('')).toBe('hosts: files dns\n');
});

test('the files of names are written for one run, and removed after it', async () => {
  const facts = { resolvConf: Buffer.from('nameserver 10.0.0.1\n'), hosts: Buffer.from('10.0.0.2 db\n') };
  const files = writeNameFiles(null, { XDG_RUNTIME_DIR: tmpdir() }, facts, () => false);
  expect(files.files.map(({ path }) => path)).toEqual(['/etc/nsswitch.conf']);
  expect(readFileSync(files.files[0]?.instead ?? '', 'utf8')).toContain('hosts: files dns');
  files.remove();
  expect(existsSync(files.files[0]?.instead ?? '')).toBe(false);
  const local = writeNameFiles(null, { XDG_RUNTIME_DIR: tmpdir() }, facts, () => true);
  expect(local.files.map(({ path }) => path)).toEqual(['/etc/nsswitch.conf', '/etc/resolv.conf', '/etc/hosts']);
  local.remove();
});

test('in a folder of the run they stay as long as that', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'mirrord-name-files-'));
  try {
    const facts = { resolvConf: Buffer.alloc(0), hosts: Buffer.alloc(0) };
    const { files, remove } = writeNameFiles(folder, {}, facts, () => false);
    expect(files.map(({ instead }) => instead)).toEqual([join(folder, 'nsswitch.conf')]);
    remove();
    expect(existsSync(join(folder, 'nsswitch.conf'))).toBe(true);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
