import { once } from 'node:events';
import net from 'node:net';
import { constants, inflateSync } from 'node:zlib';
import { afterEach, expect, test } from 'vitest';
import { HeldSocket } from '../testing/held-socket.ts';
import { SpdyForward } from './spdy-forward.ts';

const open: { destroy(): void }[] = [];
const servers: net.Server[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.destroy();
  for (const server of servers.splice(0)) server.close();
});

const PORT = 27_401;
const [ERROR, DATA] = [1, 3];
const FIN = 1;

/** A connection, and the API server's end of its socket. */
async function connected(): Promise<{ connection: SpdyForward; server: net.Socket }> {
  const listener = net.createServer().listen(0, '127.0.0.1');
  servers.push(listener);
  await once(listener, 'listening');
  const accepted = once(listener, 'connection');
  const socket = net.connect((listener.address() as net.AddressInfo).port, '127.0.0.1');
  const [server] = (await accepted) as [net.Socket];
  const connection = new SpdyForward(socket, Buffer.alloc(0), PORT);
  open.push(connection, server);
  return { connection, server };
}

function data(stream: number, bytes: Buffer | string, flags = 0): Buffer {
  const payload = Buffer.from(bytes);
  const head = Buffer.alloc(8);
  head.writeUInt32BE(stream, 0);
  head.writeUInt32BE(payload.length, 4);
  head[4] = flags;
  return Buffer.concat([head, payload]);
}

function control(type: number, payload: Buffer, version = 3): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt16BE(0x80_00 | version, 0);
  head.writeUInt16BE(type, 2);
  head.writeUInt32BE(payload.length, 4);
  return Buffer.concat([head, payload]);
}

interface Sent {
  /** Of a control frame; 0 for data. */
  readonly type: number;
  readonly stream: number;
  readonly flags: number;
  readonly payload: Buffer;
}

function framesOf(bytes: Buffer): Sent[] {
  const frames: Sent[] = [];
  for (let at = 0; at < bytes.length; ) {
    const payload = bytes.subarray(at + 8, at + 8 + bytes.readUIntBE(at + 5, 3));
    const isControl = (bytes[at] as number) >= 0x80;
    const [type, stream] = isControl
      ? [bytes.readUInt16BE(at + 2), payload.readUInt32BE(0)]
      : [0, bytes.readUInt32BE(at)];
    frames.push({ type, stream, flags: bytes[at + 4] as number, payload });
    at += 8 + payload.length;
  }
  return frames;
}

/** Until so many bytes of stream 3 have come. */
async function receive(server: net.Socket, bytes: number): Promise<Sent[]> {
  let all = Buffer.alloc(0);
  const seen = () => framesOf(all).filter(({ type, stream }) => type === 0 && stream === DATA);
  server.on('data', (chunk: Buffer) => {
    all = Buffer.concat([all, chunk]);
  });
  const sum = () => seen().reduce((total, { payload }) => total + payload.length, 0);
  while (sum() < bytes) await once(server, 'data');
  return framesOf(all);
}

/** Names and values of a header block that is no longer compressed. */
function readHeaders(block: Buffer): Record<string, string> {
  const words: string[] = [];
  for (let at = 4; at < block.length; ) {
    const length = block.readUInt32BE(at);
    words.push(block.toString('latin1', at + 4, at + 4 + length));
    at += 4 + length;
  }
  return Object.fromEntries(words.flatMap((word, at) => (at % 2 === 0 ? [[word, words[at + 1] ?? '']] : [])));
}

test('two streams are opened in one compressed text, the errors’ first, and bytes go out on the other', async () => {
  const { connection, server } = await connected();
  connection.write('hello');
  const [first, end, second, bytes] = await receive(server, 5);
  expect([first, end, second, bytes].map((frame) => [frame?.type, frame?.stream, frame?.flags])).toEqual([
    [1, ERROR, 0],
    [0, ERROR, FIN],
    [1, DATA, 0],
    [0, DATA, 0],
  ]);
  expect(bytes?.payload.toString()).toBe('hello');
  // One decompressor reads both blocks, as a server's does.
  const blocks = [first, second].map((frame) => frame?.payload.subarray(10) ?? Buffer.alloc(0));
  const inflate = (text: Buffer) => inflateSync(text, { finishFlush: constants.Z_SYNC_FLUSH });
  const one = inflate(blocks[0] as Buffer);
  const both = inflate(Buffer.concat(blocks));
  const common = { port: String(PORT), requestid: '0' };
  expect(readHeaders(one)).toEqual({ streamtype: 'error', ...common });
  expect(readHeaders(both.subarray(one.length))).toEqual({ streamtype: 'data', ...common });
});

