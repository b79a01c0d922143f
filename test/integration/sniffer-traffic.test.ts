// Real traffic between real programs, copied by the real sniffer: what a session gets is what the target got, byte for byte.

import { release } from 'node:os';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Transport } from '../../proto/gen/v1/network.ts';
import { type Peer, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { Mirror, type RunningSniffer, startSniffer } from './sniffer-harness.ts';

const HTTP = 8080;
const ECHO = 9000;
const DEADLINE_MS = 60_000;

let network: TargetNetwork;
let server: Peer;
let sniffer: RunningSniffer;
let mirror: Mirror;

async function begin(limits: Parameters<typeof startSniffer>[0] = {}): Promise<void> {
  network = await startNetwork();
  server = await network.serve(network.target, [
    process.execPath,
    `${import.meta.dirname}/../fixtures/hash-server.mjs`,
    `${HTTP}`,
    `${ECHO}`,
  ]);
  sniffer = await startSniffer(limits);
  mirror = await Mirror.open(sniffer, network.identity);
}

async function end(): Promise<void> {
  mirror?.end();
  await sniffer?.[Symbol.asyncDispose]();
  await network?.[Symbol.asyncDispose]();
}

/** The target's own account of its next connection that ended. */
async function account(): Promise<{
  peerPort: number;
  bytes: number;
  sha256: string;
  outBytes: number;
  outSha: string;
}> {
  const [, peerPort, bytes, sha256 = '', outBytes, outSha = ''] = (await server.line('over')).split(' ');
  return { peerPort: Number(peerPort), bytes: Number(bytes), sha256, outBytes: Number(outBytes), outSha };
}

/** As many accounts as there were connections, each held against what was seen. */
async function compare(connections: number, withAnswers = false): Promise<void> {
  for (let count = 0; count < connections; count += 1) {
    const truth = await account();
    const seen = await mirror.over(truth.peerPort);
    expect({ bytes: seen.bytes, sha256: seen.sha256, gaps: seen.gaps }).toEqual({
      bytes: truth.bytes,
      sha256: truth.sha256,
      gaps: [],
    });
    if (withAnswers) expect([seen.answerBytes, seen.answerSha256]).toEqual([truth.outBytes, truth.outSha]);
  }
}

/** Linux 6.6 (tcx). */
const [major = 0, minor = 0] = release().split('.').map(Number);
const best = major > 6 || (major === 6 && minor >= 6) ? 'tcx' : 'ebpf';

describe.each([
  ['tcx', best, 0],
  ['ebpf', 'ebpf', 0],
  ['classic', 'classic-bpf', 1],
] as const)('with %s', (filter, method, notes) => {
  beforeEach(() => begin({ filter }), DEADLINE_MS);
  afterEach(end, DEADLINE_MS);

  test(
    'curl over IPv4 and IPv6: how packets are chosen, the true addresses, every byte, the end',
    async () => {
      expect(mirror.facts.method).toBe(method);
      expect(mirror.facts.notes).toHaveLength(notes);
      const { subscribed, id } = await mirror.subscribe({ port: HTTP, withAnswers: true });
      expect(subscribed.olderConnections).toBe(0);
      await network.run(network.beyond, `curl -s http://10.99.0.1:${HTTP}/size/100000`);
      await network.run(network.beyond, `curl -s http://[fd99::1]:${HTTP}/`);
      await compare(2, true);
      const [first, second] = mirror.seen;
      expect(first?.peer.startsWith('10.99.0.2:')).toBe(true);
      expect(first?.local).toBe(`10.99.0.1:${HTTP}`);
      expect(first?.text.startsWith('GET /size/100000 HTTP/1.1\r\n')).toBe(true);
      expect(second?.peer.startsWith('fd990000000000000000000000000002:')).toBe(true);
      expect(mirror.seen.map((one) => [one.hasHalfClosed, one.hasAnswerEnd, one.endReason])).toEqual([
        [true, true, 'END_REASON_CLOSED'],
        [true, true, 'END_REASON_CLOSED'],
      ]);
      const sum = await mirror.unsubscribe(id);
      expect(sum).toMatchObject({ connections: 2n, losses: [] });
    },
    DEADLINE_MS,
  );

  test(
    'connections over loopback are seen once',
    async () => {
      await mirror.subscribe({ port: HTTP });
      await network.run(network.target, `curl -s http://127.0.0.1:${HTTP}/`);
      await network.run(network.target, `curl -s http://10.99.0.1:${HTTP}/`);
      await compare(2);
      expect(mirror.seen.map((one) => one.local)).toEqual([`127.0.0.1:${HTTP}`, `10.99.0.1:${HTTP}`]);
    },
    DEADLINE_MS,
  );

  test(
    'ports that nobody subscribed to, and the target as a client, are not copied',
    async () => {
      await mirror.subscribe({ port: ECHO });
      await network.run(network.beyond, `curl -s http://10.99.0.1:${HTTP}/`);
      await account();
      const { id } = await mirror.subscribe({ port: HTTP });
      const own = await network.serve(network.beyond, [
        process.execPath,
        `${import.meta.dirname}/../fixtures/hash-server.mjs`,
        `${HTTP}`,
        `${ECHO}`,
      ]);
      await network.run(network.target, `curl -s http://10.99.0.2:${HTTP}/`);
      await own.line('over');
      await network.run(network.beyond, `curl -s http://10.99.0.1:${HTTP}/`);
      await compare(1);
      expect(await mirror.unsubscribe(id)).toMatchObject({ connections: 1n });
    },
    DEADLINE_MS,
  );

  test(
    'datagrams of both families arrive one by one, by peer, and whole when they come in fragments',
    async () => {
      await mirror.subscribe({ port: 5353, transport: Transport.TRANSPORT_UDP });
      const script = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for text in (b"one", b"", b"x" * 1400, b"y" * 60000): s.sendto(text, ("10.99.0.1", 5353))
t = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
for text in (b"six", b"z" * 5000): t.sendto(text, ("fd99::1", 5353))
print("ready", flush=True)
`;
      const client = await network.serve(network.beyond, ['python3', '-c', script]);
      await client.stop();
      await mirror.until('six datagrams', () => mirror.seen.flatMap((one) => one.datagrams).length === 6);
      expect(mirror.seen.map((one) => one.datagrams)).toEqual([
        ['one', '', 'x'.repeat(1400), 'y'.repeat(60_000)],
        ['six', 'z'.repeat(5_000)],
      ]);
    },
    DEADLINE_MS,
  );
});

describe('at interfaces', () => {
  beforeEach(() => begin(), DEADLINE_MS);
  afterEach(end, DEADLINE_MS);

  test(
    'that come later packets are taken as well, a tunnel among them',
    async () => {
      await mirror.subscribe({ port: HTTP });
      const { target, beyond } = network;
      await network.run(target, `ip link add late0 type veth peer name late1 netns ${beyond.pid}`);
      await network.run(target, 'ip addr add 10.98.7.1/24 dev late0');
      await network.run(beyond, 'ip addr add 10.98.7.2/24 dev late1');
      await network.run(beyond, 'ip link set late1 up');
      await network.run(target, 'ip link set late0 up');
      // One that came before the sniffer heard of the interface is none of its.
      const seen = await vi.waitUntil(async () => {
        await network.run(beyond, `curl -s --retry 20 --retry-connrefused http://10.98.7.1:${HTTP}/`);
        return mirror.seen.find(({ peer }) => peer.startsWith('10.98.7.2:'));
      }, DEADLINE_MS);
      await mirror.until('its end', () => seen.ended ?? undefined);
      expect([seen.local, seen.gaps]).toEqual([`10.98.7.1:${HTTP}`, []]);
      await mirror.subscribe({ port: 5353, transport: Transport.TRANSPORT_UDP });
      const fixture = `${import.meta.dirname}/../fixtures/tun_datagrams.py`;
      const client = await network.serve(target, ['python3', fixture, '5353', 'without a link']);
      const over = await mirror.until('its datagrams', () => mirror.seen.find(({ peer }) => peer === '10.97.0.2:5000'));
      await mirror.until('a datagram', () => over.datagrams[0]);
      expect(over.datagrams[0]).toBe('without a link');
      await client.stop();
      expect(mirror.facts.method).toBe(best);
    },
    DEADLINE_MS,
  );
});

