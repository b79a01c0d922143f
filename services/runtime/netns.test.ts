import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, fstatSync, mkdirSync, mkdtempSync, openSync, rmSync, symlinkSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ERRNO } from '#proto/errno.ts';
import { type FdPoll, READABLE, watchFd } from '#proto/sockets/addon.ts';
import { assertNetworkNamespace, connectUnix, openPidfd, receivePacket, sendPacket, unixNames } from './netns.ts';

const EBADF = -ERRNO.EBADF;

let folder: string;
let rootFd: number;
let namespaceFd: number;
let server: net.Server;
let accepted: net.Socket[];

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'netns-'));
  mkdirSync(path.join(folder, 'root'));
  rootFd = openSync(path.join(folder, 'root'), constants.O_RDONLY | constants.O_DIRECTORY);
  namespaceFd = openSync('/proc/self/ns/net', 'r');
  accepted = [];
  server = net.createServer((socket) => {
    accepted.push(socket);
    socket.on('error', () => undefined);
    socket.write('x');
  });
  server.listen(path.join(folder, 'root/s'));
  await once(server, 'listening');
  symlinkSync('/s', path.join(folder, 'root/link'));
  symlinkSync('../../s', path.join(folder, 'root/climbing'));
  symlinkSync(path.join(folder, 'root/s'), path.join(folder, 'root/outside'));
});

afterAll(() => {
  for (const socket of accepted) socket.destroy();
  server.close();
  closeSync(rootFd);
  closeSync(namespaceFd);
  rmSync(folder, { recursive: true });
});

const dial = (name: string) => connectUnix(namespaceFd, 'stream', rootFd, Buffer.from(name));

describe('a unix socket in a root', () => {
  test.each(['/s', 's', '/link', '/climbing'])('is found at %s', (name) => {
    const fd = dial(name);
    expect(unixNames(fd)).toEqual({ local: Buffer.alloc(0), peer: Buffer.from(path.join(folder, 'root/s')) });
    closeSync(fd);
  });

  test.each([
    ['/outside', ERRNO.ENOENT],
    ['/nothing', ERRNO.ENOENT],
    ['/s\0x', ERRNO.EINVAL],
    ['', ERRNO.EINVAL],
    ['x'.repeat(109), ERRNO.EINVAL],
  ])('%j is errno %i and leaves no descriptor', (name, errno) => {
    const next = openSync('/dev/null', 'r');
    closeSync(next);
    expect(() => dial(name)).toThrow(expect.objectContaining({ code: 'CONNECTION_FAILED', errno }));
    const after = openSync('/dev/null', 'r');
    closeSync(after);
    expect(after).toBe(next);
  });
});

describe('a watch on a descriptor', () => {
  test('tells of bytes, may be closed in its own callback and twice, and closes the descriptor', async () => {
    const fd = dial('/s');
    const ready = await new Promise<number[]>((resolve) => {
      const poll: FdPoll = watchFd(fd, (status, events) => {
        poll.close();
        poll.close();
        resolve([status, events]);
      });
      poll.start(READABLE);
    });
    expect(ready).toEqual([0, READABLE]);
    expect(() => fstatSync(fd)).toThrow(/EBADF/);
  });

  test('is silent after its end', async () => {
    const poll = watchFd(dial('/s'), () => expect.unreachable());
    poll.close();
    poll.start(READABLE);
    await new Promise((resolve) => setImmediate(resolve));
  });

  test('is refused for what is no descriptor', () => {
    expect(() => watchFd(-1, () => undefined)).toThrow(expect.objectContaining({ errno: ERRNO.EBADF }));
  });

  test('of a process tells its end', async () => {
    const child = spawn('sleep', ['60'], { stdio: 'ignore' });
    await once(child, 'spawn');
    const ended = new Promise<void>((resolve) => {
      const poll: FdPoll = watchFd(openPidfd(child.pid as number), () => {
        poll.close();
        resolve();
      });
      poll.start(READABLE);
    });
    child.kill('SIGKILL');
    await ended;
  });
});

test.each([-1, 0, 1.5, 2 ** 30])('process %d cannot be watched', (pid) => {
  expect(() => openPidfd(pid)).toThrow(expect.objectContaining({ code: 'TARGET_GONE' }));
});

test('packets on a descriptor that is none are EBADF', () => {
  expect([receivePacket(-1, Buffer.alloc(1)), sendPacket(-1, Buffer.alloc(1))]).toEqual([EBADF, EBADF]);
});

test('our own namespace asks for no privilege, a descriptor that is none is refused', () => {
  assertNetworkNamespace(namespaceFd);
  expect(() => assertNetworkNamespace(rootFd)).toThrow(expect.objectContaining({ code: 'NOT_PERMITTED' }));
});

test('a watch that is ended by detaching gives its descriptor back once', () => {
  const fd = dial('/s');
  const poll = watchFd(fd, () => expect.unreachable());
  expect([poll.detach(), poll.detach()]).toEqual([fd, -1]);
  poll.close();
  expect(fstatSync(fd).isSocket()).toBe(true);
  closeSync(fd);
});
