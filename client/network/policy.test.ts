import dgram from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { describe, expect, test } from 'vitest';
import { ERRNO } from '#proto/errno.ts';
import { type InternetAddress, internet, parseIp } from '#proto/socket-address.ts';
import { WireTransport } from '#proto/wire.ts';
import type { Config } from '../config/schema/root.ts';
import { NameMemory } from './name-memory.ts';
import { OutgoingFilter } from './outgoing-filter.ts';
import { isListening } from './own-listeners.ts';
import { lookupHere, Policy, type PolicyOptions } from './policy.ts';
import { SourceBook } from './source-book.ts';

const at = (ip: string, port: number): InternetAddress => internet(parseIp(ip) as Uint8Array, port);
const ip = (text: string) => parseIp(text) as Uint8Array;
const { TCP, UDP } = WireTransport;

function open(filter: { side: 'local' | 'remote'; entries: string[] } | null, changes: Partial<PolicyOptions> = {}) {
  const settings = {
    outgoing: { tcp: true, udp: true, ignore_localhost: false, filter, unix_streams: [] },
    dns: { enabled: true, filter: null },
    ipv6: true,
  } as unknown as Config['feature']['network'];
  const memory = new NameMemory();
  const lookedUp: string[] = [];
  let nowMs = 0;
  const policy = new Policy({
    filter: OutgoingFilter.compile(settings, { targetNameServers: [], localNameServers: [] }),
    memory,
    lookupForFilter: async (name) => {
      lookedUp.push(name);
      return [ip('10.0.0.5')];
    },
    isOwnListener: () => false,
    now: () => nowMs,
    ...changes,
  });
  return { policy, memory, lookedUp, tick: (ms: number) => (nowMs += ms) };
}

describe('a name of the filter', () => {
  test('is looked up when the process has not asked for it, and again after a while', async () => {
    const { policy, lookedUp, tick } = open({ side: 'remote', entries: ['db'] });
    expect((await policy.decide(at('10.0.0.5', 1), TCP)).where).toBe('remote');
    expect((await policy.decide(at('10.0.0.6', 1), TCP)).where).toBe('local');
    expect(lookedUp).toEqual(['db']);
    tick(30_001);
    await policy.decide(at('10.0.0.6', 1), TCP);
    expect(lookedUp).toEqual(['db', 'db']);
  });

  test('means what the process was told, when it has asked', async () => {
    const { policy, memory, lookedUp } = open({ side: 'remote', entries: ['db'] });
    memory.learn('db', [ip('10.0.0.9')], 'remote');
    expect((await policy.decide(at('10.0.0.9', 1), TCP)).where).toBe('remote');
    expect((await policy.decide(at('10.0.0.5', 1), TCP)).where).toBe('local');
    expect(lookedUp).toEqual([]);
  });

  test('that cannot be looked up makes the connection fail and says why', async () => {
    const lookupForFilter = () => Promise.reject(new Error('no answer'));
    const { policy } = open({ side: 'local', entries: ['db'] }, { lookupForFilter });
    await expect(policy.decide(at('10.0.0.5', 1), TCP)).rejects.toMatchObject({
      errno: ERRNO.EHOSTUNREACH,
      message: expect.stringContaining('db: no answer'),
    });
  });

  test('that does not exist fits nothing', async () => {
    const { policy } = open({ side: 'local', entries: ['db'] }, { lookupForFilter: async () => [] });
    expect((await policy.decide(at('10.0.0.5', 1), TCP)).where).toBe('remote');
  });
});

describe('a connection that stays here', () => {
  test("goes to this machine's address of a name that the target has told", async () => {
    const lookup = { lookupHere: async () => [ip('::1'), ip('192.168.0.7')] };
    const { policy, memory } = open({ side: 'local', entries: [':80'] }, lookup);
    memory.learn('db', [ip('10.0.0.9')], 'remote');
    expect(await policy.decide(at('10.0.0.9', 80), TCP)).toMatchObject({ localAddress: at('192.168.0.7', 80) });
    expect(await policy.decide(at('10.0.0.8', 80), TCP)).not.toHaveProperty('localAddress');
    memory.learn('db', [ip('10.0.0.9')], 'local');
    expect(await policy.decide(at('10.0.0.9', 80), TCP)).not.toHaveProperty('localAddress');
  });

  test('fails when this machine has no such name', async () => {
    const { policy, memory } = open({ side: 'local', entries: [':80'] }, { lookupHere: async () => [] });
    memory.learn('db', [ip('10.0.0.9')], 'remote');
    await expect(policy.decide(at('10.0.0.9', 80), TCP)).rejects.toMatchObject({ errno: ERRNO.EHOSTUNREACH });
  });

  test('is one to what the local process listens on', async () => {
    const { policy } = open(null, { isOwnListener: (port) => port === 80 });
    expect((await policy.decide(at('127.0.0.1', 80), TCP)).where).toBe('local');
    expect((await policy.decide(at('127.0.0.1', 81), TCP)).where).toBe('remote');
    expect((await policy.decide(at('10.0.0.1', 80), TCP)).where).toBe('remote');
  });

  test('is one to where its own listener has really gone', async () => {
    const movedListener = (port: number) => (port === 80 ? at('127.0.0.1', 40_000) : null);
    const { policy } = open(null, { movedListener });
    const decision = await policy.decide(at('127.0.0.1', 80), TCP);
    expect(decision).toMatchObject({ where: 'local', localAddress: at('127.0.0.1', 40_000) });
    expect((await policy.decide(at('10.0.0.1', 80), TCP)).where).toBe('remote');
  });
});

