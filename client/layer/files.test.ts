import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ERRNO } from '#proto/errno.ts';
import type { FileReply, FileStat } from '#proto/gen/v1/fs_env.ts';
import { RuleVerdict, WIRE_LOCAL, WireDecoder, WireKind, WireOpened, WireSet } from '#proto/wire.ts';
import { decodeReply, readDecision, readDirectory, readOpened, readStat, readStr } from '#proto/wire-supervisor.ts';
import { Session } from '../session.ts';
import { ScriptedAgent } from '../testing/scripted-agent.ts';
import { Files } from './files.ts';
import type { Question } from './link.ts';
import type { Decision } from './paths.ts';

const O_RDONLY = 0;
const O_WRONLY = 1;
const O_CREAT = 0o100;
const O_APPEND = 0o2000;
const O_DIRECTORY = 0o200000;
const NO_FOLLOW = 0x100;

let agent: ScriptedAgent;
let session: Session;
let files: Files;
let decide: (path: string, isWrite: boolean) => Decision;

beforeEach(async () => {
  agent = new ScriptedAgent();
  decide = (path) => ({ where: 'remote', path });
  session = await Session.open({
    dial: agent.dial,
    address: 'unix:/none',
    token: 't',
    target: { kind: 'pid', pid: 1 },
    wantsEnvironment: true,
    wantsFiles: true,
    deadlineMs: 1_000,
    onEvent: () => {},
    onLost: () => {},
  });
  files = new Files({ session, rules: { decide: (path, isWrite) => decide(path, isWrite) }, inlineBytes: 100_000 });
});

afterEach(async () => {
  await session.close();
});

function statOf(changes: Partial<FileStat> = {}): FileStat {
  const zero = { device: 1n, links: 1, uid: 0, gid: 0, specialDevice: 0n, blockSize: 4096, blocks: 0n, inode: 5n };
  const times = { accessedNs: 1n, modifiedNs: 2n, changedNs: 3n, bornNs: 0n };
  return { ...zero, ...times, mode: 0o100644, size: 0n, ...changes };
}

function opened(handle: number, stat = statOf()): FileReply['result'] {
  return { $case: 'opened', value: { handle, stat } };
}

async function ask(question: Question, signal = new AbortController().signal) {
  const pieces = await files.answer(7n, question, signal);
  const [frame] = new WireDecoder().push(Buffer.concat(pieces));
  if (frame === undefined) throw new Error('no whole frame');
  expect(frame.id).toBe(7n);
  return decodeReply(frame);
}

const open = (path: string, flags = O_RDONLY): Question => ({
  kind: WireKind.OPEN,
  pid: 1,
  flags,
  mode: 0o600,
  path: Buffer.from(path),
});
const stat = (path: string, flags = 0): Question => ({ kind: WireKind.STAT, flags, path: Buffer.from(path) });
const read = (handle: number, offset: number, length: number): Question => ({
  kind: WireKind.READ,
  handle,
  offset: BigInt(offset),
  length,
});

async function openHandle(path: string, handle: number, flags = O_WRONLY, of = statOf()): Promise<void> {
  agent.script = () => ({ result: opened(handle, of) });
  const { result, rest } = await ask(open(path, flags));
  expect(result).toBe(0);
  expect(readOpened(rest)).toMatchObject({ how: WireOpened.HANDLE, handle });
}

test('a small file costs one request for open, stat and content', async () => {
  agent.script = () => ({ result: opened(0, statOf({ size: 5n })), data: Buffer.from('hello') });
  const { result, rest } = await ask(open('/etc/hostname'));
  expect(result).toBe(0);
  expect(readOpened(rest)).toEqual({
    how: WireOpened.INLINE,
    stat: statOf({ size: 5n }),
    content: Buffer.from('hello'),
  });
  expect(agent.asked).toHaveLength(1);
  expect(agent.asked[0]).toMatchObject({ $case: 'open', value: { inlineBytes: 100_000 } });
});

test('a small file that the local process may change keeps its handle, and its first read costs nothing', async () => {
  decide = (path) => ({ where: 'remote', path });
  agent.script = () => ({ result: opened(6, statOf({ size: 5n })), data: Buffer.from('hello') });
  expect(readOpened((await ask(open('/data/small'))).rest)).toMatchObject({ how: WireOpened.HANDLE, handle: 6 });
  expect((await ask(read(6, 0, 4096))).rest.rest().toString()).toBe('hello');
  expect(agent.asked).toHaveLength(1);
  expect(agent.asked[0]).toMatchObject({ $case: 'open', value: { inlineBytes: 100_000, keepOpen: true } });
});

