import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type DialOptions, dial } from '#proto/dial.ts';
import { AppError } from '#proto/errors.ts';
import { type Frame, makeFrame, NO_BYTES } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import type { SessionHandlers, SessionStream } from '#proto/session-stream.ts';
import { mintToken, proofOfKey, proofOfReturn } from '#proto/token.ts';
import { type IncomingSession, type ServeOptions, type SessionServer, serveSessions } from './rpc.ts';

// What takes a moment may take many on a busy machine; each test waits for an event and not for time.
vi.setConfig({ testTimeout: 60_000 });

const key = Buffer.alloc(32, 7);
const DATA = FrameKind.FRAME_KIND_DATA;

let server: SessionServer | null = null;
let directory: string;
let clients: Client[] = [];
const first: net.Socket[] = [];
let ended: { sessionId: string; error: AppError | null }[];
/** Called whenever a session of the server has ended. */
let onEnded: () => void;

interface Client {
  readonly stream: SessionStream;
  readonly received: Frame[];
  readonly closed: Promise<AppError | null>;
  /** Of the connections that were opened last. */
  readonly sockets: net.Socket[];
  readonly renewals: number[];
  /** Whether connections can be opened. */
  isReachable: boolean;
}

beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'renewal-'));
  ended = [];
  onEnded = () => undefined;
  clients = [];
});

afterEach(async () => {
  vi.useRealTimers();
  for (const client of clients) client.stream.destroy();
  if (server !== null) {
    await expect.poll(() => server?.liveSessions, { timeout: 50_000 }).toBe(0);
    server.close();
    await expect.poll(() => server?.connections, { timeout: 50_000 }).toBe(0);
    server = null;
  }
  rmSync(directory, { recursive: true });
});

function echo({ sessionId, stream }: IncomingSession): SessionHandlers {
  return {
    onFrame: (frame) => {
      stream.send(makeFrame(frame.id, frame.kind, frame.head, frame.data));
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
    address: '127.0.0.1:0',
    service: 'Gateway',
    key,
    maxSessions: 4,
    logger: pino({ level: 'silent' }),
    onSession: echo,
    graceMs: 20_000,
    ...changes,
  });
  return server;
}

function openSocket(address: string): net.Socket {
  if (address.startsWith('unix:')) return net.connect({ path: address.slice('unix:'.length) });
  return net.connect(Number(address.split(':')[1]), '127.0.0.1');
}

const own = (token: string) => ({
  prove: (attempt: number, received: number) => proofOfReturn(key, token, attempt, received),
});

async function connect(changes: Partial<DialOptions> = {}, sessionId = 'session-one'): Promise<Client> {
  const address = server?.address ?? '';
  const token = mintToken(key, sessionId, 60);
  const received: Frame[] = [];
  const sockets: net.Socket[] = [];
  const renewals: number[] = [];
  let close: (error: AppError | null) => void;
  const closed = new Promise<AppError | null>((resolve) => {
    close = resolve;
  });
  const state = { isReachable: true };
  const stream = await dial({
    address,
    service: 'Gateway',
    token,
    proof: proofOfKey(key, token),
    deadlineMs: 10_000,
    renewal: { ...own(token), graceMs: 20_000, onRenewed: (awayMs) => renewals.push(awayMs) },
    connect: async () => {
      const socket = openSocket(address);
      socket.on('error', () => undefined);
      if (!state.isReachable) socket.destroy();
      sockets.push(socket);
      if (sockets.length > 2) sockets.splice(0, sockets.length - 2);
      return socket;
    },
    onFrame: (frame) => {
      received.push({ ...frame, data: Buffer.from(frame.data) });
    },
    onClosed: (error) => close(error),
    ...changes,
  });
  const client = Object.assign(state, { stream, received, sockets, renewals, closed });
  clients.push(client);
  return client;
}

const cut = ({ sockets }: Client, which = [0, 1]) => {
  for (const index of which) sockets[index]?.destroy();
};

