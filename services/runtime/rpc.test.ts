import { mkdtempSync, rmSync, statSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { dial } from '#proto/dial.ts';
import { AppError } from '#proto/errors.ts';
import { type Frame, makeFrame, NO_BYTES } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { sessionPath } from '#proto/grpc-tuning.ts';
import type { SessionHandlers, SessionStream } from '#proto/session-stream.ts';
import { mintToken, proofOfKey } from '#proto/token.ts';
import { type IncomingSession, type ServeOptions, type SessionServer, serveSessions } from './rpc.ts';

const key = Buffer.alloc(32, 7);
const ping = makeFrame(1, FrameKind.FRAME_KIND_FILE_REQUEST, NO_BYTES, Buffer.from('hello'));

let directory: string;
let server: SessionServer | null = null;
let ended: { sessionId: string; error: AppError | null }[];
let onEnded: () => void;

beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'rpc-'));
  ended = [];
  onEnded = () => undefined;
});

afterEach(async () => {
  if (server !== null) {
    await expect.poll(() => server?.liveSessions).toBe(0);
    server.close();
    await expect.poll(() => server?.connections).toBe(0);
    server = null;
  }
  rmSync(directory, { recursive: true });
});

function echo({ sessionId, stream }: IncomingSession): SessionHandlers {
  return {
    onFrame: (frame) => {
      if (frame.kind === FrameKind.FRAME_KIND_SESSION_CLOSE) {
        stream.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_CLOSED));
        stream.end();
        return undefined;
      }
      stream.send(makeFrame(frame.id, FrameKind.FRAME_KIND_FILE_REPLY, frame.head, frame.data));
      return stream.drained();
    },
    onClosed: (error) => {
      ended.push({ sessionId, error });
      onEnded();
    },
  };
}

async function serve(changes: Partial<ServeOptions> = {}): Promise<SessionServer> {
  server = await serveSessions({
    address: `unix:${directory}/gateway.sock`,
    service: 'Gateway',
    key,
    maxSessions: 4,
    logger: pino({ level: 'silent' }),
    onSession: echo,
    ...changes,
  });
  return server;
}

interface Dialled {
  stream: SessionStream;
  next(): Promise<Frame>;
  closed: Promise<AppError | null>;
}

async function connect(
  address: string,
  token = mintToken(key, 'session-one', 60),
  proof = proofOfKey(key, token),
): Promise<Dialled> {
  const frames: Frame[] = [];
  let wake: () => void = () => undefined;
  let close: (error: AppError | null) => void;
  const closed = new Promise<AppError | null>((resolve) => {
    close = resolve;
  });
  const stream = await dial({
    address,
    service: 'Gateway',
    token,
    proof,
    deadlineMs: 30_000,
    onFrame: (frame) => {
      frames.push(frame);
      wake();
    },
    onClosed: (error) => close(error),
  });
  const next = async (): Promise<Frame> => {
    while (frames.length === 0) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return frames.shift() as Frame;
  };
  return { stream, next, closed };
}

async function closeInOrder({ stream, next, closed }: Dialled): Promise<void> {
  stream.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_CLOSE));
  while ((await next()).kind !== FrameKind.FRAME_KIND_SESSION_CLOSED);
  stream.end();
  expect(await closed).toBeNull();
}

for (const where of ['unix', 'tcp'] as const) {
  test(`a frame goes there and back over ${where}, and the session closes in order on both sides`, async () => {
    const { address } = await serve(where === 'tcp' ? { address: '127.0.0.1:0' } : {});
    const dialled = await connect(address);
    dialled.stream.send(ping);
    expect(Buffer.from((await dialled.next()).data).toString()).toBe('hello');
    expect(await dialled.stream.ping()).toBeGreaterThan(0);
    await closeInOrder(dialled);
    await expect.poll(() => ended).toEqual([{ sessionId: 'session-one', error: null }]);
  });
}

test('the socket is closed to everybody else', async () => {
  await serve();
  expect(statSync(`${directory}/gateway.sock`).mode & 0o777).toBe(0o600);
});

