import { lstatSync, mkdtempSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ERRNO } from '#proto/errno.ts';
import { WireDecoder, WireKind, WireSet } from '#proto/wire.ts';
import { decodeReply, readStat, readStatFs, readStr } from '#proto/wire-supervisor.ts';
import { answerMapped, answerMappedPair } from './mapped.ts';

let folder: string;
const at = (name: string) => Buffer.from(join(folder, name));

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'mirrord-mapped-test-'));
  writeFileSync(join(folder, 'file'), 'content');
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

async function ask(question: Parameters<typeof answerMapped>[1]) {
  const [frame] = new WireDecoder().push(Buffer.concat(await answerMapped(1n, question, question.path)));
  if (frame === undefined) throw new Error('no whole frame');
  return decodeReply(frame);
}

async function askPair(kind: typeof WireKind.RENAME | typeof WireKind.LINK, from: string, to: string, flags = 0) {
  const question = { kind, flags, from: at(from), to: at(to) };
  const [frame] = new WireDecoder().push(Buffer.concat(await answerMappedPair(1n, question, at(from), at(to))));
  if (frame === undefined) throw new Error('no whole frame');
  return decodeReply(frame).result;
}

test('it is looked at as the kernel sees it, a link as itself when asked so', async () => {
  const native = statSync(join(folder, 'file'), { bigint: true });
  expect(readStat((await ask({ kind: WireKind.STAT, flags: 0, path: at('file') })).rest)).toMatchObject({
    device: native.dev,
    inode: native.ino,
    mode: Number(native.mode),
    size: 7n,
    modifiedNs: native.mtimeNs,
  });
  await ask({ kind: WireKind.SYMLINK, target: Buffer.from('file'), path: at('link') });
  expect(readlinkSync(join(folder, 'link'))).toBe('file');
  const link = readStat((await ask({ kind: WireKind.STAT, flags: 0x100, path: at('link') })).rest);
  expect(link.mode & 0o170000).toBe(0o120000);
  expect(readStr((await ask({ kind: WireKind.READLINK, path: at('link') })).rest).toString()).toBe('file');
  expect(readStatFs((await ask({ kind: WireKind.STATFS, path: at('file') })).rest).blockSize).toBeGreaterThan(0n);
});

test('the errno is this kernel’s own', async () => {
  expect((await ask({ kind: WireKind.STAT, flags: 0, path: at('none') })).result).toBe(-ERRNO.ENOENT);
  expect((await ask({ kind: WireKind.RMDIR, path: at('file') })).result).toBe(-ERRNO.ENOTDIR);
  expect((await ask({ kind: WireKind.MKDIR, mode: 0o755, path: at('file') })).result).toBe(-ERRNO.EEXIST);
  expect((await ask({ kind: WireKind.ACCESS, mode: 0, flags: 0, path: at('none') })).result).toBe(-ERRNO.ENOENT);
});

test('directories and names come and go', async () => {
  expect((await ask({ kind: WireKind.MKDIR, mode: 0o700, path: at('d') })).result).toBe(0);
  expect(statSync(join(folder, 'd')).mode & 0o777).toBe(0o700);
  expect((await ask({ kind: WireKind.RMDIR, path: at('d') })).result).toBe(0);
  expect(await askPair(WireKind.LINK, 'file', 'second')).toBe(0);
  expect(await askPair(WireKind.RENAME, 'second', 'third')).toBe(0);
  expect(readFileSync(join(folder, 'third'), 'utf8')).toBe('content');
  expect((await ask({ kind: WireKind.UNLINK, path: at('third') })).result).toBe(0);
});

test('a rename with conditions that cannot be kept is refused, not done without them', async () => {
  writeFileSync(join(folder, 'other'), 'x');
  expect(await askPair(WireKind.RENAME, 'file', 'other', 1)).toBe(-ERRNO.EINVAL);
  expect(readFileSync(join(folder, 'other'), 'utf8')).toBe('x');
});

test('only the attributes that are named are set', async () => {
  const before = lstatSync(join(folder, 'file'));
  const set = {
    valid: WireSet.MODE | WireSet.SIZE | WireSet.MTIME,
    mode: 0o600,
    uid: 0,
    gid: 0,
    size: 3n,
    accessedNs: 0n,
    modifiedNs: 1_000_000_000n,
  };
  const { result, rest } = await ask({ kind: WireKind.SETATTR, flags: 0, set, path: at('file') });
  expect(result).toBe(0);
  expect(readStat(rest)).toMatchObject({ size: 3n, modifiedNs: 1_000_000_000n });
  const after = lstatSync(join(folder, 'file'));
  expect(after.mode & 0o777).toBe(0o600);
  expect(after.uid).toBe(before.uid);
  expect(Math.abs(after.atimeMs - before.atimeMs)).toBeLessThan(1);
});
