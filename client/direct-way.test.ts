import { once } from 'node:events';
import net from 'node:net';
import type { Duplex } from 'node:stream';
import { afterEach, expect, test, vi } from 'vitest';
import { createDirectServer } from '#proto/direct-tls.ts';
import { type DirectSession, DirectWay } from './direct-way.ts';
import { Log } from './log.ts';

// What takes a moment may take many on a busy machine; each test waits for an event and not for time.
vi.setConfig({ testTimeout: 60_000 });

const key = Buffer.alloc(32, 9);
const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

/** A way whose first road is a plain server. */
async function wayOf(): Promise<{ way: DirectWay; roads: () => number }> {
  const server = net.createServer((socket) => {
    socket.on('error', () => undefined);
    closers.push(() => socket.destroy());
  });
  const port = await listening(server);
  let roads = 0;
  const through = async () => {
    roads += 1;
    return net.connect(port, '127.0.0.1');
  };
  return { way: new DirectWay(through, new Log({ env: {} }), 50_000), roads: () => roads };
}

async function listening(server: net.Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(() => server.close());
  return (server.address() as net.AddressInfo).port;
}

async function directServer(): Promise<{ port: number; server: net.Server }> {
  const server = createDirectServer(key, (socket) => {
    socket.on('error', () => undefined);
    closers.push(() => socket.destroy());
  });
  return { port: await listening(server), server };
}

function sessionOf(direct: DirectSession['direct']): DirectSession & { reasons: string[] } {
  const reasons: string[] = [];
  return { direct, reasons, reconnect: (reason) => reasons.push(reason) };
}

async function isTls(way: DirectWay): Promise<boolean> {
  const socket: Duplex = await way.connect(new AbortController().signal);
  closers.push(() => socket.destroy());
  return 'encrypted' in socket;
}

test('a session goes over when the address can be reached, and back when it cannot any more', async () => {
  const { way, roads } = await wayOf();
  const { port, server } = await directServer();
  const session = sessionOf({ port, key });
  expect(await isTls(way)).toBe(false);
  expect(await way.take(session, '127.0.0.1')).toBe(`connected directly to 127.0.0.1:${port}`);
  expect(session.reasons).toEqual(['going over to a direct connection']);
  expect(await isTls(way)).toBe(true);
  expect(roads()).toBe(1);
  server.close();
  for (const close of closers.splice(0)) close();
  expect(await isTls(way)).toBe(false);
  expect(roads()).toBe(2);
});

test.each([
  ['the agent has no such door', undefined, '127.0.0.1'],
  ['its pod has no address', { port: 1, key }, undefined],
])('it stays, without trying, where %s', async (_, direct, host) => {
  const { way } = await wayOf();
  const session = sessionOf(direct);
  expect(await way.take(session, host)).toMatch(/^the agent has no direct address: the session stays /);
  expect(session.reasons).toEqual([]);
  expect(await isTls(way)).toBe(false);
});

test('it stays where the address is another’s', async () => {
  const { way } = await wayOf();
  const { port } = await directServer();
  const session = sessionOf({ port, key: Buffer.alloc(32, 1) });
  expect(await way.take(session, '127.0.0.1')).toMatch(
    /^no direct connection to 127.0.0.1:\d+: .*: the session stays /,
  );
  expect(session.reasons).toEqual([]);
  expect(await isTls(way)).toBe(false);
});