async function expectEcho(client: Client, ids: readonly number[]): Promise<void> {
  await expect.poll(() => client.received.map(({ id }) => id), { timeout: 50_000 }).toEqual(ids);
}

test.each([
  ['both connections break', [0, 1]],
  ['the one that goes up breaks', [0]],
  ['the one that comes down breaks', [1]],
])('when %s, both are made anew and nothing is lost', async (_, which) => {
  await serve();
  const client = await connect();
  const ids = [1, 3, 5, 7, 9, 11];
  for (const id of ids) {
    client.stream.send(makeFrame(id, DATA, NO_BYTES, Buffer.alloc(150_000, id)));
    if (id === 5) cut(client, which);
  }
  await expectEcho(client, ids);
  expect(client.received.every(({ id, data }) => Buffer.alloc(150_000, id).equals(data))).toBe(true);
  expect(client.renewals).toHaveLength(1);
  expect(server?.liveSessions).toBe(1);
  await expect.poll(() => server?.connections, { timeout: 50_000 }).toBe(2);
});

test('a connection that breaks again and again while it comes back delays, and no more', async () => {
  await serve();
  const client = await connect();
  const ids: number[] = [];
  for (let round = 0; round < 8; round += 1) {
    const id = round * 2 + 1;
    ids.push(id);
    client.stream.send(makeFrame(id, DATA, NO_BYTES, Buffer.alloc(100_000, id)));
    cut(client);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await expectEcho(client, ids);
});

test('a session id and a genuine token of another minting do not take a session over', async () => {
  await serve();
  const client = await connect();
  client.isReachable = false;
  cut(client);
  await expect.poll(() => client.stream.isParked, { timeout: 50_000 }).toBe(true);
  const other = mintToken(key, 'session-one', 61);
  const stolen = await answerTo(other, proofOfReturn(key, other, 1, 0));
  expect(stolen).toContain('token is not accepted');
  const nobodys = `v1.session-one.9999999999.${Buffer.alloc(32).toString('base64url')}`;
  const forged = await answerTo(nobodys, proofOfReturn(key, nobodys, 1, 0));
  expect(forged).toContain('token is not accepted');
  client.isReachable = true;
  client.stream.send(makeFrame(1, DATA));
  await expectEcho(client, [1]);
});

test('who saw the calls of a session cannot come back in its place', async () => {
  await serve();
  const token = mintToken(key, 'session-one', 60);
  const seen: number[][] = [];
  const prove = (attempt: number, received: number) => {
    seen.push([attempt, received]);
    return proofOfReturn(key, token, attempt, received);
  };
  const client = await connect({ token, proof: proofOfKey(key, token), renewal: { graceMs: 20_000, prove } });
  cut(client);
  client.stream.send(makeFrame(1, DATA));
  await expectEcho(client, [1]);
  const [[attempt = 0, received = 0] = []] = seen;
  const proof = proofOfReturn(key, token, attempt, received);
  // As it was, it is late; for another attempt, or another place in the stream, it was not made.
  expect(await answerTo(token, proof, attempt, received)).toContain('already open');
  for (const [later, from] of [
    [attempt + 1, received],
    [attempt, received + 1],
  ] as const) {
    expect(await answerTo(token, proof, later, from)).toContain('token is not accepted');
  }
  for (const made of ['', proofOfKey(key, token)]) {
    expect(await answerTo(token, made, attempt + 1, received)).toContain('token is not accepted');
  }
  client.stream.send(makeFrame(3, DATA));
  await expectEcho(client, [1, 3]);
});

/** What the server says to a client that would go on with session-one. */
async function answerTo(token: string, proof: string, attempt = 1, received = 0): Promise<string> {
  const { default: http2 } = await import('node:http2');
  const session = http2.connect(`http://${server?.address}`);
  const call = session.request({
    ':method': 'POST',
    ':path': '/mirrord.v1.Gateway/Session',
    'content-type': 'application/grpc',
    authorization: `Bearer ${token}`,
    'mirrord-direction': 'up',
    'mirrord-attempt': String(attempt),
    'mirrord-received': String(received),
    'mirrord-return': proof,
    'mirrord-grace-ms': '1000',
  });
  const [headers] = (await once(call, 'response')) as [Record<string, string>];
  session.destroy();
  return headers['grpc-message'] ?? '';
}

test('a token that has expired meanwhile opens no session, and goes on with its own', async () => {
  await serve();
  const token = mintToken(key, 'session-one', 60);
  const client = await connect({ token, proof: proofOfKey(key, token), renewal: { ...own(token), graceMs: 20_000 } });
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 120_000 });
  await expect(connect({ token, proof: proofOfKey(key, token) })).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
  cut(client);
  client.stream.send(makeFrame(1, DATA));
  await expectEcho(client, [1]);
});