test('a ping is answered with itself', async () => {
  const { server } = await connected();
  let all = Buffer.alloc(0);
  server.write(control(6, Buffer.from([0, 0, 0, 2])));
  for (;;) {
    const [chunk] = (await once(server, 'data')) as [Buffer];
    all = Buffer.concat([all, chunk]);
    const pong = framesOf(all).find(({ type }) => type === 6);
    if (pong === undefined) continue;
    expect(pong.payload).toEqual(Buffer.from([0, 0, 0, 2]));
    return;
  }
});

test('the words of an error are the reason of the end, though they come behind the end of the bytes', async () => {
  const { connection, server } = await connected();
  server.write(data(DATA, '', FIN));
  server.write(data(ERROR, 'nobody listens on 57400'));
  server.write(data(ERROR, '', FIN));
  const [error] = (await once(connection, 'error')) as [Error];
  expect(error).toMatchObject({ code: 'SERVICE_UNAVAILABLE', message: 'port-forward: nobody listens on 57400' });
});

test.each([
  ['both streams end', Buffer.concat([data(DATA, 'x'), data(DATA, '', FIN), data(ERROR, '', FIN)])],
  ['the stream is reset', Buffer.concat([data(DATA, 'x'), control(3, Buffer.from([0, 0, 0, DATA, 0, 0, 0, 5]))])],
  ['the server goes away', Buffer.concat([data(DATA, 'x'), control(7, Buffer.alloc(8))])],
])('it ends when %s', async (_how, bytes) => {
  const { connection, server } = await connected();
  let got = '';
  connection.on('data', (chunk: Buffer) => {
    got += chunk.toString();
  });
  server.write(bytes);
  await once(connection, 'end');
  expect(got).toBe('x');
});

test('what is long goes out in frames of 128 KiB, what is small together', async () => {
  const { connection, server } = await connected();
  connection.cork();
  for (let at = 0; at < 30; at += 1) connection.write(Buffer.alloc(10 * 1024, at));
  connection.uncork();
  const frames = (await receive(server, 300 * 1024)).filter(({ type, stream }) => type === 0 && stream === DATA);
  expect(frames.map(({ payload }) => payload.length / 1024)).toEqual([128, 128, 44]);
  const all = Buffer.concat(frames.map(({ payload }) => payload));
  expect(all.every((byte, at) => byte === Math.floor(at / 10_240))).toBe(true);
});

test('bytes come through in whatever pieces their frames arrive, and what else is said is passed over', async () => {
  const socket = new HeldSocket();
  const connection = new SpdyForward(socket, Buffer.alloc(0), PORT);
  open.push(connection);
  const text = Buffer.concat([
    control(2, Buffer.alloc(20, 0x78)),
    data(DATA, 'he'),
    control(9, Buffer.alloc(8)),
    data(DATA, ''),
    data(DATA, 'llo'),
  ]);
  for (const byte of text) socket.push(Buffer.from([byte]));
  socket.push(null);
  let got = '';
  for await (const chunk of connection) got += (chunk as Buffer).toString();
  expect(got).toBe('hello');
});

test.each([
  ['bytes of a stream that nobody opened', data(7, 'x')],
  ['a frame of another version', control(6, Buffer.alloc(4), 2)],
  ['a ping that is too long', control(6, Buffer.alloc(9))],
  ['a reset of nothing', control(3, Buffer.alloc(2))],
])('%s is refused', async (_what, bytes) => {
  const { connection, server } = await connected();
  server.write(bytes);
  const [error] = (await once(connection, 'error')) as [Error];
  expect(error).toMatchObject({ code: 'PROTOCOL_VIOLATION' });
});
