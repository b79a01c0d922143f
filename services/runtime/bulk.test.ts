import { createHash } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { MOST_CREDIT_BYTES } from '#proto/credits.ts';
import { type Frame, makeFrame, NO_BYTES } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import type { SessionStream } from '#proto/session-stream.ts';
import type { BulkOrder } from '#proto/sockets/bulk-order.ts';
import { BULK_READ_BYTES, ReadRoom } from '#proto/sockets/read-buffers.ts';
import { socketPool } from '#proto/sockets/socket-pool.ts';
import { ownDescriptor, StreamSocket } from '#proto/sockets/stream-socket.ts';
import { openRenewable, type RenewableSession } from './testing/renewable-session.ts';

// What takes a moment may take many on a busy machine; each test waits for an event and not for time.
vi.setConfig({ testTimeout: 60_000 });

const DATA = FrameKind.FRAME_KIND_DATA;
const MIB = 2 ** 20;
const BULK_ID = 5;

const closing: (() => void)[] = [];

afterEach(() => {
  for (const close of closing.splice(0).reverse()) close();
});

class Receiver {
  readonly hash = createHash('sha256');
  bytes = 0;
  small: number[] = [];
  onBytes: (bytes: number) => void = () => undefined;
  /** Of what comes, until it resolves. */
  gate: Promise<void> | undefined;

  onFrame(frame: Frame): void | Promise<void> {
    if (frame.id !== BULK_ID) this.small.push(Buffer.from(frame.data).readUInt32LE());
    else {
      this.hash.update(frame.data);
      this.bytes += frame.data.length;
      this.onBytes(this.bytes);
    }
    return this.gate;
  }
}

async function openSession(receiver: Receiver): Promise<RenewableSession> {
  const session = await openRenewable((frame) => receiver.onFrame(frame), closing);
  session.stream.send(makeFrame(1, DATA, NO_BYTES, Buffer.alloc(4)));
  return session;
}

/** A connection whose bytes go into the session as a flow of the client's has it; `writer` is its other end. */
async function openSource(stream: SessionStream) {
  const server = net.createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const writer = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
  const [held] = (await once(server, 'connection')) as [net.Socket];
  server.close();
  writer.on('error', () => undefined);
  const { fd } = Object((held as net.Socket & { _handle?: unknown })._handle) as { fd: number };
  const own = socketPool().native.share(fd);
  held.destroy();
  const room = new ReadRoom(BULK_READ_BYTES);
  const seen = { carried: 0, waits: 0, ends: 0, errno: 0 };
  let onEnd: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => {
    onEnd = resolve;
  });
  const socket: StreamSocket = new StreamSocket(ownDescriptor(own), {
    room: () => room.take(),
    carry: (order: BulkOrder) => {
      if (!room.isBulk) return false;
      order.connection = BULK_ID;
      order.onRoom = () => socket.resume();
      if (!stream.carry(order)) return false;
      if (order.isWaiting) {
        seen.waits += 1;
        socket.pause();
      }
      seen.carried += order.frames;
      if (order.frames > 0) room.passed(order.bytesOf(order.frames - 1));
      return true;
    },
    onBytes: (count) => {
      const { data, release } = room.took(count);
      const frame = makeFrame(BULK_ID, DATA, NO_BYTES, data);
      if (release !== undefined) frame.release = release;
      stream.send(frame);
    },
    onReadEnd: () => {
      seen.ends += 1;
      onEnd();
    },
    onTaken: () => undefined,
    onFailed: ({ errno }) => {
      seen.errno = errno;
      onEnd();
    },
  });
  closing.push(() => {
    writer.destroy();
    socket.close();
  });
  socket.resume();
  return { writer, seen, ended };
}

/** Pieces whose bytes tell where they are. Returns the digest of all. */
async function bring(writer: net.Socket, bytes: number): Promise<string> {
  const hash = createHash('sha256');
  for (let at = 0; at < bytes; at += MIB) {
    const piece = Buffer.alloc(Math.min(MIB, bytes - at), `piece ${at} `);
    hash.update(piece);
    if (!writer.write(piece)) await once(writer, 'drain');
  }
  writer.end();
  return hash.digest('hex');
}

