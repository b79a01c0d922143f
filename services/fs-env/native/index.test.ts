import {
  constants,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statfsSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ERRNO } from '#proto/errno.ts';
import { FileReply } from '#proto/gen/v1/fs_env.ts';
import { type Answer, native, type OpenFile, type Target } from './index.ts';

// The target is this process, so nothing here needs root.
let target: Target;
let folder: string;
const at = (name: string) => Buffer.from(path.join(folder, name));

beforeAll(async () => {
  folder = realpathSync(mkdtempSync(path.join(tmpdir(), 'mirrord-addon-')));
  const attached = await native.attach(process.pid, 0n, 1 << 20);
  target = attached.target as Target;
});

afterAll(() => {
  native.closeTarget(target);
  rmSync(folder, { recursive: true });
});

function resultOf<K extends NonNullable<FileReply['result']>['$case']>(
  answer: Answer,
  kind: K,
): Extract<NonNullable<FileReply['result']>, { $case: K }>['value'] {
  const { errno, result } = FileReply.decode(answer.head);
  if (result?.$case !== kind) throw new Error(`errno ${errno}, ${result?.$case} instead of ${kind}`);
  return result.value as never;
}

const errnoOf = (answer: Answer) => FileReply.decode(answer.head).errno;

test('a stat is encoded field by field as the generated code reads it', async () => {
  writeFileSync(at('stat'), 'content');
  const own = statSync(at('stat'), { bigint: true });
  const stat = resultOf(await native.statPath(target, at('stat'), false), 'stat');
  expect(stat).toEqual({
    device: own.dev,
    inode: own.ino,
    mode: Number(own.mode),
    links: Number(own.nlink),
    uid: Number(own.uid),
    gid: Number(own.gid),
    specialDevice: own.rdev,
    size: own.size,
    blockSize: Number(own.blksize),
    blocks: own.blocks,
    accessedNs: own.atimeNs,
    modifiedNs: own.mtimeNs,
    changedNs: own.ctimeNs,
    bornNs: own.birthtimeNs,
  });
  const { head } = await native.statPath(target, at('stat'), false);
  expect(head.equals(FileReply.encode({ errno: 0, result: { $case: 'stat', value: stat } }).finish())).toBe(true);
});

test('times before the epoch and with nanoseconds go in and out as they are', async () => {
  writeFileSync(at('times'), '');
  for (const [accessed, modified] of [
    [1_700_000_000_123_456_789n, -1n],
    [-1_500_000_001n, 0n],
  ] as const) {
    const answer = await native.setAttributesPath(
      target,
      at('times'),
      false,
      null,
      null,
      null,
      null,
      accessed,
      modified,
    );
    expect(resultOf(answer, 'stat')).toMatchObject({ accessedNs: accessed, modifiedNs: modified });
  }
  const now = await native.setAttributesPath(target, at('times'), false, null, null, null, null, null, 'now');
  expect(Math.abs(Number(resultOf(now, 'stat').modifiedNs / 1_000_000n) - Date.now())).toBeLessThan(60_000);
});

test('a page of a directory is encoded as the generated code reads it, and holds what readdir says', async () => {
  mkdirSync(at('names'));
  const names = ['a', 'ü', 'x'.repeat(255), ' ', '-'];
  for (const name of names) writeFileSync(path.join(folder, 'names', name), '');
  const opened = await native.open(target, at('names'), constants.O_DIRECTORY, 0, 0, 5, false);
  expect(resultOf(opened, 'opened').handle).toBe(5);
  const page = resultOf(await native.readDir(target, opened.file as OpenFile, 0n, 1_000), 'directory');
  const found = page.entries.map(({ name }) => name.toString()).sort();
  expect(found).toEqual([...names, '.', '..'].sort());
  expect(page.isLast).toBe(true);
  for (const entry of page.entries) {
    expect(entry.stat?.inode).toBe(lstatSync(path.join(folder, 'names', entry.name.toString()), { bigint: true }).ino);
  }
  // From the cookie of an entry on, the rest comes.
  const cookie = page.entries[2]?.cookie ?? 0n;
  const rest = resultOf(await native.readDir(target, opened.file as OpenFile, cookie, 1_000), 'directory');
  expect(rest.entries.map(({ name }) => name.toString())).toEqual(
    page.entries.slice(3).map(({ name }) => name.toString()),
  );
  native.closeFile(opened.file as OpenFile);
});

