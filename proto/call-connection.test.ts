import { once } from 'node:events';
import http2 from 'node:http2';
import net from 'node:net';
import { Duplex } from 'node:stream';
import { afterEach, expect, test, vi } from 'vitest';
import { CallConnection } from './call-connection.ts';
import { MessageWriter } from './grpc-message.ts';
import { grownWindowBytes, http2Settings, windowBytes } from './grpc-tuning.ts';
import {
  FRAME_HEAD_BYTES,
  frameHead,
  HTTP2_DATA,
  HTTP2_HEADERS,
  HTTP2_SETTINGS,
  HTTP2_WINDOW_UPDATE,
  readFrameHead,
} from './http2-frames.ts';

// Megabytes through a machine where much else runs.
vi.setConfig({ testTimeout: 20_000 });

const ADDRESS = '127.0.0.1:0';
const open: (() => void)[] = [];

afterEach(() => {
  for (const close of open.splice(0)) close();
});

/** A server of node's own HTTP/2, which echoes each call, and our end of a connection to it. */
async function callTo(settings: http2.Settings, wrap: (socket: net.Socket) => Duplex = (socket) => socket) {
  const server = http2.createServer({ settings });
  server.on('stream', (stream) => {
    stream.on('error', () => undefined);
    stream.respond({ ':status': 200 }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'the-end': 'yes' }));
    stream.pipe(stream);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = net.connect({ port: (server.address() as net.AddressInfo).port }).pause();
  const connection = new CallConnection(wrap(socket), ADDRESS, 'client');
  const session = http2.connect('http://localhost', {
    createConnection: () => connection.duplex,
    settings: http2Settings(ADDRESS),
  });
  session.on('error', () => undefined);
  session.once('connect', () => session.setLocalWindowSize(windowBytes(ADDRESS)));
  const stream = session.request({ ':method': 'POST' }, { endStream: false });
  stream.on('error', () => undefined);
  stream.resume();
  open.push(() => {
    session.destroy();
    server.close();
  });
  const writer = new MessageWriter(connection, stream, 1, () => undefined);
  return { connection, session, stream, writer };
}

/** TLS and WebSockets are streams whose bytes we do not have by descriptor. */
function asStream(socket: net.Socket): Duplex {
  socket.resume();
  return Duplex.from({ readable: socket, writable: socket });
}

test.each([
  ['by descriptor, to a peer of small frames', (socket: net.Socket) => socket, { maxFrameSize: 16_384 }, 300_000],
  ['by descriptor, to a peer of a small window', (socket: net.Socket) => socket, { initialWindowSize: 1_000 }, 2_000],
  ['through a stream', asStream, {}, 300_000],
])('what is written comes back whole from node’s own HTTP/2: %s', async (_, wrap, settings, length) => {
  const { connection, stream, writer } = await callTo(settings, wrap);
  const message = Buffer.from(Array.from({ length }, (_, at) => at % 253));
  for (let count = 0; count < 6; count++) {
    writer.writeMessage({
      pieces: [message.subarray(0, 100), message.subarray(100)],
      bytes: message.length,
      releases: [],
    });
  }
  const trailers = once(stream, 'trailers');
  const got: Buffer[] = [];
  connection.claim(1, (payload) => got.push(Buffer.from(payload)) > 0);
  writer.end(() => stream.end());
  const [{ 'the-end': end }] = (await trailers) as [http2.IncomingHttpHeaders];
  expect(end).toBe('yes');
  expect(Buffer.concat(got).equals(Buffer.concat(Array(6).fill(message)))).toBe(true);
});

test('what nobody has claimed yet waits for who does', async () => {
  const { connection, stream, writer } = await callTo({});
  writer.writeMessage({ pieces: [Buffer.from('early')], bytes: 5, releases: [] });
  await once(stream, 'response');
  const got = await new Promise((resolve) => {
    connection.claim(1, (payload) => {
      resolve(payload.toString());
      return true;
    });
  });
  expect(got).toBe('early');
});