describe('small requests at an interface', () => {
  beforeEach(() => begin(), DEADLINE_MS);
  afterEach(end, DEADLINE_MS);

  test(
    'come whole, of every size, with timestamps and without, in pieces with their sums to be made and in one with sums made',
    async () => {
      expect(mirror.facts.method).toBe(best);
      const { id } = await mirror.subscribe({ port: ECHO });
      const fixture = `${import.meta.dirname}/../fixtures/every_size.py`;
      for (const isOffloaded of [1, 0]) {
        for (const timestamps of [1, 0]) {
          await network.run(network.beyond, `sysctl -qw net.ipv4.tcp_timestamps=${timestamps}`);
          await network.run(network.beyond, `python3 ${fixture} back ${isOffloaded} 10.99.0.1 ${ECHO}`);
          await compare(1);
        }
      }
      expect(await mirror.unsubscribe(id)).toMatchObject({ connections: 4n, losses: [] });
    },
    DEADLINE_MS,
  );
});

describe('much at once', () => {
  beforeEach(() => begin(), DEADLINE_MS);
  afterEach(end, DEADLINE_MS);

  test(
    '5,000 requests on 32 connections, both directions byte for byte',
    async () => {
      await mirror.subscribe({ port: HTTP, withAnswers: true, limitBytes: 64 << 20, connectionBytes: 4 << 20 });
      await network.run(network.beyond, `h2load --h1 -n 5000 -c 32 -t 1 http://10.99.0.1:${HTTP}/`);
      await compare(32, true);
    },
    DEADLINE_MS,
  );

  test(
    'at more than can be copied, what is delivered and what is told to be lost is what the target had',
    async () => {
      await mirror.subscribe({ port: HTTP, withAnswers: true });
      const url = `http://10.99.0.1:${HTTP}/size/1000000?[1-12]`;
      await Promise.all([1, 2, 3, 4].map(() => network.run(network.beyond, `curl -s -o /dev/null ${url}`)));
      for (let count = 0; count < 4; count += 1) {
        const truth = await account();
        const seen = await mirror.over(truth.peerPort);
        const lost = (isAnswer: boolean) =>
          seen.gaps.filter((gap) => gap.isAnswer === isAnswer).reduce((sum, { bytes }) => sum + Number(bytes), 0);
        expect([seen.bytes + lost(false), seen.answerBytes + lost(true)]).toEqual([truth.bytes, truth.outBytes]);
      }
    },
    DEADLINE_MS,
  );
});
