import { chmodSync, chownSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { ERRNO } from '../../proto/errno.ts';
import { can } from '../can.ts';
import { startTarget } from '../fixtures/target.ts';
import { Files, startFsEnv } from './fs-env-harness.ts';

const O_WRONLY = 1;
const O_RDWR = 2;
const O_CREAT = 0o100;
const O_APPEND = 0o2000;
const O_DIRECTORY = 0o200000;
const O_PATH = 0o10000000;

function startTime(pid: number): bigint {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  return BigInt(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? 0);
}

describe.skipIf(!can.root.yes)(`a session of fs-env (${can.root.why})`, () => {
  test('begins with the environment and the network files of the target', async () => {
    await using target = await startTarget({
      files: {
        '/etc/resolv.conf': 'nameserver 10.0.0.1\n',
        '/etc/hosts': '127.0.0.1 localhost\n',
        '/etc/hostname': 'shop\n',
      },
      env: { NAME: 'value', EMPTY: '', WITH: 'a=b', BYTES: 'ü' },
    });
    await using server = await startFsEnv();
    using files = await Files.open(server, {
      pid: target.pid,
      startTimeTicks: startTime(target.pid),
      containerId: 'c1',
    });
    const { facts } = files;
    expect(facts.environment.map(({ name, value }) => `${name}=${value}`)).toEqual([
      'NAME=value',
      'EMPTY=',
      'WITH=a=b',
      'BYTES=ü',
    ]);
    expect(facts.resolvConf.toString()).toBe('nameserver 10.0.0.1\n');
    expect(facts.hosts.toString()).toBe('127.0.0.1 localhost\n');
    expect(facts.hostname.toString()).toBe('shop\n');
    expect([facts.pid, facts.startTimeTicks, facts.containerId]).toEqual([target.pid, startTime(target.pid), 'c1']);
  });

  test('refuses a process that is not the one that was meant', async () => {
    await using target = await startTarget();
    await using server = await startFsEnv();
    const attach = { pid: target.pid, startTimeTicks: startTime(target.pid) + 1n };
    await expect(Files.open(server, attach)).rejects.toMatchObject({ code: 'TARGET_GONE' });
    await target.stop();
    await expect(Files.open(server, { pid: target.pid })).rejects.toMatchObject({ code: 'TARGET_GONE' });
  });

  test('refuses an environment that does not fit into its answer, and says no value of it', async () => {
    const SECRET = 'x1y2z3'.repeat(12_000);
    await using target = await startTarget({ env: { SECRET, SECRET_TOO: SECRET } });
    await using server = await startFsEnv();
    const refused = await Files.open(server, { pid: target.pid }).catch((error: Error) => error);
    expect(refused).toMatchObject({ code: 'LIMIT_REACHED' });
    expect(String(refused)).not.toContain('x1y2z3');
    using files = await Files.open(server, { pid: target.pid, wantsEnvironment: false });
    expect(files.facts.environment).toEqual([]);
  });

  test('tells the end of the target and answers nothing after it', async () => {
    const target = await startTarget({ files: { '/a': 'content' } });
    await using server = await startFsEnv();
    using files = await Files.open(server, { pid: target.pid });
    const { handle } = await files.open('/a');
    expect(handle).toBeGreaterThan(0);
    await target.stop();
    expect((await files.event).event).toEqual({ $case: 'targetEnded', value: { pid: target.pid } });
    await expect(files.stat('/a')).rejects.toMatchObject({ code: 'TARGET_GONE', localErrno: ERRNO.EIO });
    const read = files.ask({ $case: 'read', value: { handle, offset: 0n, length: 10 } });
    await expect(read).rejects.toMatchObject({ code: 'TARGET_GONE' });
  });

  test('gives content and stat of a small file in one answer, and of a file of /proc too', async () => {
    await using target = await startTarget({ files: { '/small': 'content', '/big': 'x'.repeat(70_000) } });
    await using server = await startFsEnv();
    using files = await Files.open(server, { pid: target.pid });
    const small = await files.open('/small', 0, 0, 65_536);
    expect([small.errno, small.handle, small.data.toString()]).toEqual([0, 0, 'content']);
    const own = statSync(`${target.root}/small`, { bigint: true });
    expect(small.stat).toMatchObject({
      inode: own.ino,
      size: own.size,
      mode: Number(own.mode),
      modifiedNs: own.mtimeNs,
    });
    const big = await files.open('/big', 0, 0, 65_536);
    expect([big.handle > 0, big.data.length]).toEqual([true, 0]);
    const status = await files.open('/proc/1/status', 0, 0, 65_536);
    expect(status.data.toString()).toMatch(/^NSpid:.*\t1$/m);
    expect((await files.open('/small', O_PATH)).errno).toBe(ERRNO.EOPNOTSUPP);
  });

  test('opens no more files than it may, and any after one was closed', async () => {
    await using target = await startTarget({ files: { '/a': '' } });
    await using server = await startFsEnv({ fileHandles: 3, requests: 256 });
    using files = await Files.open(server, { pid: target.pid });
    const opened = await Promise.all([1, 2, 3, 4].map(() => files.open('/a')));
    expect(opened.map(({ errno }) => errno)).toEqual([0, 0, 0, ERRNO.EMFILE]);
    files.close(opened[1]?.handle ?? 0);
    files.close(999);
    const again = await files.open('/a');
    expect(again.errno).toBe(0);
    expect(opened.map(({ handle }) => handle)).not.toContain(again.handle);
    const closed = await files.ask({ $case: 'read', value: { handle: opened[1]?.handle ?? 0, offset: 0n, length: 1 } });
    expect(closed.reply.errno).toBe(ERRNO.EBADF);
  });

  test('writes what comes in the order in which it comes', async () => {
    await using target = await startTarget();
    await using server = await startFsEnv();
    using files = await Files.open(server, { pid: target.pid });
    const { handle } = await files.open('/log', O_WRONLY | O_CREAT | O_APPEND, 0o640);
    const lines = Array.from({ length: 500 }, (_, index) => `line ${index} ${'.'.repeat(index)}\n`);
    const before = files.ask({ $case: 'stat', value: { of: { $case: 'handle', value: handle }, noFollow: false } });
    const written = await Promise.all(
      lines
        .slice(0, 200)
        .map((line) => files.ask({ $case: 'write', value: { handle, offset: 0n } }, Buffer.from(line))),
    );
    expect(written.every(({ reply }) => reply.errno === 0)).toBe(true);
    expect((await before).reply.result).toMatchObject({ value: { size: 0n } });
    expect(readFileSync(`${target.root}/log`, 'utf8')).toBe(lines.slice(0, 200).join(''));
    expect(statSync(`${target.root}/log`).mode & 0o7777).toBe(0o640);
  });

  test('lists 20,000 entries with their stats, each once', async () => {
    await using target = await startTarget();
    await mkdir(`${target.root}/many`);
    for (let start = 0; start < 20_000; start += 500) {
      await Promise.all(
        Array.from({ length: 500 }, (_, at) => writeFile(`${target.root}/many/entry-${start + at}`, '')),
      );
    }
    await using server = await startFsEnv();
    using files = await Files.open(server, { pid: target.pid });
    const { handle } = await files.open('/many', O_DIRECTORY);
    const names = new Set<string>();
    let pages = 0;
    for (let cookie = 0n, isLast = false; !isLast; pages += 1) {
      const { reply } = await files.ask({ $case: 'readDir', value: { handle, cookie, entries: 1_000 } });
      if (reply.result?.$case !== 'directory') throw new Error(`errno ${reply.errno}`);
      const page = reply.result.value;
      for (const entry of page.entries) {
        expect(entry.stat).toBeDefined();
        names.add(entry.name.toString());
      }
      cookie = page.next;
      isLast = page.isLast;
    }
    expect(names.size).toBe(20_002);
    expect(pages).toBeLessThanOrEqual(21);
  });

  test('answers bytes that are no request with an error and goes on', async () => {
    await using target = await startTarget({ files: { '/a': 'content' } });
    await using server = await startFsEnv();
    using files = await Files.open(server, { pid: target.pid });
    for (const garbage of [[0xff], [0x0a, 0x7f], [], [0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]]) {
      await expect(files.raw(Buffer.from(garbage))).rejects.toMatchObject({ code: 'PROTOCOL_VIOLATION' });
    }
    expect((await files.open('/a', 0, 0, 100)).data.toString()).toBe('content');
  });

  test('has the rights of the target and no more', async () => {
    await using target = await startTarget({ files: { '/secret': 'x', '/open': 'y' }, uid: 4711 });
    chmodSync(`${target.root}/secret`, 0o600);
    chmodSync(`${target.root}/tmp`, 0o1777);
    await using server = await startFsEnv();
    using files = await Files.open(server, { pid: target.pid });
    expect((await files.open('/secret')).errno).toBe(ERRNO.EACCES);
    expect((await files.open('/open', O_RDWR)).errno).toBe(ERRNO.EACCES);
    expect((await files.open('/open')).errno).toBe(0);
    expect((await files.open('/tmp/own', O_WRONLY | O_CREAT, 0o666)).errno).toBe(0);
    const own = statSync(`${target.root}/tmp/own`);
    expect([own.uid, own.gid, own.mode & 0o777]).toEqual([4711, 4711, 0o666]);
    chownSync(`${target.root}/secret`, 4711, 4711);
    expect((await files.open('/secret')).errno).toBe(0);
    const access = await files.ask({ $case: 'access', value: { path: Buffer.from('/open'), mode: 2, flags: 0 } });
    expect(access.reply.errno).toBe(ERRNO.EACCES);
    await using other = await startTarget({ files: { '/secret': 'x' } });
    chmodSync(`${other.root}/secret`, 0o600);
    using asRoot = await Files.open(server, { pid: other.pid });
    expect((await asRoot.open('/secret')).errno).toBe(0);
  });

  test('loses the rights that the target gives up', async () => {
    const become = 'exec setpriv --reuid 4711 --regid 4711 --clear-groups sleep 1000';
    await using target = await startTarget({
      files: { '/secret': 'x' },
      env: { PATH: '/usr/bin:/bin' },
      command: ['sh', '-c', `until [ -e /go ]; do sleep 0.02; done; ${become}`],
    });
    chmodSync(`${target.root}/secret`, 0o600);
    await using server = await startFsEnv();
    using files = await Files.open(server, { pid: target.pid });
    expect((await files.open('/secret')).errno).toBe(0);
    writeFileSync(`${target.root}/go`, '');
    await expect.poll(async () => (await files.open('/secret')).errno, { timeout: 10_000 }).toBe(ERRNO.EACCES);
  });
});
