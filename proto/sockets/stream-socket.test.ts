import { once } from 'node:events';
import net from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import type { AppError } from '../errors.ts';
import { BLOCK_BYTES, Lease, ReceiveBlock } from '../receive-blocks.ts';
import { BULK_READ_BYTES, giveReadBuffer, ReadRoom, takeReadBuffer } from './read-buffers.ts';
import { StreamSocket } from './stream-socket.ts';

// Megabytes through a machine where much else runs.
vi.setConfig({ testTimeout: 20_000 });

const open: { destroy(): void }[] = [];

afterEach(() => {
  for (const one of open.splice(0)) one.destroy();
});

/** Both ends of a connection over loopback: ours by its descriptor, the peer's as Node has it. */
async function connection() {
  const server = net.createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const held = net.connect({ port: (server.address() as net.AddressInfo).port, allowHalfOpen: true });
  held.pause();
  const [[peer]] = (await Promise.all([once(server, 'connection'), once(held, 'connect')])) as [[net.Socket], unknown];
  server.close();
  peer.on('error', () => undefined);
  open.push(peer, held);
  const { fd } = Object((held as net.Socket & { _handle?: unknown })._handle) as { fd: number };
  const said = { bytes: '', taken: 0, ends: 0, failures: [] as number[] };
  let wake: () => void = () => undefined;
  const room = Buffer.alloc(4_096);
  const told = () => wake();
  const socket = new StreamSocket(
    { fd, close: (isReset) => (isReset ? held.resetAndDestroy() : held.destroy()) },
    {
      room: () => room,
      onBytes: (count) => {
        said.bytes += room.toString('latin1', 0, count);
        told();
      },
      onReadEnd: () => {
        said.ends += 1;
        told();
      },
      onTaken: (bytes) => {
        said.taken += bytes;
        told();
      },
      onFailed: ({ errno }: AppError) => {
        said.failures.push(errno);
        told();
      },
    },
  );
  const until = async (holds: () => boolean) => {
    while (!holds()) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  return { socket, peer, said, until };
}

test('what is read comes when it is asked for, and pieces go out in order', async () => {
  const { socket, peer, said, until } = await connection();
  peer.write('before it is read');
  expect(socket.write([Buffer.from('one '), Buffer.from('two')])).toBe(7);
  const [heard] = (await once(peer, 'data')) as [Buffer];
  expect(heard.toString()).toBe('one two');
  expect(said.bytes).toBe('');
  socket.resume();
  await until(() => said.bytes === 'before it is read');
  socket.close();
});

test('what the kernel does not take waits, is told when it is taken, and an end comes after it', async () => {
  const { socket, peer, said, until } = await connection();
  const pieces = Array.from({ length: 200 }, (_, at) => Buffer.alloc(64 * 1024, at));
  const all = Buffer.concat(pieces);
  peer.pause();
  const taken = socket.write(pieces, true);
  for (const piece of pieces) piece.fill(255);
  expect(taken).toBeLessThan(all.length);
  expect(socket.waitingBytes).toBe(all.length - taken);
  socket.end();
  expect(socket.write([Buffer.from('too late')])).toBe(0);
  const heard: Buffer[] = [];
  peer.on('data', (chunk) => heard.push(chunk));
  peer.resume();
  await once(peer, 'end');
  await until(() => said.taken === all.length - taken);
  expect(Buffer.concat(heard).equals(all)).toBe(true);
  expect([socket.waitingBytes, said.failures]).toEqual([0, []]);
  socket.close();
});

test('what waits of memory that is leased stays there until it is taken, or nobody will take it', async () => {
  const { socket, peer, until, said } = await connection();
  peer.pause();
  const blocks = Array.from({ length: 24 }, () => ReceiveBlock.take());
  let taken = 0;
  for (const [at, block] of blocks.entries()) {
    const lease = new Lease();
    lease.add(block);
    taken += socket.write([block.bytes.fill(at)], true, lease);
    lease.end();
  }
  const heldAtMost = blocks.filter((block) => block.isHeld).length;
  expect(heldAtMost).toBeGreaterThan(0);
  expect(heldAtMost).toBeLessThanOrEqual(8);
  // Of the others a copy waits.
  for (const [at, block] of blocks.entries()) if (!block.isHeld) block.bytes.fill(255 - at);
  const all = blocks.length * BLOCK_BYTES;
  const counts = new Array<number>(256).fill(0);
  peer.on('data', (chunk: Buffer) => {
    for (const byte of chunk) (counts[byte] as number)++;
  });
  peer.resume();
  await until(() => said.taken === all - taken);
  expect(blocks.some((block) => block.isHeld)).toBe(false);
  socket.end();
  await once(peer, 'end');
  expect(counts.slice(0, blocks.length)).toEqual(blocks.map(() => BLOCK_BYTES));
  socket.close();
});

test('a hold ends with the socket', async () => {
  const { socket, peer } = await connection();
  peer.pause();
  const block = ReceiveBlock.take();
  const lease = new Lease();
  lease.add(block);
  while (socket.waitingBytes === 0) socket.write([block.bytes], true, lease);
  socket.write([block.bytes], true, lease);
  lease.end();
  expect(block.isHeld).toBe(true);
  socket.close();
  expect(block.isHeld).toBe(false);
});

test('the peer’s end is told once, and our direction goes on', async () => {
  const { socket, peer, said, until } = await connection();
  peer.end('last');
  socket.resume();
  await until(() => said.ends === 1);
  expect(said.bytes).toBe('last');
  socket.pause();
  socket.resume();
  socket.write([Buffer.from('answer')]);
  socket.end();
  const [heard] = (await once(peer, 'data')) as [Buffer];
  expect([heard.toString(), said.ends]).toEqual(['answer', 1]);
  socket.close();
});

test('a reset is told after what came before it, and closes', async () => {
  const { socket, peer, said, until } = await connection();
  peer.write('kept', () => peer.resetAndDestroy());
  await once(peer, 'close');
  socket.resume();
  await until(() => said.failures.length > 0);
  expect([said.bytes, said.failures, socket.isClosed]).toEqual(['kept', [104], true]);
});

test('a failure of a write is told in a later turn', async () => {
  const { socket, peer, said, until } = await connection();
  peer.resetAndDestroy();
  await once(peer, 'close');
  while (said.failures.length === 0 && !socket.isClosed) {
    socket.write([Buffer.from('x')]);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await until(() => said.failures.length === 1);
  expect([32, 104]).toContain(said.failures[0]);
});

test('our reset reaches the peer', async () => {
  const { socket, peer } = await connection();
  const failed = once(peer, 'error');
  peer.resume();
  socket.reset();
  expect(((await failed) as [NodeJS.ErrnoException])[0].code).toBe('ECONNRESET');
});

test('who fills the room gets one of its own, which is used again when it is given back', () => {
  const room = new ReadRoom(BULK_READ_BYTES);
  room.take().fill(1);
  const first = room.took(BULK_READ_BYTES);
  expect([first.data.length, first.release]).toEqual([BULK_READ_BYTES, undefined]);
  const own = room.take();
  own.fill(2);
  const bulk = room.took(BULK_READ_BYTES - 1);
  expect(bulk.data.buffer).toBe(own.buffer);
  const next = room.take();
  expect(next.buffer).not.toBe(own.buffer);
  bulk.release?.();
  room.take().fill(3);
  const little = room.took(10);
  expect([[...little.data], little.release, bulk.data[0] !== 3]).toEqual([Array(10).fill(3), undefined, true]);
  const again = [takeReadBuffer(), takeReadBuffer()];
  expect(again.some(({ buffer }) => buffer === own.buffer)).toBe(true);
  for (const buffer of again) giveReadBuffer(buffer);
  room.close();
});
