import { createHash } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { type Frame, makeFrame, NO_BYTES } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import type { SessionStream } from '#proto/session-stream.ts';
import type { BulkDelivery, BulkTaker } from '#proto/sockets/bulk-delivery.ts';
import { socketPool } from '#proto/sockets/socket-pool.ts';
import { ownDescriptor, StreamSocket } from '#proto/sockets/stream-socket.ts';
import { openRenewable, type RenewableSession } from './testing/renewable-session.ts';

// What takes a moment may take many on a busy machine; each test waits for an event and not for time.
vi.setConfig({ testTimeout: 60_000 });

const DATA = FrameKind.FRAME_KIND_DATA;
const KIB = 1024;
const MIB = 1024 * KIB;

const closing: (() => void)[] = [];

afterEach(() => {
  for (const close of closing.splice(0).reverse()) close();
});

/** A connection that bulk is delivered to, as the agent's and the client's have it; `reader` is its other end. */
class Sink implements BulkTaker {
  readonly id: number;
  readonly reader: net.Socket;
  readonly seen = { delivered: 0, handed: 0, rests: 0, errno: 0 };
  readonly #socket: StreamSocket;
  readonly #hash = createHash('sha256');
  bytes = 0;
  readonly #waiters = new Set<() => void>();

  private constructor(id: number, fd: number, reader: net.Socket) {
    this.id = id;
    this.reader = reader;
    reader.on('error', () => undefined);
    reader.on('data', (data) => {
      this.#hash.update(data);
      this.bytes += data.length;
      this.#wake();
    });
    const nothing = () => undefined;
    const onFailed = ({ errno }: { errno: number }) => {
      this.seen.errno = errno;
      this.#wake();
    };
    const handlers = { room: () => Buffer.alloc(64), onBytes: nothing, onReadEnd: nothing, onTaken: nothing, onFailed };
    this.#socket = new StreamSocket(ownDescriptor(fd), handlers);
    this.#socket.resume();
    closing.push(() => {
      reader.destroy();
      this.#socket.close();
    });
  }

  static async open(id: number): Promise<Sink> {
    const server = net.createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const reader = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
    const [held] = (await once(server, 'connection')) as [net.Socket];
    server.close();
    const { fd } = Object((held as net.Socket & { _handle?: unknown })._handle) as { fd: number };
    const own = socketPool().native.share(fd);
    held.destroy();
    return new Sink(id, own, reader);
  }

  onFrame(frame: Frame): void {
    this.seen.handed += 1;
    frame.isUsedUp = true;
    this.#socket.write([frame.data], true, frame.lease);
    frame.taker = this;
  }

  offer(delivery: BulkDelivery): boolean {
    delivery.connection = this.id;
    return this.#socket.offer(delivery);
  }

  delivered(delivery: BulkDelivery): void {
    this.seen.delivered += delivery.frames;
    if (delivery.rest !== null) this.seen.rests += 1;
    this.#socket.delivered(delivery);
  }

  digest(): string {
    return this.#hash.digest('hex');
  }

  /** All of them, or it has failed. */
  has(bytes: number): Promise<void> {
    return new Promise((resolve) => {
      const look = () => {
        if (this.bytes < bytes && this.seen.errno === 0) return;
        this.#waiters.delete(look);
        resolve();
      };
      this.#waiters.add(look);
      look();
    });
  }

  #wake(): void {
    for (const look of this.#waiters) look();
  }
}

function openSession(sinks: readonly Sink[], onOther: (frame: Frame) => void): Promise<RenewableSession> {
  const receiverOf = (frame: Frame) => sinks.find(({ id }) => id === frame.id) ?? { onFrame: onOther };
  return openRenewable((frame) => receiverOf(frame).onFrame(frame), closing);
}

/** Frames of the sizes, whose bytes tell where they are, of which so much is on its way at a time. Returns the digest of all. */
async function bring(stream: SessionStream, sink: Sink, sizes: Iterable<number>, most = MIB): Promise<string> {
  const hash = createHash('sha256');
  let at = 0;
  for (const size of sizes) {
    const data = Buffer.alloc(size, `frame of ${sink.id} at ${at} `);
    at += size;
    hash.update(data);
    stream.send(makeFrame(sink.id, DATA, NO_BYTES, data));
    await sink.has(at - most);
  }
  return hash.digest('hex');
}