test('the facts of a file system are those of statfs', async () => {
  const own = statfsSync(folder, { bigint: true });
  expect(resultOf(await native.statFsPath(target, at('.')), 'statFs')).toMatchObject({
    type: own.type,
    blockSize: own.bsize,
    blocks: own.blocks,
    files: own.files,
  });
});

test('a small file comes with its content, and is kept open when that is asked for', async () => {
  writeFileSync(at('small'), 'small');
  const whole = await native.open(target, at('small'), constants.O_RDONLY, 0, 100, 5, false);
  expect([whole.data.toString(), whole.file, resultOf(whole, 'opened').handle]).toEqual(['small', null, 0]);
  const kept = await native.open(target, at('small'), constants.O_RDONLY, 0, 100, 5, true);
  expect([kept.data.toString(), resultOf(kept, 'opened').handle]).toEqual(['small', 5]);
  const file = kept.file as OpenFile;
  rmSync(at('small'));
  expect(resultOf(await native.statFile(target, file), 'stat').links).toBe(0);
  native.closeFile(file);
});

test('reads, writes, short reads and errors are what the kernel says', async () => {
  const opened = await native.open(target, at('rw'), constants.O_RDWR | constants.O_CREAT, 0o600, 0, 1, false);
  const file = opened.file as OpenFile;
  const content = Buffer.alloc(200_000, 'ab');
  expect(resultOf(await native.write(target, file, 10n, content), 'written').bytes).toBe(200_000);
  const { data } = await native.read(target, file, 10n, 262_144);
  expect(data.equals(content)).toBe(true);
  expect((await native.read(target, file, 200_009n, 100)).data.toString()).toBe('b');
  expect((await native.read(target, file, 200_010n, 100)).data).toHaveLength(0);
  expect(errnoOf(await native.read(target, file, 1n << 63n, 1))).toBe(ERRNO.EINVAL);
  expect(errnoOf(await native.sync(target, file, true))).toBe(0);
  native.closeFile(file);
  expect(readFileSync(at('rw')).subarray(10).equals(content)).toBe(true);
  expect(errnoOf(await native.open(target, at('none'), 0, 0, 0, 1, false))).toBe(ERRNO.ENOENT);
  expect(errnoOf(await native.open(target, Buffer.from('relative'), 0, 0, 0, 1, false))).toBe(ERRNO.EINVAL);
  expect(errnoOf(await native.open(target, Buffer.from('/a\0b'), 0, 0, 0, 1, false))).toBe(ERRNO.EINVAL);
  expect(errnoOf(await native.open(target, Buffer.alloc(0), 0, 0, 0, 1, false))).toBe(ERRNO.ENOENT);
});

test('wrong arguments throw and name their place', () => {
  const wrong: [() => unknown, string][] = [
    [() => native.attach('1' as never, 0n, 0), 'argument 1'],
    [() => native.attach(1, 0 as never, 0), 'argument 2'],
    [() => native.attach(1, -1n, 0), 'argument 2'],
    [() => native.attach(1, 1n << 64n, 0), 'argument 2'],
    [() => native.attach(1.5, 0n, 0), 'argument 1'],
    [() => native.attach(Number.NaN, 0n, 0), 'argument 1'],
    [() => native.attach(-1, 0n, 0), 'argument 1'],
    [() => native.open(target, '/path' as never, 0, 0, 0, 0, false), 'argument 2'],
    [() => native.open(target, at('x'), 2 ** 32, 0, 0, 0, false), 'argument 3'],
    [() => native.open({} as never, at('x'), 0, 0, 0, 0, false), 'argument 1'],
    [() => native.open(undefined as never, at('x'), 0, 0, 0, 0, false), 'argument 1'],
    [() => native.read(target, target as never, 0n, 1), 'argument 2'],
    [() => native.read(target, Object.create(target) as never, 0n, 1), 'argument 2'],
    [() => native.statPath(target, at('x'), 1 as never), 'argument 3'],
    [
      () => native.setAttributesPath(target, at('x'), false, null, null, null, null, 'then' as never, null),
      'argument 8',
    ],
    [() => native.closeFile(target as never), 'argument 1'],
    [() => native.closeTarget(null as never), 'argument 1'],
  ];
  for (const [call, place] of wrong) {
    expect(call).toThrow(TypeError);
    expect(call).toThrow(place);
  }
});

