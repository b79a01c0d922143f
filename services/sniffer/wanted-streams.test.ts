// The wanted streams of real HTTP/2: what a client of Node's writes, cut anywhere, and what a server of Node's reads of it.

import { once } from 'node:events';
import http2 from 'node:http2';
import net from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { compileHttpFilter } from '#http-filter/http-filter.ts';
import { EndReason, type HttpCondition, LossReason } from '#proto/gen/v1/incoming.ts';
import { FrameType, frame, PREFACE } from '#runtime/http2/frame.ts';
import { encodeHeaderBlock, field } from '#runtime/http2/hpack-encoder.ts';
import type { Copy } from './copy.ts';
import { Counts } from './counts.ts';
import { WantedStreams } from './wanted-streams.ts';

interface Request {
  path: string;
  headers?: Record<string, string>;
  body?: string | Buffer;
  trailers?: Record<string, string>;
}
interface Heard {
  path: string;
  tag: string | undefined;
  bytes: number;
  trailers: Record<string, unknown>;
}

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

async function listen(server: net.Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  closing.push(() => server.close());
  await once(server, 'listening');
  return (server.address() as net.AddressInfo).port;
}

/** A server that says of each request what it was, once that is whole. */
async function startServer(): Promise<{ port: number; heard: Heard[]; until(count: number): Promise<void> }> {
  const heard: Heard[] = [];
  let wake = () => {};
  const server = http2.createServer({ settings: { maxFrameSize: 1 << 20, initialWindowSize: 1 << 22 } });
  server.on('stream', (stream, headers) => {
    let bytes = 0;
    let trailers = {};
    stream.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    stream.on('trailers', (fields) => {
      trailers = Object.fromEntries(Object.entries(fields));
    });
    stream.on('end', () => {
      heard.push({ path: String(headers[':path']), tag: headers['x-tag'] as string | undefined, bytes, trailers });
      wake();
      if (stream.destroyed) return;
      stream.respond({ ':status': 200 });
      stream.end('an answer');
    });
    stream.on('error', () => undefined);
  });
  const port = await listen(server as unknown as net.Server);
  const until = async (count: number) => {
    while (heard.length < count) await new Promise<void>((resolve) => (wake = resolve));
  };
  return { port, heard, until };
}

/** What a client writes for these requests, to a server that is there. */
async function bytesOf(requests: readonly Request[]): Promise<Buffer> {
  const server = await startServer();
  const written: Buffer[] = [];
  const relay = net.createServer((client) => {
    const to = net.connect(server.port, '127.0.0.1');
    client.on('data', (chunk) => written.push(chunk)).pipe(to);
    to.pipe(client);
    for (const socket of [client, to]) socket.on('error', () => undefined);
    closing.push(() => client.destroy());
  });
  const session = http2.connect(`http://127.0.0.1:${await listen(relay)}`);
  await once(session, 'remoteSettings');
  for (const { path, headers = {}, body, trailers } of requests) {
    const stream = session.request(
      { ':path': path, ':method': body === undefined ? 'GET' : 'POST', ...headers },
      { endStream: body === undefined && trailers === undefined, waitForTrailers: trailers !== undefined },
    );
    if (trailers !== undefined) stream.on('wantTrailers', () => stream.sendTrailers(trailers));
    if (body !== undefined) stream.end(body);
    stream.resume();
    await once(stream, 'close');
  }
  session.close();
  await once(session, 'close');
  return Buffer.concat(written);
}

interface Made {
  streams: WantedStreams;
  counts: Counts;
  /** Bytes of each connection, and how it ended. */
  copies: { bytes: Buffer[]; gaps: LossReason[]; ended: EndReason | null; isOver: boolean }[];
}

const BY_PATH: HttpCondition = { condition: { $case: 'path', value: '^/wanted' } };

function open(condition = BY_PATH): Made {
  const counts = new Counts();
  const copies: Made['copies'] = [];
  const streams = new WantedStreams({
    filter: compileHttpFilter({ conditions: [condition], isAny: false }),
    counts,
    spend: () => undefined,
    hold: () => true,
    arrive: () => {
      const made: Made['copies'][0] = { bytes: [], gaps: [], ended: null, isOver: false };
      copies.push(made);
      return {
        get isOver() {
          return made.isOver;
        },
        bytes: (bytes: Buffer) => made.bytes.push(Buffer.from(bytes)),
        gap: (_: number, reason: LossReason) => made.gaps.push(reason),
        halfClose: () => undefined,
        end: (reason: EndReason) => {
          made.ended = reason;
          made.isOver = true;
        },
      } as unknown as Copy;
    },
  });
  return { streams, counts, copies };
}

async function heardOf(bytes: readonly Buffer[], count: number): Promise<Heard[]> {
  const server = await startServer();
  const socket = net.connect(server.port, '127.0.0.1');
  socket.on('error', () => undefined).resume();
  closing.push(() => socket.destroy());
  socket.write(Buffer.concat(bytes));
  await server.until(count);
  return server.heard;
}

const MANY: Request[] = [
  { path: '/a', headers: { 'x-tag': 'one', 'x-long': 'y'.repeat(300) } },
  { path: '/wanted/1', headers: { 'x-tag': 'one', 'x-long': 'y'.repeat(300) } },
  { path: '/b', body: 'x'.repeat(40_000) },
  { path: '/wanted/2', body: Buffer.alloc(50_000), headers: { 'x-tag': 'two' } },
  { path: '/wanted/3', body: 'abc', trailers: { 'x-end': 'yes' }, headers: { 'x-tag': 'two' } },
  { path: '/c', trailers: { 'x-end': 'no' }, body: '' },
  { path: '/wanted/4', headers: { 'x-huge': 'z'.repeat(40_000) } },
];
const WANTED: Heard[] = [
  { path: '/wanted/1', tag: 'one', bytes: 0, trailers: {} },
  { path: '/wanted/2', tag: 'two', bytes: 50_000, trailers: {} },
  { path: '/wanted/3', tag: 'two', bytes: 3, trailers: { 'x-end': 'yes' } },
  { path: '/wanted/4', tag: undefined, bytes: 0, trailers: {} },
];