const arrived = (receiver: Receiver, bytes: number) =>
  receiver.bytes >= bytes
    ? Promise.resolve()
    : new Promise<void>((resolve) => {
        receiver.onBytes = (all) => {
          if (all >= bytes) resolve();
        };
      });

test('bulk is carried past the queue and arrives whole, and what others say beside it in its order', async () => {
  const receiver = new Receiver();
  const { stream } = await openSession(receiver);
  const { writer, seen, ended } = await openSource(stream);
  const bytes = 24 * MIB + 12_345;
  let said = 0;
  const beside = setInterval(() => {
    const data = Buffer.alloc(4);
    said += 1;
    data.writeUInt32LE(said);
    stream.send(makeFrame(7, DATA, NO_BYTES, data));
  }, 1);
  const digest = await bring(writer, bytes);
  await Promise.all([ended, arrived(receiver, bytes)]);
  clearInterval(beside);
  expect(receiver.hash.digest('hex')).toBe(digest);
  expect(receiver.bytes).toBe(bytes);
  await expect
    .poll(() => receiver.small, { timeout: 50_000 })
    .toEqual([0, ...Array.from({ length: said }, (_, at) => at + 1)]);
  expect(seen).toMatchObject({ ends: 1, errno: 0 });
  expect(seen.carried).toBeGreaterThan(20);
});

test('what was carried is sent again when the connections break under it, and nothing is lost', async () => {
  const receiver = new Receiver();
  const session = await openSession(receiver);
  const { writer, seen, ended } = await openSource(session.stream);
  const bytes = 24 * MIB;
  let next = 5 * MIB;
  let onAll: () => void = () => undefined;
  const all = new Promise<void>((resolve) => {
    onAll = resolve;
  });
  receiver.onBytes = (came) => {
    if (came >= bytes) onAll();
    if (came < next) return;
    next += 5 * MIB;
    session.cut();
  };
  const digest = await bring(writer, bytes);
  await Promise.all([ended, all]);
  expect(receiver.hash.digest('hex')).toBe(digest);
  expect(receiver.bytes).toBe(bytes);
  expect(session.renewed).toBeGreaterThan(1);
  expect(seen.carried).toBeGreaterThan(10);
});

test('a reader that takes nothing stops who brings within the credit, and it goes on when it does', async () => {
  const receiver = new Receiver();
  const { stream } = await openSession(receiver);
  const { writer, seen, ended } = await openSource(stream);
  const bytes = 40 * MIB;
  let open: () => void = () => undefined;
  const bringing = bring(writer, bytes);
  await arrived(receiver, 4 * MIB);
  receiver.gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const from = receiver.bytes;
  const waits = seen.waits;
  await expect.poll(() => seen.waits, { timeout: 50_000 }).toBeGreaterThan(waits);
  expect(receiver.bytes - from).toBeLessThanOrEqual(MOST_CREDIT_BYTES);
  expect(stream.bufferedBytes).toBeLessThanOrEqual(2 * BULK_READ_BYTES);
  receiver.gate = undefined;
  open();
  const digest = await bringing;
  await Promise.all([ended, arrived(receiver, bytes)]);
  expect(receiver.hash.digest('hex')).toBe(digest);
});

test('a reset of who brings is told once, and the session goes on', async () => {
  const receiver = new Receiver();
  const { stream } = await openSession(receiver);
  const { writer, seen, ended } = await openSource(stream);
  const bringing = bring(writer, 400 * MIB).catch(() => undefined);
  await arrived(receiver, 6 * MIB);
  writer.resetAndDestroy();
  await ended;
  expect(seen).toMatchObject({ ends: 0, errno: 104 });
  const data = Buffer.alloc(4);
  data.writeUInt32LE(77);
  stream.send(makeFrame(7, DATA, NO_BYTES, data));
  await expect.poll(() => receiver.small.at(-1), { timeout: 50_000 }).toBe(77);
  await Promise.race([bringing, ended]);
});

test('a session that ends under it leaves nobody waiting', async () => {
  const receiver = new Receiver();
  const { stream } = await openSession(receiver);
  const { writer } = await openSource(stream);
  const closed = once(writer, 'close');
  void bring(writer, 400 * MIB).catch(() => undefined);
  await arrived(receiver, 6 * MIB);
  stream.destroy();
  writer.destroy();
  await closed;
  expect(stream.isClosed).toBe(true);
});