function* sizesOf(bytes: number, next: () => number): Generator<number> {
  for (let left = bytes; left > 0; ) {
    const size = Math.min(left, next());
    left -= size;
    yield size;
  }
}

/** Numbers below 1, the same in each run. */
function chance(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

test('bulk is delivered without being handed on, and arrives whole', async () => {
  const sink = await Sink.open(5);
  const { stream } = await openSession([sink], () => undefined);
  const bytes = 24 * MIB + 12_345;
  const digest = await bring(
    stream,
    sink,
    sizesOf(bytes, () => 256 * KIB),
  );
  await sink.has(bytes);
  expect(sink.digest()).toBe(digest);
  expect(sink.bytes).toBe(bytes);
  expect(sink.seen.delivered).toBeGreaterThan(sink.seen.handed);
});

test('bulk of several connections, of any sizes, and what is said between keep their bytes and their order', async () => {
  const sinks = await Promise.all([5, 7, 9].map((id) => Sink.open(id)));
  const said: number[] = [];
  const { stream } = await openSession(sinks, ({ data }) => void said.push(Buffer.from(data).readUInt32LE()));
  const random = chance(3);
  const any = () =>
    [1 + random() * 300, random() * 5_000 + 1, 64 * KIB, 1 + random() * 256 * KIB][Math.floor(random() * 4)];
  let count = 0;
  const beside = setInterval(() => {
    const data = Buffer.alloc(4);
    data.writeUInt32LE(count);
    count += 1;
    stream.send(makeFrame(11, DATA, NO_BYTES, data));
  }, 1);
  const bytes = 10 * MIB;
  const digests = await Promise.all(
    sinks.map((one) =>
      bring(
        stream,
        one,
        sizesOf(bytes, () => Math.floor(any() ?? 1)),
      ),
    ),
  );
  await Promise.all(sinks.map((sink) => sink.has(bytes)));
  clearInterval(beside);
  expect(sinks.map((sink) => sink.digest())).toEqual(digests);
  await expect.poll(() => said, { timeout: 50_000 }).toEqual(Array.from({ length: count }, (_, at) => at));
  expect(Math.min(...sinks.map(({ seen }) => seen.delivered))).toBeGreaterThan(0);
});

test('a reader that stops loses nothing, and others are served meanwhile', async () => {
  const [slow, other] = await Promise.all([Sink.open(5), Sink.open(7)]);
  const { stream } = await openSession([slow, other], () => undefined);
  slow.reader.pause();
  const bytes = 12 * MIB;
  const bringing = bring(
    stream,
    slow,
    sizesOf(bytes, () => 200 * KIB),
    bytes,
  );
  const digest = await bring(
    stream,
    other,
    sizesOf(bytes, () => 150 * KIB),
  );
  await other.has(bytes);
  expect(other.digest()).toBe(digest);
  slow.reader.resume();
  await slow.has(bytes);
  expect(slow.digest()).toBe(await bringing);
  expect(slow.seen.rests).toBeGreaterThan(0);
});

test('what was delivered is not delivered again when the connections break under it', async () => {
  const sink = await Sink.open(5);
  const session = await openSession([sink], () => undefined);
  const bytes = 30 * MIB;
  let next = 5 * MIB;
  sink.reader.on('data', () => {
    if (sink.bytes < next) return;
    next += 5 * MIB;
    session.cut();
  });
  const digest = await bring(
    session.stream,
    sink,
    sizesOf(bytes, () => 256 * KIB),
  );
  await sink.has(bytes);
  expect(sink.digest()).toBe(digest);
  expect(sink.bytes).toBe(bytes);
  expect(session.renewed).toBeGreaterThan(1);
  expect(sink.seen.delivered).toBeGreaterThan(10);
});

test('a reader that is gone is told once, and the session goes on', async () => {
  const [gone, other] = await Promise.all([Sink.open(5), Sink.open(7)]);
  const { stream, ended } = await openSession([gone, other], () => undefined);
  const bringing = bring(
    stream,
    gone,
    sizesOf(20 * MIB, () => 256 * KIB),
  );
  await gone.has(4 * MIB);
  gone.reader.resetAndDestroy();
  await bringing;
  const digest = await bring(
    stream,
    other,
    sizesOf(4 * MIB, () => 256 * KIB),
  );
  await other.has(4 * MIB);
  expect(other.digest()).toBe(digest);
  expect([32, 104]).toContain(gone.seen.errno);
  expect(ended).toEqual({});
});
