import { once } from 'node:events';
import net from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { EarlyDoor } from './early-door.ts';
import type { Listening } from './listen.ts';

const open: { destroy(): void }[] = [];
const listening: Listening[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.destroy();
  for (const one of listening.splice(0)) one.close();
});

async function doorAt(): Promise<{ door: EarlyDoor; port: number }> {
  const door = await EarlyDoor.open('127.0.0.1:0');
  return { door, port: Number(door.address.split(':')[1]) };
}

async function knock(port: number, words: string): Promise<net.Socket> {
  const socket = net.connect(port, '127.0.0.1');
  open.push(socket);
  await once(socket, 'connect');
  socket.write(words);
  return socket;
}

/** Answers each with its own words. */
function echo(socket: net.Socket): void {
  open.push(socket);
  socket.pipe(socket);
}

test('who comes before anybody serves is served then, with what was said meanwhile; who comes later, at once', async () => {
  const { door, port } = await doorAt();
  const early = [await knock(port, 'one'), await knock(port, 'two')];
  listening.push(door.serve(echo));
  const late = await knock(port, 'three');
  const answers = await Promise.all([...early, late].map((socket) => once(socket, 'data')));
  expect(answers.map(([bytes]) => String(bytes))).toEqual(['one', 'two', 'three']);
});

test('who has gone away again is not served', async () => {
  const { door, port } = await doorAt();
  const gone = await knock(port, 'gone');
  gone.resetAndDestroy();
  const stays = await knock(port, 'stays');
  const served: string[] = [];
  listening.push(
    door.serve((socket) => {
      open.push(socket);
      socket.on('error', () => {});
      socket.on('data', (bytes: Buffer) => {
        served.push(bytes.toString());
        socket.end('bye');
      });
      // Sockets come paused.
      socket.resume();
    }),
  );
  await once(stays, 'data');
  expect(served.at(-1)).toBe('stays');
});

test('a door that is closed before anybody served sends away who waits, and those who come', async () => {
  const { door, port } = await doorAt();
  const waiting = await knock(port, 'x');
  const over = new Promise((resolve) => waiting.once('close', resolve));
  waiting.resume().on('error', () => {});
  door.close();
  await over;
  const [error] = await once(net.connect(port, '127.0.0.1'), 'error');
  expect(error).toMatchObject({ code: 'ECONNREFUSED' });
});