test('the socket of a living server is not taken away from it', async () => {
  await serve();
  await expect(
    serveSessions({
      ...({} as ServeOptions),
      address: `unix:${directory}/gateway.sock`,
      service: 'Gateway',
      key,
      maxSessions: 1,
      logger: pino({ level: 'silent' }),
      onSession: echo,
    }),
  ).rejects.toMatchObject({
    code: 'NOT_PERMITTED',
  });
});

test.each(['unix', 'tcp'])(
  'many megabytes echoed both ways at once over %s arrive whole and in order',
  async (where) => {
    const { address } = await serve(where === 'tcp' ? { address: '127.0.0.1:0' } : {});
    const dialled = await connect(address);
    const count = 200;
    const send = async () => {
      for (let id = 1; id <= count; id += 1) {
        dialled.stream.send(makeFrame(id, FrameKind.FRAME_KIND_FILE_REQUEST, NO_BYTES, Buffer.alloc(128 * 1024, id)));
        await dialled.stream.drained();
      }
    };
    const sent = send();
    for (let id = 1; id <= count; id += 1) {
      const frame = await dialled.next();
      expect([frame.id, frame.data.length, frame.data[0], frame.data.at(-1)]).toEqual([
        id,
        131_072,
        id & 255,
        id & 255,
      ]);
    }
    await sent;
    await closeInOrder(dialled);
  },
);

test.each([
  ['a token of another key', mintToken(Buffer.alloc(32, 8), 'session-one', 60)],
  ['an expired token', mintToken(key, 'session-one', -1)],
  ['no token', 'x'],
])('%s is refused before a frame is read', async (_, token) => {
  let sessions = 0;
  const { address } = await serve({
    onSession: (session) => {
      sessions += 1;
      return echo(session);
    },
  });
  await expect(connect(address, token)).rejects.toMatchObject({
    code: 'UNAUTHENTICATED',
    message: 'the session token is not accepted',
  });
  expect(sessions).toBe(0);
});

test('a live session cannot be opened a second time', async () => {
  const { address } = await serve();
  const first = await connect(address);
  await expect(connect(address)).rejects.toMatchObject({ code: 'NOT_PERMITTED' });
  first.stream.send(ping);
  expect((await first.next()).id).toBe(1);
  await closeInOrder(first);
});

test('one session more than allowed is refused, and admitted when another has ended', async () => {
  const { address } = await serve({ maxSessions: 1 });
  const first = await connect(address);
  const second = mintToken(key, 'session-two', 60);
  await expect(connect(address, second)).rejects.toMatchObject({ code: 'LIMIT_REACHED' });
  await closeInOrder(first);
  await expect.poll(() => server?.liveSessions).toBe(0);
  await closeInOrder(await connect(address, second));
});

test('what the server refuses a session with is what the client gets', async () => {
  const { address } = await serve({
    onSession: () => {
      throw new AppError('LIMIT_REACHED', 'no room for this session');
    },
  });
  await expect(connect(address)).rejects.toMatchObject({ code: 'LIMIT_REACHED', message: 'no room for this session' });
});