test.each([1 << 20, 4_000, 13, 1])('a server reads the wanted streams alone, of pieces of %i bytes', async (size) => {
  const all = await bytesOf(MANY);
  const { streams, counts, copies } = open();
  for (let start = 0; start < all.length; start += size) streams.push(all.subarray(start, start + size));
  streams.close(EndReason.END_REASON_CLOSED, 1n);
  expect([counts.requests, counts.notMatched]).toEqual([4, 3]);
  expect(copies).toHaveLength(1);
  expect(copies[0]?.ended).toBe(EndReason.END_REASON_CLOSED);
  const heard = await heardOf(copies[0]?.bytes ?? [], 4);
  expect(heard).toEqual(WANTED);
});

test('a connection without a wanted stream never arrives', async () => {
  const all = await bytesOf([{ path: '/a' }, { path: '/b', body: 'b' }]);
  const { streams, counts, copies } = open();
  streams.push(all);
  expect([copies.length, counts.notMatched]).toEqual([0, 2]);
});

test('a gap ends the copy, and what comes behind it is counted and never read', async () => {
  const all = await bytesOf(MANY);
  const { streams, counts, copies } = open();
  const half = all.indexOf(Buffer.alloc(1_000)) + 10_000;
  streams.push(all.subarray(0, half));
  streams.lose(100, LossReason.LOSS_REASON_RING_FULL);
  streams.push(all.subarray(half + 100));
  expect(copies).toHaveLength(1);
  expect([copies[0]?.gaps, copies[0]?.ended]).toEqual([
    [LossReason.LOSS_REASON_RING_FULL],
    EndReason.END_REASON_FAILED,
  ]);
  expect(counts.requests).toBe(2);
  const heard = await heardOf(copies[0]?.bytes ?? [], 1);
  expect(heard.map(({ path }) => path)).toEqual(['/wanted/1']);
});

test('behind a copy that the local process has given up, the next wanted stream comes on another', async () => {
  const all = await bytesOf([{ path: '/wanted/1' }, { path: '/wanted/2', headers: { 'x-tag': 'two' } }]);
  const { streams, copies } = open();
  for (const byte of all) {
    streams.push(Buffer.of(byte));
    const [first] = copies;
    if (first !== undefined) first.isOver = true;
  }
  expect(copies).toHaveLength(2);
  const heard = await heardOf(copies[1]?.bytes ?? [], 1);
  expect(heard.map(({ path, tag }) => [path, tag])).toEqual([['/wanted/2', 'two']]);
});

test('padding, priorities and large frames do not reach the local process', async () => {
  const fields = [
    field(':method', 'POST'),
    field(':scheme', 'http'),
    field(':path', '/wanted/1'),
    field(':authority', 'a'),
  ];
  const block = encodeHeaderBlock(fields);
  const payload = Buffer.concat([Buffer.of(3, 0, 0, 0, 0, 200), block, Buffer.alloc(3)]);
  const padded = frame(FrameType.headers, 0x4 | 0x8 | 0x20, 1, payload);
  const large = frame(
    FrameType.data,
    0x8 | 0x1,
    1,
    Buffer.concat([Buffer.of(9), Buffer.alloc(40_000), Buffer.alloc(9)]),
  );
  const { streams, copies } = open();
  const whole = Buffer.concat([PREFACE, frame(FrameType.settings, 0, 0, Buffer.alloc(0)), padded, large]);
  for (let start = 0; start < whole.length; start += 977) streams.push(whole.subarray(start, start + 977));
  const sent = Buffer.concat(copies[0]?.bytes ?? []);
  for (let next = PREFACE.length; next < sent.length; next += 9 + sent.readUIntBE(next, 3)) {
    expect(sent.readUIntBE(next, 3)).toBeLessThanOrEqual(16_384);
    expect((sent[next + 4] as number) & 0x28).toBe(0);
  }
  expect(await heardOf([sent], 1)).toMatchObject([{ path: '/wanted/1', bytes: 40_000 }]);
});

test('what is no HTTP/2 behind its first line is counted as more than the filter can read', () => {
  const { streams, counts } = open();
  streams.push(Buffer.concat([PREFACE, Buffer.alloc(60, 0x41)]));
  streams.push(Buffer.alloc(1_000));
  expect(counts.hasRecent).toBe(true);
});

test('a body decides once it is whole, and later streams do not wait for it', async () => {
  const value = { query: '$.user', matches: '^alice$', maxBytes: 0, waitMs: 0 };
  const { streams, counts, copies } = open({ condition: { $case: 'jsonBody', value } });
  const all = await bytesOf([
    { path: '/1', body: '{"user":"alice"}' },
    { path: '/2', body: '{"user":"bob"}' },
    { path: '/3' },
    { path: '/4', body: `{"user":"alice","more":"${'x'.repeat(200_000)}"}` },
    { path: '/5', body: '{"user": "alice"}', headers: { 'x-tag': 'five' } },
  ]);
  for (let start = 0; start < all.length; start += 700) streams.push(all.subarray(start, start + 700));
  expect([counts.requests, counts.notMatched]).toEqual([2, 3]);
  const heard = await heardOf(copies[0]?.bytes ?? [], 2);
  expect(heard.map(({ path, bytes, tag }) => [path, bytes, tag])).toEqual([
    ['/1', 16, undefined],
    ['/5', 17, 'five'],
  ]);
});
