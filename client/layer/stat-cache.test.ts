import { expect, test } from 'vitest';
import type { FileStat } from '#proto/gen/v1/fs_env.ts';
import { StatCache } from './stat-cache.ts';

const FILE = 0o100644;
const LINK = 0o120777;

function statOf(inode: number, mode = FILE): FileStat {
  const zero = { device: 1n, links: 1, uid: 0, gid: 0, specialDevice: 0n, size: 0n, blockSize: 4096, blocks: 0n };
  return { ...zero, inode: BigInt(inode), mode, accessedNs: 0n, modifiedNs: 0n, changedNs: 0n, bornNs: 0n };
}

function listing(...names: string[]) {
  return names.map((name, index) => ({ name: Buffer.from(name), stat: statOf(index + 1) }));
}

function at(path: string): Buffer {
  return Buffer.from(path);
}

test('an entry of a listing is known for a second', () => {
  let nowMs = 0;
  const cache = new StatCache(() => nowMs);
  cache.fill(at('/srv/'), listing('a', 'b'), cache.changes);
  expect(cache.find(at('/srv/b'), true)?.inode).toBe(2n);
  nowMs = 999;
  expect(cache.find(at('/srv/a'), false)?.inode).toBe(1n);
  nowMs = 1_000;
  expect(cache.find(at('/srv/a'), false)).toBeNull();
});

test('a link is known as itself and not as what it leads to', () => {
  const cache = new StatCache(() => 0);
  cache.fill(at('/srv'), [{ name: at('link'), stat: statOf(7, LINK) }], cache.changes);
  expect(cache.find(at('/srv/link'), false)?.inode).toBe(7n);
  expect(cache.find(at('/srv/link'), true)).toBeNull();
});

test('neither the directory itself nor its parent is learned from its listing', () => {
  const cache = new StatCache(() => 0);
  cache.fill(at('/'), listing('.', '..', 'etc'), cache.changes);
  expect(cache.find(at('/.'), true)).toBeNull();
  expect(cache.find(at('/..'), true)).toBeNull();
  expect(cache.find(at('/etc'), true)).not.toBeNull();
});

test('after a change of ours nothing is believed, whatever name it went by', () => {
  const cache = new StatCache(() => 0);
  cache.fill(at('/srv'), listing('a', 'b'), cache.changes);
  cache.forgetAll();
  for (const name of ['/srv/a', '/srv/b', '/srv']) expect(cache.find(at(name), true)).toBeNull();
});

test('a listing from before a change of ours is not believed after it', () => {
  const cache = new StatCache(() => 0);
  const before = cache.changes;
  cache.forgetAll();
  cache.fill(at('/srv'), listing('a'), before);
  expect(cache.find(at('/srv/a'), true)).toBeNull();
});

test('an entry that vanished while it was listed is not invented', () => {
  const cache = new StatCache(() => 0);
  cache.fill(at('/srv'), [{ name: at('gone') }], cache.changes);
  expect(cache.find(at('/srv/gone'), true)).toBeNull();
});

test('no more than 20,000 entries are held', () => {
  const cache = new StatCache(() => 0);
  const names = Array.from({ length: 20_001 }, (_, index) => `f${index}`);
  cache.fill(at('/big'), listing(...names), cache.changes);
  expect(cache.find(at('/big/f0'), true)).toBeNull();
  expect(cache.find(at('/big/f20000'), true)).not.toBeNull();
});