test('what was closed is refused, and what runs on it goes on', async () => {
  writeFileSync(at('closing'), 'content');
  const { file } = await native.open(target, at('closing'), 0, 0, 0, 1, false);
  const reading = Array.from({ length: 50 }, () => native.read(target, file as OpenFile, 0n, 100));
  native.closeFile(file as OpenFile);
  for (const { data } of await Promise.all(reading)) expect(data.toString()).toBe('content');
  expect(() => native.read(target, file as OpenFile, 0n, 1)).toThrow('not closed');
  native.closeFile(file as OpenFile);
  const { target: other } = await native.attach(process.pid, 0n, 0);
  const stat = native.statPath(other as Target, at('closing'), false);
  native.closeTarget(other as Target);
  expect(errnoOf(await stat)).toBe(0);
  expect(() => native.statPath(other as Target, at('closing'), false)).toThrow('not closed');
  expect(() => native.closeTarget(other as Target)).toThrow('not closed');
});

test('a wait for the end is over when the target is closed', async () => {
  const { target: other } = await native.attach(process.pid, 0n, 0);
  const waits = [native.waitForEnd(other as Target), native.waitForEnd(other as Target)];
  native.closeTarget(other as Target);
  expect(await Promise.all(waits)).toEqual([false, false]);
});

test('a process that is not there, or not the one that was meant, is ESRCH', async () => {
  const { startTimeTicks } = await native.attach(process.pid, 0n, 0).then((attached) => {
    native.closeTarget(attached.target as Target);
    return attached;
  });
  expect(await native.attach(process.pid, startTimeTicks + 1n, 0)).toMatchObject({ errno: ERRNO.ESRCH, target: null });
  expect((await native.attach(0x3fff_ffff, 0n, 0)).errno).toBe(ERRNO.ESRCH);
  expect((await native.attach(0, 0n, 0)).errno).toBe(ERRNO.ESRCH);
  expect(await native.attach(process.pid, 0n, 1)).toMatchObject({ errno: ERRNO.E2BIG, step: 'environ' });
});

test('no descriptor is left behind', async () => {
  const open = () => readdirSync('/proc/self/fd').length;
  const { target: other } = await native.attach(process.pid, 0n, 0);
  const wait = native.waitForEnd(other as Target);
  const before = open();
  symlinkSync('closing', at('link'));
  for (let round = 0; round < 100; round += 1) {
    await native.statPath(other as Target, at('link'), round % 2 === 0);
    await native.readLink(other as Target, at('link'));
    await native.link(other as Target, at('closing'), at('linked'), 0);
    await native.rename(other as Target, at('linked'), at('moved'), 0);
    await native.unlink(other as Target, at('moved'));
    await native.open(other as Target, at('closing'), 0, 0, 100, 1, false);
    await native.open(other as Target, at('closing/none'), 0, 0, 100, 1, false);
  }
  // Files of the tests before may have been closed meanwhile.
  expect(open()).toBeLessThanOrEqual(before);
  native.closeTarget(other as Target);
  await wait;
});

test('two threads of one process use it side by side, and one may end while calls run', async () => {
  const addon = createRequire(import.meta.url).resolve('../build/fs_env.node');
  const program = `
    const { createRequire } = require('node:module');
    const native = require(${JSON.stringify(addon)});
    native.attach(process.pid, 0n, 0).then(async ({ target }) => {
      native.waitForEnd(target);
      await native.statPath(target, Buffer.from('/'), false);
      for (let i = 0; i < 200; i++) native.open(target, Buffer.from('/proc/self/status'), 0, 0, 65536, 1, false);
      require('node:worker_threads').parentPort.postMessage('busy');
      process.exit();
    });`;
  for (let round = 0; round < 5; round += 1) {
    const worker = new Worker(program, { eval: true });
    const ended = new Promise((resolve, reject) => worker.on('exit', resolve).on('error', reject));
    await new Promise((resolve) => worker.once('message', resolve));
    expect(await ended).toBe(0);
  }
  expect(errnoOf(await native.statPath(target, Buffer.from('/'), false))).toBe(0);
});
