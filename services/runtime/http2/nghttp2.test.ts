// Our reader of HTTP/2 beside nghttp2, which is in Node: what a server of nghttp2 takes for a request we have seen as the same
// request, however the bytes are damaged. Otherwise a request could pass the filters by.

import { createServer, type Http2Server, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { type AddressInfo, connect, type Socket } from 'node:net';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Flag, FrameType, frame, headersFrames, PREFACE, settings } from './frame.ts';
import { FrameReader } from './frame-reader.ts';
import { HeaderFramesReader } from './header-frames.ts';
import { HpackDecoder } from './hpack-decoder.ts';
import { encodeHeaderBlock, field } from './hpack-encoder.ts';

type Seen = Map<number, string>;

let server: Http2Server;
let port = 0;
const sockets = new Set<Socket>();
/** Requests of the connection at hand, as nghttp2 sees them. */
let seen: Seen = new Map();

beforeAll(async () => {
  server = createServer();
  server.on('sessionError', () => undefined);
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  server.on('stream', (stream: ServerHttp2Stream, _headers: IncomingHttpHeaders, _flags: number, raw: string[]) => {
    const fields = raw.flatMap((name, at) => (at % 2 === 0 ? [`${name}: ${raw[at + 1]}`] : []));
    seen.set(stream.id as number, fields.join('\n'));
    stream.on('error', () => undefined);
    stream.resume();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  port = (server.address() as AddressInfo).port;
});
afterAll(async () => {
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
});

/** By nghttp2, until it has answered the last frame or hung up. */
async function byNghttp2(bytes: Buffer): Promise<Seen> {
  seen = new Map();
  const socket = connect(port, '127.0.0.1');
  const reader = new FrameReader(() => true);
  await new Promise<void>((resolve) => {
    socket.on('data', (chunk: Buffer) => {
      reader.push(chunk);
      for (let piece = reader.next(); piece !== undefined && piece !== 'doubtful'; piece = reader.next()) {
        const isPong = piece.head.type === FrameType.ping && (piece.head.flags & Flag.ack) !== 0;
        if (isPong || piece.head.type === FrameType.goaway) resolve();
      }
    });
    socket.on('error', () => undefined).on('close', () => resolve());
    // A frame that never ends would be waited for.
    socket.end(bytes);
  });
  socket.destroy();
  return seen;
}

/** @returns requests by their streams, and whether we gave up reading */
function byUs(bytes: Buffer): Readonly<{ requests: Seen; isDoubtful: boolean }> {
  const requests: Seen = new Map();
  const reader = new FrameReader((type) => type !== FrameType.data);
  const headers = new HeaderFramesReader();
  const hpack = new HpackDecoder();
  if (!bytes.subarray(0, PREFACE.length).equals(PREFACE)) return { requests, isDoubtful: true };
  reader.push(bytes.subarray(PREFACE.length));
  for (;;) {
    const piece = reader.next();
    if (piece === 'doubtful') return { requests, isDoubtful: true };
    if (piece === undefined) return { requests, isDoubtful: false };
    const { type } = piece.head;
    if (!headers.isOpen && type !== FrameType.headers && type !== FrameType.continuation) continue;
    const whole = headers.add(piece);
    if (whole === undefined) continue;
    const decoded = whole === 'doubtful' ? undefined : hpack.decode(whole.block);
    if (whole === 'doubtful' || decoded === undefined || whole.streamId % 2 === 0)
      return { requests, isDoubtful: true };
    if (requests.has(whole.streamId)) continue;
    requests.set(whole.streamId, decoded.fields.map(({ name, value }) => `${name}: ${value}`).join('\n'));
  }
}

const token = fc.stringMatching(/^[a-z][a-z0-9-]{0,12}$/);
const value = fc.stringMatching(/^(?:[!-~]([ -~]{0,30}[!-~])?)?$/);
const request = fc.record({
  fields: fc.array(fc.tuple(token, value), { maxLength: 5 }),
  path: fc.stringMatching(/^\/[a-z0-9]{0,20}$/),
  body: fc.uint8Array({ maxLength: 40 }),
  cut: fc.nat(40),
  padding: fc.nat(4),
});
type Request = typeof request extends fc.Arbitrary<infer T> ? T : never;

const CONNECTION_FIELDS =
  /^(?:connection|host|te|upgrade|keep-alive|content-length|transfer-encoding|proxy-connection)$/;

function framesOf({ fields, path, body, cut, padding }: Request, id: number): Buffer {
  const block = encodeHeaderBlock([
    field(':method', 'POST'),
    field(':scheme', 'http'),
    field(':path', path),
    field(':authority', 'shop'),
    ...fields.filter(([name]) => !CONNECTION_FIELDS.test(name)).map(([name, text]) => field(name, text)),
  ]);
  const head =
    cut === 0 || cut >= block.length
      ? headersFrames(id, block, false)
      : Buffer.concat([
          frame(FrameType.headers, 0, id, block.subarray(0, cut)),
          frame(FrameType.continuation, Flag.endHeaders, id, block.subarray(cut)),
        ]);
  const flags = Flag.endStream | (padding > 0 ? Flag.padded : 0);
  const payload = [...(padding > 0 ? [Buffer.from([padding])] : []), body, Buffer.alloc(padding)];
  return Buffer.concat([head, frame(FrameType.data, flags, id, Buffer.concat(payload))]);
}

const PING = frame(FrameType.ping, 0, 0, Buffer.from('the last'));
const conversationOf = (requests: readonly Request[]): Buffer =>
  Buffer.concat([PREFACE, settings([]), ...requests.map((one, index) => framesOf(one, 2 * index + 1)), PING]);

test('whole conversations are the same requests to both', { timeout: 120_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 4 }), async (requests) => {
      const bytes = conversationOf(requests);
      const ours = byUs(bytes);
      expect(ours.isDoubtful).toBe(false);
      expect(ours.requests).toEqual(await byNghttp2(bytes));
      expect(ours.requests.size).toBe(requests.length);
    }),
    { numRuns: 60 },
  );
});

/** Every one of them, in their order. */
function isWithin(some: readonly string[], all: readonly string[]): boolean {
  let at = 0;
  for (const one of all) if (one === some[at]) at++;
  return at === some.length;
}

test('damaged ones give nghttp2 no request that we have not seen as it does', { timeout: 120_000 }, async () => {
  const damage = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 })), { minLength: 1, maxLength: 3 });
  await fc.assert(
    fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 3 }), damage, async (requests, changes) => {
      const bytes = conversationOf(requests);
      const room = bytes.length - PREFACE.length - PING.length;
      for (const [at, by] of changes) {
        const place = PREFACE.length + (at % room);
        bytes[place] = (bytes[place] as number) ^ by;
      }
      const ours = byUs(bytes);
      // From the place of doubt on everything is the target's alone.
      for (const [id, fields] of await byNghttp2(bytes)) {
        const same = ours.requests.get(id);
        if (same === undefined) expect(ours.isDoubtful).toBe(true);
        // nghttp2 leaves out fields whose names or values are none; what it has, it has as we do.
        else expect(isWithin(fields.split('\n'), same.split('\n'))).toBe(true);
      }
    }),
    { numRuns: 250 },
  );
});