test('listeners of our own are found, of either family, and those of others are not', async () => {
  for (const host of ['127.0.0.1', '::']) {
    const server = createServer().listen(0, host);
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    expect(isListening(port, TCP, process.pid)).toBe(true);
    expect(isListening(port, UDP, process.pid)).toBe(false);
    expect(isListening(port, TCP, 2)).toBe(false);
    server.close();
    await once(server, 'close');
    expect(isListening(port, TCP, process.pid)).toBe(false);
  }
  const socket = dgram.createSocket('udp4').bind(0, '127.0.0.1');
  await once(socket, 'listening');
  expect(isListening(socket.address().port, UDP, process.pid)).toBe(true);
  socket.close();
});

test('names of this machine are found as any program would', async () => {
  expect((await lookupHere('localhost')).length).toBeGreaterThan(0);
  expect(await lookupHere('no-such-name.invalid')).toEqual([]);
});

describe('sources', () => {
  test('are guessed from what was learned of peers of the same kind', () => {
    const book = new SourceBook();
    expect(book.guess(at('10.0.0.1', 1), 5n)).toBeNull();
    book.learn(at('10.99.0.1', 4000), at('10.0.0.2', 1));
    expect(book.guess(at('10.0.0.1', 1), 5n)).toEqual(at('10.99.0.1', 32_773));
    expect(book.guess(at('127.0.0.1', 1), 5n)).toBeNull();
    expect(book.guess(at('fd00::1', 1), 5n)).toBeNull();
  });

  test('of one network are not those of another, nor of what is not reached by any', () => {
    const book = new SourceBook();
    book.learn(at('10.99.0.1', 4000), at('10.99.0.2', 1));
    expect(book.guess(at('10.99.3.1', 1), 0n)).not.toBeNull();
    expect(book.guess(at('192.168.7.1', 1), 0n)).toBeNull();
    expect(book.guess(at('240.0.0.1', 1), 0n)).toBeNull();
    book.learn(at('10.99.0.1', 4000), at('198.51.100.1', 1));
    expect(book.guess(at('203.0.113.9', 1), 0n)).not.toBeNull();
  });

  test('are not learned of what is nowhere, which is loopback', () => {
    const book = new SourceBook();
    book.learn(at('127.0.0.1', 4000), at('0.0.0.0', 1));
    expect(book.guess(at('0.0.0.0', 1), 0n)).toBeNull();
  });

  test.each([
    ['2001:db8::9', 'fd77::2', '2001:db9::1'],
    ['203.0.113.9', '10.77.0.2', '198.51.100.1'],
    ['10.77.1.9', '10.77.0.2', '10.77.1.10'],
  ])('that are none for %s do not keep anybody from %s, but from %s', (lost, other, like) => {
    const book = new SourceBook();
    book.learnUnreachable(at(lost, 1), ERRNO.ENETUNREACH);
    expect(book.unreachable(at(other, 1))).toBe(0);
    expect(book.unreachable(at(like, 1))).toBe(ERRNO.ENETUNREACH);
    // Where others like it are reached it is alone.
    book.learn(at(other, 4000), at(like, 1));
    expect(book.unreachable(at(like, 1))).toBe(0);
    book.learnUnreachable(at(lost, 1), ERRNO.ENETUNREACH);
    expect(book.unreachable(at(lost, 1))).toBe(ERRNO.ENETUNREACH);
    expect(book.unreachable(at(like, 1))).toBe(0);
  });

  test('know for a while what has no route', () => {
    let nowMs = 0;
    const book = new SourceBook(() => nowMs);
    book.learnUnreachable(at('fd00::1', 1), ERRNO.ENETUNREACH);
    expect(book.unreachable(at('fd00::2', 9))).toBe(ERRNO.ENETUNREACH);
    expect(book.unreachable(at('10.0.0.1', 9))).toBe(0);
    nowMs = 30_001;
    expect(book.unreachable(at('fd00::2', 9))).toBe(0);
  });
});