test('what may only be read is not changed through its descriptor either', async () => {
  await openHandle('/data/large', 6, O_RDONLY);
  decide = (path, isWrite) => ({ where: isWrite ? 'local' : 'remote', path });
  const set = { valid: 1, mode: 0o600, uid: 0, gid: 0, size: 0n, accessedNs: 0n, modifiedNs: 0n };
  expect((await ask({ kind: WireKind.FSETATTR, handle: 6, set })).result).toBe(-ERRNO.EROFS);
  expect(agent.asked).toHaveLength(1);
});

test('one that it may only read keeps no handle', async () => {
  decide = (path, isWrite) => ({ where: isWrite ? 'local' : 'remote', path });
  agent.script = () => ({ result: opened(0, statOf({ size: 5n })), data: Buffer.from('hello') });
  expect(readOpened((await ask(open('/data/small'))).rest)).toMatchObject({ how: WireOpened.INLINE });
  expect(agent.asked[0]).toMatchObject({ value: { keepOpen: false } });
});

test('a file opened for writing and a directory never come inline', async () => {
  await openHandle('/data/log', 3, O_WRONLY | O_CREAT);
  await openHandle('/data', 4, O_DIRECTORY);
  expect(agent.asked.map((op) => op.$case === 'open' && op.value.inlineBytes)).toEqual([0, 0]);
});

test('the errno is the target kernel’s own', async () => {
  agent.script = () => ({ errno: ERRNO.ELOOP });
  expect((await ask(open('/a'))).result).toBe(-ERRNO.ELOOP);
  expect((await ask(stat('/a'))).result).toBe(-ERRNO.ELOOP);
});

test('a path that is no UTF-8 reaches the target byte by byte', async () => {
  const path = Buffer.from([0x2f, 0xff, 0xfe, 0x61]);
  agent.script = () => ({ result: { $case: 'stat', value: statOf() } });
  await ask({ kind: WireKind.STAT, flags: 0, path });
  expect(agent.asked[0]).toMatchObject({ value: { of: { value: path } } });
});

test('what the rules call local is local, what they call not found does not exist, neither asks the target', async () => {
  decide = (path) => ({ where: path === '/local' ? 'local' : 'not-found', path });
  expect((await ask(open('/local'))).result).toBe(WIRE_LOCAL);
  expect((await ask(stat('/local'))).result).toBe(WIRE_LOCAL);
  expect((await ask(open('/gone'))).result).toBe(-ERRNO.ENOENT);
  expect(agent.asked).toHaveLength(0);
});

test('a path mapped on this machine is opened there by its other name', async () => {
  decide = () => ({ where: 'local', path: '/other' });
  const { rest } = await ask(open('/named'));
  expect(readOpened(rest)).toEqual({ how: WireOpened.MAPPED, path: Buffer.from('/other') });
});

test('a mapped path is looked at on this machine in the place of the local process', async () => {
  decide = () => ({ where: 'local', path: '/proc/self/status' });
  const { result, rest } = await ask(stat('/named'));
  expect(result).toBe(0);
  expect(readStat(rest).mode & 0o170000).toBe(0o100000);
  decide = () => ({ where: 'local', path: '/nowhere/at/all' });
  expect((await ask(stat('/named'))).result).toBe(-ERRNO.ENOENT);
});

test('a path mapped to another one of the target is asked for by that', async () => {
  decide = () => ({ where: 'remote', path: '/real' });
  agent.script = () => ({ data: Buffer.from('t') });
  const { rest } = await ask({ kind: WireKind.READLINK, path: Buffer.from('/named') });
  expect(readStr(rest).toString()).toBe('t');
  expect(agent.asked[0]).toEqual({ $case: 'readLink', value: { path: Buffer.from('/real') } });
});

test.each([
  [O_RDONLY, false],
  [O_WRONLY, true],
  [O_RDONLY | O_CREAT, true],
  [O_RDONLY | O_APPEND, true],
])('an open with flags %o is asked of the rules as a write: %s', async (flags, isWrite) => {
  const asked: boolean[] = [];
  decide = (path, write) => {
    asked.push(write);
    return { where: 'local', path };
  };
  await ask(open('/a', flags));
  expect(asked).toEqual([isWrite]);
});