test('after the grace everything is released, and who comes back then learns why', async () => {
  await serve({ graceMs: 300 });
  const client = await connect();
  client.isReachable = false;
  const released = new Promise<void>((resolve) => {
    onEnded = resolve;
  });
  const stillDials = await connect({}, 'session-two');
  cut(client);
  await released;
  expect(ended).toMatchObject([{ error: { message: 'the client did not come back within 0.3 s' } }]);
  expect(await client.closed).toMatchObject({ code: 'AGENT_LOST' });
  expect(await refusalOf('session-one')).toContain('cannot go on: the client did not come back within 0.3 s');
  expect(await refusalOf('session-none')).toContain('this agent does not know it');
  expect(stillDials.stream.isClosed).toBe(false);
});

/** What a session that believes in its life is told. */
async function refusalOf(sessionId: string): Promise<string> {
  const token = mintToken(key, sessionId, 60);
  return decodeURIComponent(await answerTo(token, proofOfReturn(key, token, 1, 0)));
}

test('a client that nobody answers within its grace ends with a message that says so', async () => {
  await serve();
  const client = await connect({ renewal: { ...own(''), graceMs: 400 } });
  client.isReachable = false;
  cut(client);
  expect(await client.closed).toMatchObject({
    code: 'AGENT_LOST',
    message: expect.stringMatching(/^the agent could not be reached again within 0 s: /),
  });
  await expect.poll(() => server?.liveSessions, { timeout: 50_000 }).toBe(0);
});

test('a way that is gone for good is not tried for the whole grace', async () => {
  await serve();
  let tries = 0;
  const client = await connect({
    connect: async () => {
      tries += 1;
      if (tries > 2) throw new AppError('TARGET_GONE', 'the pod is gone');
      const socket = openSocket(server?.address ?? '');
      socket.on('error', () => undefined);
      first.push(socket);
      return socket;
    },
  });
  for (const socket of first.splice(0)) socket.destroy();
  expect(await client.closed).toMatchObject({ code: 'TARGET_GONE', message: 'the pod is gone' });
  server?.close();
});

test('a client that gives up while it has a connection is released at once', async () => {
  await serve();
  const client = await connect();
  const released = new Promise<void>((resolve) => {
    onEnded = resolve;
  });
  client.stream.destroy();
  await released;
  expect(ended).toMatchObject([{ error: { code: 'CANCELLED' } }]);
});

test('a server that ends a session says so in a way that is not taken for a break', async () => {
  await serve();
  const client = await connect();
  server?.close();
  expect(await client.closed).toMatchObject({ message: 'the server is shutting down' });
  expect(client.renewals).toEqual([]);
});

test('a client that does not ask for it is lost with its connection, as is any over a server that keeps none', async () => {
  const address = `unix:${directory}/gateway.sock`;
  await serve({ address, graceMs: 0 });
  const client = await connect();
  cut(client);
  expect(await client.closed).toMatchObject({ code: 'AGENT_LOST' });
  expect(client.renewals).toEqual([]);
  await expect.poll(() => ended.length, { timeout: 50_000 }).toBe(1);
});