test('a peer that sends more than it was granted is cut off, and one that keeps to it is not', async () => {
  const ends: Promise<unknown>[] = [];
  const server = net.createServer({ pauseOnConnect: true }, (socket) => {
    const connection = new CallConnection(socket, ADDRESS, 'server');
    const session = http2.performServerHandshake(connection.duplex, { settings: http2Settings(ADDRESS) });
    session.on('error', () => undefined);
    session.on('stream', (stream: http2.ServerHttp2Stream) => stream.on('error', () => undefined));
    ends.push(new Promise((resolve) => session.once('close', resolve)));
    open.push(() => session.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  open.push(() => server.close());
  const socket = net.connect({ port: (server.address() as net.AddressInfo).port });
  socket.on('error', () => undefined).resume();
  open.push(() => socket.destroy());
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  socket.write(frameHead(0, HTTP2_SETTINGS, 0, 0));
  // GET, http and / of the static table, and an authority of one letter (RFC 7541, appendix A).
  const head = Buffer.from([0x82, 0x86, 0x84, 0x41, 1, 0x61]);
  socket.write(Buffer.concat([frameHead(head.length, HTTP2_HEADERS, 4, 1), head]));
  const frame = Buffer.concat([frameHead(16_384, HTTP2_DATA, 0, 1), Buffer.alloc(16_384)]);
  let hasClosed = false;
  const closed = once(socket, 'close').then(() => {
    hasClosed = true;
  });
  const within = Math.floor(windowBytes(ADDRESS) / 16_384);
  for (let count = 0; count < within; count++) await new Promise((written) => socket.write(frame, written));
  expect(hasClosed).toBe(false);
  for (let count = 0; count < 8; count++) socket.write(frame);
  await closed;
  await Promise.all(ends);
});

test('a call that is known has more than it began with once it has brought as much, and no more before', async () => {
  const [near, far] = await connected();
  const connection = new CallConnection(far, ADDRESS, 'server');
  const session = http2.performServerHandshake(connection.duplex, { settings: http2Settings(ADDRESS) });
  session.on('error', () => undefined);
  open.push(() => session.destroy());
  session.on('stream', (stream: http2.ServerHttp2Stream) => {
    stream.on('error', () => undefined);
    connection.claim(1, () => true);
  });
  const granted = grantsOf(near, 1);
  near.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  near.write(frameHead(0, HTTP2_SETTINGS, 0, 0));
  const head = Buffer.from([0x82, 0x86, 0x84, 0x41, 1, 0x61]);
  near.write(Buffer.concat([frameHead(head.length, HTTP2_HEADERS, 4, 1), head]));
  const frame = Buffer.concat([frameHead(16_384, HTTP2_DATA, 0, 1), Buffer.alloc(16_384)]);
  let sent = 0;
  for (; sent < windowBytes(ADDRESS) - 16_384; sent += 16_384) near.write(frame);
  await vi.waitFor(() => expect(granted()).toBeGreaterThan(windowBytes(ADDRESS) / 2), { timeout: 10_000 });
  expect(granted()).toBeLessThanOrEqual(sent);
  for (; sent < 2 * windowBytes(ADDRESS); sent += 16_384) near.write(frame);
  const extra = grownWindowBytes(ADDRESS) - windowBytes(ADDRESS);
  await vi.waitFor(() => expect(granted()).toBeGreaterThan(extra), { timeout: 10_000 });
  expect(granted()).toBeLessThanOrEqual(sent + extra);
});

/** Two ends; what comes at the first is read by `grantsOf`. */
async function connected(): Promise<[net.Socket, net.Socket]> {
  const server = net.createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const near = net.connect({ port: (server.address() as net.AddressInfo).port });
  const [far] = (await once(server, 'connection')) as [net.Socket];
  near.on('error', () => undefined);
  open.push(
    () => near.destroy(),
    () => server.close(),
  );
  return [near, far];
}

/** Sum of what a call was granted by updates of its window. */
function grantsOf(socket: net.Socket, call: number): () => number {
  let bytes = Buffer.alloc(0);
  let sum = 0;
  socket.on('data', (chunk: Buffer) => {
    bytes = Buffer.concat([bytes, chunk]);
    while (bytes.length >= FRAME_HEAD_BYTES) {
      const { type, id, length } = readFrameHead(bytes, 0);
      if (bytes.length < FRAME_HEAD_BYTES + length) return;
      if (type === HTTP2_WINDOW_UPDATE && id === call) sum += bytes.readUInt32BE(FRAME_HEAD_BYTES);
      bytes = bytes.subarray(FRAME_HEAD_BYTES + length);
    }
  });
  return () => sum;
}