test('a rename from there to here is one between file systems', async () => {
  decide = (path) => ({ where: path === '/here' ? 'local' : 'remote', path });
  const question: Question = { kind: WireKind.RENAME, flags: 0, from: Buffer.from('/there'), to: Buffer.from('/here') };
  expect((await ask(question)).result).toBe(-ERRNO.EXDEV);
});

test('DECIDE tells the verdict and the mapped path', async () => {
  decide = () => ({ where: 'local', path: '/m' });
  const { rest } = await ask({ kind: WireKind.DECIDE, isWrite: false, path: Buffer.from('/a') });
  expect(readDecision(rest)).toEqual({ verdict: RuleVerdict.MAPPED, path: Buffer.from('/m') });
});

test('a large file is read in order with fewer requests than reads, and every byte is right', async () => {
  const content = Buffer.from(Array.from({ length: 1 << 20 }, (_, index) => index % 251));
  await openHandle('/big', 5, O_RDONLY, statOf({ size: BigInt(content.length) }));
  agent.script = (op) => {
    if (op.$case !== 'read') return {};
    const at = Number(op.value.offset);
    return { data: content.subarray(at, at + op.value.length) };
  };
  const parts: Buffer[] = [];
  for (let at = 0; at < content.length; at += 32_768) {
    const { result, rest } = await ask(read(5, at, 32_768));
    expect(result).toBe(32_768);
    parts.push(rest.rest());
  }
  expect(Buffer.concat(parts).equals(content)).toBe(true);
  expect(agent.asked.length).toBeLessThan(10);
});

test('a write through one handle is seen through another of the same file', async () => {
  const content = Buffer.alloc(1 << 20);
  await openHandle('/f', 5, O_RDONLY, statOf({ size: BigInt(content.length) }));
  await openHandle('/f', 6, O_WRONLY, statOf({ size: BigInt(content.length) }));
  agent.script = (op, data) => {
    if (op.$case === 'read') {
      const at = Number(op.value.offset);
      return { data: Buffer.from(content.subarray(at, at + op.value.length)) };
    }
    if (op.$case === 'write') content.set(data, Number(op.value.offset));
    return { result: { $case: 'written', value: { bytes: data.length } } };
  };
  await ask(read(5, 0, 65_536));
  await ask(read(5, 65_536, 65_536));
  const write: Question = { kind: WireKind.WRITE, handle: 6, offset: 131_072n, data: Buffer.from('changed') };
  expect((await ask(write)).result).toBe(7);
  const { rest } = await ask(read(5, 131_072, 7));
  expect(rest.rest().toString()).toBe('changed');
});

test.each([
  ['a stat of its descriptor', { kind: WireKind.FSTAT, handle: 5 } as Question],
  ['a stat of its path', stat('/f')],
])('what was read ahead is void once %s shows another file content', async (_, question) => {
  let content = Buffer.alloc(1 << 20, 'a');
  const size = BigInt(content.length);
  await openHandle('/f', 5, O_RDONLY, statOf({ size }));
  agent.script = (op) => {
    if (op.$case === 'stat') return { result: { $case: 'stat', value: statOf({ size, modifiedNs: 9n }) } };
    if (op.$case !== 'read') return {};
    const at = Number(op.value.offset);
    return { data: content.subarray(at, at + op.value.length) };
  };
  await ask(read(5, 0, 65_536));
  await ask(read(5, 65_536, 65_536));
  content = Buffer.alloc(1 << 20, 'b');
  expect((await ask(question)).result).toBe(0);
  const { rest } = await ask(read(5, 131_072, 7));
  expect(rest.rest().toString()).toBe('bbbbbbb');
});

test('a write larger than a frame goes in pieces and stops at the first that is refused', async () => {
  await openHandle('/f', 6);
  const lengths: number[] = [];
  agent.script = (_op, data) => {
    lengths.push(data.length);
    if (lengths.length === 3) return { errno: ERRNO.ENOSPC };
    return { result: { $case: 'written', value: { bytes: data.length } } };
  };
  const data = Buffer.alloc(600 * 1024, 1);
  expect((await ask({ kind: WireKind.WRITE, handle: 6, offset: 0n, data })).result).toBe(512 * 1024);
  expect(lengths).toEqual([256 * 1024, 256 * 1024, 88 * 1024]);
});

