import { closeSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { stealerAddon } from '../native/index.ts';
import { SocketPool } from './socket-pool.ts';

let cleanups: Array<() => void> = [];
afterEach(() => {
  for (const cleanup of cleanups.reverse()) cleanup();
  cleanups = [];
});

/** Connected in the kernel; nobody has accepted it. */
async function connected(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1' });
  cleanups.push(() => socket.destroy());
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  return socket;
}

test('what came in with the connection at which its door is closed is nobody’s, and ended', async () => {
  const pool = new SocketPool();
  const listenerFd = stealerAddon().listen(-1, 16);
  cleanups.push(() => closeSync(listenerFd));
  const { port } = stealerAddon().localOf(listenerFd);
  const clients = [await connected(port), await connected(port)];
  const ended = Promise.any(
    clients.map((client) => new Promise((resolve) => client.on('error', () => undefined).once('close', resolve))),
  );
  const strange: number[] = [];
  // Both wait by now: they come in one turn.
  const door = pool.openDoor({
    listenerFd,
    namespaceFd: -1,
    redirect: null,
    isTranslated: false,
    onStrange: (fd) => {
      strange.push(fd);
      cleanups.push(() => closeSync(fd));
      door.close();
    },
    onArrival: () => undefined,
  });
  cleanups.push(() => door.close());
  await ended;
  expect(strange).toHaveLength(1);
});