test('a call whose other half does not come is refused within its time', async () => {
  const { address } = await serve({ pairingDeadlineMs: 50 });
  const client = new Client(address, credentials.createInsecure());
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${mintToken(key, 'session-one', 60)}`);
  metadata.set('mirrord-direction', 'up');
  const asIs = (bytes: Buffer) => bytes;
  const call = client.makeBidiStreamRequest(sessionPath('Gateway'), asIs, asIs, metadata).resume();
  const error = await new Promise<ServiceError>((resolve) => call.once('error', resolve));
  expect(error.details).toBe('no down call within 50 ms');
  client.close();
});

test('a session that says nothing is ended within its time', async () => {
  const { address } = await serve({ pairingDeadlineMs: 50 });
  const { closed } = await connect(address);
  expect(await closed).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
});

test('a session cut by the client is told to the server', async () => {
  const { address } = await serve();
  const { stream } = await connect(address);
  const told = new Promise<void>((resolve) => {
    onEnded = resolve;
  });
  stream.destroy();
  await told;
  expect(ended[0]?.error).toMatchObject({ code: 'CANCELLED' });
});

test('a client that hangs up without closing the session is cut off', async () => {
  const { address } = await serve();
  const first = await connect(address);
  first.stream.end();
  expect(await first.closed).toMatchObject({ code: 'CANCELLED' });
  await expect.poll(() => server?.connections).toBe(0);
  expect(ended[0]?.error).toMatchObject({ code: 'CANCELLED' });
});

test('nobody at the address is AGENT_LOST', async () => {
  await expect(connect(`unix:${directory}/nobody.sock`)).rejects.toMatchObject({ code: 'AGENT_LOST' });
});

test('somebody who does not answer is DEADLINE_EXCEEDED', async () => {
  const mute = net.createServer((socket) => socket.on('error', () => undefined));
  await new Promise<void>((resolve) => mute.listen(`${directory}/mute.sock`, resolve));
  const dialling = dial({
    address: `unix:${directory}/mute.sock`,
    service: 'Gateway',
    token: 'x',
    deadlineMs: 100,
    onFrame: () => undefined,
    onClosed: () => undefined,
  });
  await expect(dialling).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
  mute.close();
});

test('strangers who take every connection and say nothing do not keep a client out', async () => {
  const { address } = await serve({ maxSessions: 1 });
  const strangers = Array.from({ length: 200 }, () => {
    const socket = net.connect({ path: address.slice('unix:'.length) });
    return socket.on('error', () => undefined);
  });
  await Promise.all(strangers.map((socket) => new Promise((resolve) => socket.once('connect', resolve))));
  const dialled = await connect(address);
  expect(server?.connections).toBeLessThanOrEqual(64 + 2);
  dialled.stream.send(ping);
  expect((await dialled.next()).id).toBe(1);
  await closeInOrder(dialled);
  for (const socket of strangers) socket.destroy();
});

test('a head that never ends, calls of other kinds and garbage end with their connection, and cost others nothing', async () => {
  const { address } = await serve();
  const dialled = await connect(address);
  const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  const frame = (type: number, flags: number, stream: number, payload: Buffer) => {
    const head = Buffer.alloc(9);
    head.writeUIntBE(payload.length, 0, 3);
    head.writeUInt8(type, 3);
    head.writeUInt8(flags, 4);
    head.writeUInt32BE(stream, 5);
    return Buffer.concat([head, payload]);
  };
  const settings = frame(4, 0, 0, Buffer.alloc(0));
  const continuation = frame(9, 0, 1, Buffer.alloc(16_384, 0x20));
  const ping8 = frame(6, 0, 0, Buffer.alloc(8));
  const attacks = {
    'CONTINUATION without end': [preface, settings, frame(1, 0, 1, Buffer.alloc(0)), ...Array(200).fill(continuation)],
    'PINGs whose answers are not read': [preface, settings, ...Array(200_000).fill(ping8)],
    'no HTTP/2': [Buffer.alloc(100_000, 'GET / HTTP/1.1\r\n')],
  };
  for (const [name, bytes] of Object.entries(attacks)) {
    const socket = net.connect({ path: address.slice('unix:'.length) });
    socket.on('error', () => undefined);
    socket.pause();
    await new Promise((resolve) => socket.write(Buffer.concat(bytes), resolve));
    await expect.poll(() => server?.connections, { message: name }).toBe(2);
    socket.destroy();
  }
  dialled.stream.send(ping);
  expect((await dialled.next()).id).toBe(1);
  await closeInOrder(dialled);
}, 30_000);

test('who has taken the place of a server without its key is not taken for it', async () => {
  const { address } = await serve();
  const token = mintToken(key, 'session-one', 60);
  const ours = proofOfKey(Buffer.alloc(32, 9), token);
  await expect(connect(address, token, ours)).rejects.toMatchObject({
    code: 'UNAUTHENTICATED',
    message: expect.stringContaining('does not know the session key'),
  });
});