test('listing a directory and looking at each entry costs the listing', async () => {
  await openHandle('/dir', 8, O_DIRECTORY, statOf({ mode: 0o040755 }));
  const entries = Array.from({ length: 1_000 }, (_, index) => ({
    name: Buffer.from(`f${index}`),
    stat: statOf({ inode: BigInt(index + 10) }),
    cookie: BigInt(index + 1),
    type: 8,
    inode: BigInt(index + 10),
  }));
  agent.script = () => ({ result: { $case: 'directory', value: { entries, next: 1000n, isLast: true } } });
  // What is kept of a listing is kept for a second, which a busy machine may need for so many questions.
  vi.spyOn(performance, 'now').mockReturnValue(performance.now());
  const { rest } = await ask({ kind: WireKind.READDIR, handle: 8, cookie: 0n, entries: 1_000 });
  expect(readDirectory(rest).entries).toHaveLength(1_000);
  const before = agent.asked.length;
  for (let index = 0; index < 1_000; index += 1) {
    const { rest: known } = await ask(stat(`/dir/f${index}`, NO_FOLLOW));
    expect(readStat(known).inode).toBe(BigInt(index + 10));
  }
  expect(agent.asked.length).toBe(before);
});

test('a name that is removed after the listing is asked for again', async () => {
  await openHandle('/dir', 8, O_DIRECTORY, statOf({ mode: 0o040755 }));
  const entries = [{ name: Buffer.from('f'), stat: statOf(), cookie: 1n, type: 8, inode: 5n }];
  agent.script = () => ({ result: { $case: 'directory', value: { entries, next: 1n, isLast: true } } });
  await ask({ kind: WireKind.READDIR, handle: 8, cookie: 0n, entries: 10 });
  agent.script = (op) => (op.$case === 'unlink' ? {} : { errno: ERRNO.ENOENT });
  expect((await ask({ kind: WireKind.UNLINK, path: Buffer.from('/dir/f') })).result).toBe(0);
  expect((await ask(stat('/dir/f'))).result).toBe(-ERRNO.ENOENT);
});

test('only the attributes that are named are set', async () => {
  agent.script = () => ({ result: { $case: 'stat', value: statOf() } });
  const set = { valid: WireSet.SIZE | WireSet.MTIME | WireSet.MTIME_NOW, mode: 0o777, uid: 9, gid: 9, size: 4n };
  const times = { accessedNs: 1n, modifiedNs: 2n };
  await ask({ kind: WireKind.SETATTR, flags: 0, set: { ...set, ...times }, path: Buffer.from('/f') });
  expect(agent.asked[0]).toEqual({
    $case: 'setAttributes',
    value: {
      of: { $case: 'path', value: Buffer.from('/f') },
      noFollow: false,
      size: 4n,
      modified: { when: { $case: 'now', value: true } },
    },
  });
});

test('a released handle is closed in the target once, and is no handle any more', async () => {
  await openHandle('/f', 6);
  files.release(6);
  files.release(6);
  expect(files.openFiles).toBe(0);
  expect((await ask(read(6, 0, 10))).result).toBe(-ERRNO.EBADF);
  await vi.waitUntil(() => agent.asked.at(-1)?.$case === 'close', { interval: 1, timeout: 30_000 });
  expect(agent.asked.filter(({ $case }) => $case === 'close')).toHaveLength(1);
});

test('a question that is cancelled ends, and the request with it', async () => {
  agent.script = () => null;
  const controller = new AbortController();
  const answer = files.answer(7n, open('/slow'), controller.signal);
  await vi.waitUntil(() => agent.asked.length === 1, { interval: 1, timeout: 30_000 });
  controller.abort();
  await expect(answer).rejects.toMatchObject({ code: 'CANCELLED' });
});

test('when the agent is lost every question about files fails with its error', async () => {
  await openHandle('/f', 6, O_RDONLY, statOf({ size: 100n }));
  agent.vanish();
  await vi.waitUntil(() => session.lost !== null, { interval: 1, timeout: 30_000 });
  for (const question of [stat('/a'), open('/a'), read(6, 0, 10)]) {
    await expect(files.answer(1n, question, new AbortController().signal)).rejects.toMatchObject({
      code: 'AGENT_LOST',
      localErrno: ERRNO.EIO,
    });
  }
});
