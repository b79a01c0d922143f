import { execFileSync } from 'node:child_process';
import { chownSync, readdirSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ERRNO } from '../../proto/errno.ts';
import type { DirectoryPage, SetAttributes } from '../../proto/gen/v1/fs_env.ts';
import { can } from '../can.ts';
import { type RunningTarget, startTarget } from '../fixtures/target.ts';
import { Files, type Server, startFsEnv } from './fs-env-harness.ts';

const O_WRONLY = 1;
const O_RDWR = 2;
const O_CREAT = 0o100;
const O_APPEND = 0o2000;
const O_DIRECTORY = 0o200000;

describe.skipIf(!can.root.yes)(`files of a target (${can.root.why})`, () => {
  let target: RunningTarget;
  let server: Server;
  let files: Files;

  beforeAll(async () => {
    target = await startTarget({ files: { '/a': 'content', '/sub/b': '' } });
    server = await startFsEnv();
    files = await Files.open(server, { pid: target.pid });
  });

  afterAll(async () => {
    files.end();
    await server[Symbol.asyncDispose]();
    await target.stop();
  });

  const set = async (path: string, change: Partial<SetAttributes>) => {
    const value = { of: { $case: 'path', value: Buffer.from(path) }, noFollow: false, ...change } as const;
    return (await files.ask({ $case: 'setAttributes', value })).reply;
  };

  async function list(path: string): Promise<DirectoryPage> {
    const { handle } = await files.open(path, O_DIRECTORY);
    const { reply } = await files.ask({ $case: 'readDir', value: { handle, cookie: 0n, entries: 1_000 } });
    files.close(handle);
    if (reply.result?.$case !== 'directory') throw new Error(`errno ${reply.errno}`);
    return reply.result.value;
  }

  test('a sparse file of 1 GiB is read at any place without reading it all', async () => {
    execFileSync('truncate', ['-s', '1G', `${target.root}/sparse`]);
    const fd = await files.open('/sparse', O_RDWR);
    await files.ask({ $case: 'write', value: { handle: fd.handle, offset: 1_000_000_000n } }, Buffer.from('here'));
    const read = async (offset: bigint, length: number) =>
      (await files.ask({ $case: 'read', value: { handle: fd.handle, offset, length } })).data;
    expect((await read(999_999_998n, 8)).toString('latin1')).toBe('\0\0here\0\0');
    expect(await read(2n ** 30n - 3n, 262_144)).toHaveLength(3);
    expect(await read(2n ** 30n, 10)).toHaveLength(0);
    const pieces = await Promise.all(
      Array.from({ length: 256 }, (_, index) => read(BigInt(index) * 262_144n, 262_144)),
    );
    const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
    expect(bytes).toBe(256 * 262_144);
    const tooLong = { $case: 'read', value: { handle: fd.handle, offset: 0n, length: 262_145 } } as const;
    expect((await files.ask(tooLong)).reply.errno).toBe(ERRNO.EINVAL);
    files.close(fd.handle);
  });

  test('names are bytes', async () => {
    const name = Buffer.from([0x2f, 0xff, 0xfe, 0x20, 0x0a, 0x80]);
    const opened = await files.open(name, O_WRONLY | O_CREAT, 0o600);
    expect(opened.errno).toBe(0);
    files.close(opened.handle);
    const page = await list('/');
    expect(page.entries.some((entry) => entry.name.equals(name.subarray(1)))).toBe(true);
    expect(readdirSync(target.root, { encoding: 'buffer' }).some((entry) => entry.equals(name.subarray(1)))).toBe(true);
  });

  test('above the root there is the root', async () => {
    const page = await list('/');
    const inodes = ['.', '..'].map((name) => page.entries.find((entry) => entry.name.toString() === name)?.stat?.inode);
    expect(inodes).toEqual([statSync(target.root, { bigint: true }).ino, statSync(target.root, { bigint: true }).ino]);
  });

  test('attributes are set together and told back', async () => {
    const change = {
      mode: 0o4711,
      uid: 12,
      gid: 34,
      size: 3n,
      modified: { when: { $case: 'atNs', value: 1_234_567_890_123n } },
    };
    const { errno, result } = await set('/a', change as Partial<SetAttributes>);
    expect(errno).toBe(0);
    expect(result?.value).toMatchObject({ uid: 12, gid: 34, size: 3n, modifiedNs: 1_234_567_890_123n });
    expect(readFileSync(`${target.root}/a`, 'utf8')).toBe('con');
    const opened = await files.open('/a', O_RDWR);
    const of = { $case: 'handle', value: opened.handle } as const;
    const onHandle = await files.ask({
      $case: 'setAttributes',
      value: { of, noFollow: false, size: 100n, mode: 0o600 },
    });
    expect(onHandle.reply.result?.value).toMatchObject({ size: 100n, mode: 0o100600, uid: 12 });
    files.close(opened.handle);
    symlinkSync('a', `${target.root}/link-to-a`);
    expect((await set('/link-to-a', { noFollow: true, mode: 0o600 })).errno).toBe(ERRNO.EOPNOTSUPP);
    expect((await set('/link-to-a', { noFollow: true, uid: 77 })).result?.value).toMatchObject({ uid: 77 });
    expect(statSync(`${target.root}/a`).uid).toBe(12);
    expect((await set('/sub', { size: 1n })).errno).toBe(ERRNO.EISDIR);
  });

  test('device nodes are not opened, whatever the target may do with them', async () => {
    execFileSync('mknod', [`${target.root}/disk`, 'b', '7', '0']);
    execFileSync('mknod', [`${target.root}/memory`, 'c', '1', '1']);
    symlinkSync('/disk', `${target.root}/to-disk`);
    for (const path of ['/disk', '/memory', '/to-disk']) {
      expect((await files.open(path)).errno).toBe(ERRNO.EACCES);
      expect((await files.open(path, O_WRONLY | O_CREAT, 0o600)).errno).toBe(ERRNO.EACCES);
    }
    expect((await files.stat('/disk')).stat?.specialDevice).toBe(0x700n);
    expect((await files.open('/dev/null', O_RDWR)).errno).toBe(0);
    expect((await files.open('/dev/urandom')).errno).toBe(0);
  });

  test('appends of two sessions do not lose or split a line', async () => {
    using other = await Files.open(server, { pid: target.pid });
    const flags = O_WRONLY | O_CREAT | O_APPEND;
    const handles = await Promise.all([files, other].map((session) => session.open('/log', flags, 0o600)));
    const line = (writer: number, index: number) =>
      `${writer}:${String(index).padStart(5, '0')}:${'x'.repeat(index % 97)}\n`;
    await Promise.all(
      [files, other].flatMap((session, writer) =>
        Array.from({ length: 120 }, (_, index) => {
          const value = { handle: handles[writer]?.handle ?? 0, offset: 0n };
          return session.ask({ $case: 'write', value }, Buffer.from(line(writer, index)));
        }),
      ),
    );
    const lines = readFileSync(`${target.root}/log`, 'utf8').split('\n').slice(0, -1);
    for (const writer of [0, 1]) {
      const own = lines.filter((text) => text.startsWith(`${writer}:`)).map((text) => `${text}\n`);
      expect(own).toEqual(Array.from({ length: 120 }, (_, index) => line(writer, index)));
    }
  });

  test('a session that ends gives back every descriptor and the target its root', async () => {
    const open = () => readdirSync('/proc/self/fd').length;
    const ended = await startTarget({ files: { '/a': 'x'.repeat(100_000) } });
    const session = await Files.open(server, { pid: ended.pid });
    for (let index = 0; index < 50; index += 1) await session.open('/a');
    const before = open();
    session.end();
    await expect.poll(open, { timeout: 5_000 }).toBeLessThanOrEqual(before - 52);
    await ended.stop();
  });

  test('more requests than are allowed are refused, and those before them answered', async () => {
    await using small = await startFsEnv({ fileHandles: 8, requests: 4 });
    using session = await Files.open(small, { pid: target.pid });
    const asked = Array.from({ length: 40 }, () => session.stat('/a'));
    const outcomes = await Promise.allSettled(asked);
    const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
    expect(refused.length).toBeGreaterThan(0);
    for (const { reason } of refused) expect(reason).toMatchObject({ code: 'LIMIT_REACHED' });
    expect(outcomes.filter((outcome) => outcome.status === 'fulfilled').length).toBeGreaterThanOrEqual(4);
    expect((await session.stat('/a')).errno).toBe(0);
  });

  test('a target in a user namespace of its own has the rights of its user outside', async () => {
    const command = ['unshare', '--user', '--map-root-user', 'sh', '-c', 'echo ready; exec sleep 1000'];
    const ready: string[] = [];
    await using inner = await startTarget({
      env: { PATH: '/usr/bin:/bin' },
      command,
      uid: 4711,
      files: { '/secret': 'x' },
      onLine: (line) => ready.push(line),
    });
    execFileSync('chmod', ['600', `${inner.root}/secret`]);
    await expect.poll(() => ready).toContain('ready');
    using session = await Files.open(server, { pid: inner.pid });
    expect((await session.open('/secret')).errno).toBe(ERRNO.EACCES);
    chownSync(`${inner.root}/secret`, 4711, 4711);
    expect((await session.open('/secret')).errno).toBe(0);
  });
});
