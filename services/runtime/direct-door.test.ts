import net from 'node:net';
import { pino } from 'pino';
import { afterEach, expect, test, vi } from 'vitest';
import { dial } from '#proto/dial.ts';
import { connectDirect } from '#proto/direct-tls.ts';
import { makeFrame } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { mintToken, proofOfKey, proofOfReturn } from '#proto/token.ts';
import { type SessionServer, serveSessions } from './rpc.ts';

// What takes a moment may take many on a busy machine; each test waits for an event and not for time.
vi.setConfig({ testTimeout: 60_000 });

const key = Buffer.alloc(32, 7);
const directKey = Buffer.alloc(32, 8);
let server: SessionServer | null = null;

afterEach(async () => {
  await expect.poll(() => server?.liveSessions ?? 0, { timeout: 50_000 }).toBe(0);
  server?.close();
  await expect.poll(() => server?.connections ?? 0, { timeout: 50_000 }).toBe(0);
  server = null;
});

async function serve(direct: { address: string; key: Buffer } | null): Promise<SessionServer> {
  server = await serveSessions({
    address: '127.0.0.1:0',
    service: 'Gateway',
    key,
    maxSessions: 4,
    graceMs: 20_000,
    direct,
    logger: pino({ level: 'silent' }),
    onSession: ({ stream }) => ({
      onFrame: (frame) => stream.send(makeFrame(frame.id, frame.kind, frame.head, frame.data)),
      onClosed: () => undefined,
    }),
  });
  return server;
}

const portOf = (address: string) => Number(address.slice(address.lastIndexOf(':') + 1));

test('a session that began at one door goes on at the other', async () => {
  const { address, directAddress } = await serve({ address: '127.0.0.1:0', key: directKey });
  const token = mintToken(key, 'session-one', 60);
  const ways: string[] = [];
  const received: number[] = [];
  let isDirect = false;
  const stream = await dial({
    address,
    service: 'Gateway',
    token,
    proof: proofOfKey(key, token),
    deadlineMs: 10_000,
    renewal: { graceMs: 20_000, prove: (attempt, from) => proofOfReturn(key, token, attempt, from) },
    connect: async () => {
      ways.push(isDirect ? 'direct' : 'first');
      if (isDirect) return connectDirect('127.0.0.1', portOf(directAddress ?? ''), directKey);
      return net.connect(portOf(address), '127.0.0.1');
    },
    onFrame: ({ id }) => {
      received.push(id);
    },
    onClosed: () => undefined,
  });
  stream.send(makeFrame(1, FrameKind.FRAME_KIND_DATA));
  isDirect = true;
  stream.reconnect('a better way is known');
  stream.send(makeFrame(3, FrameKind.FRAME_KIND_DATA));
  await expect.poll(() => received, { timeout: 50_000 }).toEqual([1, 3]);
  expect(ways).toEqual(['first', 'first', 'direct', 'direct']);
  expect(server?.liveSessions).toBe(1);
  stream.destroy();
});

test('there is no second door where nobody asked for one', async () => {
  expect((await serve(null)).directAddress).toBeNull();
});

test('who speaks without TLS at it is not answered', async () => {
  const { directAddress } = await serve({ address: '127.0.0.1:0', key: directKey });
  const token = mintToken(key, 'session-one', 60);
  const dialling = dial({
    address: directAddress ?? '',
    service: 'Gateway',
    token,
    deadlineMs: 10_000,
    onFrame: () => undefined,
    onClosed: () => undefined,
  });
  await expect(dialling).rejects.toMatchObject({ code: 'AGENT_LOST' });
});

test('an address that cannot be listened on is refused, and the first door is shut again', async () => {
  const taken = net.createServer();
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  const { port } = taken.address() as net.AddressInfo;
  const refused = { code: 'NOT_PERMITTED', message: expect.stringContaining(`127.0.0.1:${port}`) };
  await expect(serve({ address: `127.0.0.1:${port}`, key: directKey })).rejects.toMatchObject(refused);
  taken.close();
});
