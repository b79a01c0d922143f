// Whatever is missing of a mirror is counted: what was delivered and what was told to be lost is, byte for byte, what the target
// received, also when the sniffer stands still and under a million requests.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { can, canRun } from '../can.ts';
import { type Peer, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { Mirror, type RunningSniffer, type Seen, startSniffer } from '../integration/sniffer-harness.ts';
import { type SnifferProcess, startSnifferProcess } from '../integration/sniffer-process.ts';
import { type SteeredClient, startClient } from '../integration/steered-client.ts';
import { buildWire, canWire, lay, tcpCount } from './wire.ts';

const machine = [canWire, can.nats, canRun('h2load')].find(({ yes }) => !yes) ?? canWire;
const HTTP = 8080;
const ECHO = 9000;
const RING_FULL = 1;
const RATE_LIMIT = 6;
const REQUESTS = 1_000_000;
const CONNECTIONS = 64;

describe.skipIf(!machine.yes)(`what a mirror loses ${machine.why}`, () => {
  let network: TargetNetwork;
  let server: Peer;
  let sniffer: RunningSniffer | SnifferProcess | null = null;
  let mirror: Mirror | null = null;
  let client: SteeredClient | null = null;

  beforeEach(async () => {
    buildWire();
    network = await startNetwork();
    const program = path.join(import.meta.dirname, '../fixtures/hash-server.mjs');
    server = await network.serve(network.target, [process.execPath, program, `${HTTP}`, `${ECHO}`]);
  });

  afterEach(async () => {
    mirror?.end();
    mirror = null;
    await client?.[Symbol.asyncDispose]();
    client = null;
    await sniffer?.[Symbol.asyncDispose]();
    sniffer = null;
    await network?.[Symbol.asyncDispose]();
  });

  const lostOf = (seen: Seen) => seen.gaps.reduce((sum, { bytes }) => sum + Number(bytes), 0);
  const bytesOf = (losses: readonly { bytes: bigint }[]) => losses.reduce((sum, { bytes }) => sum + Number(bytes), 0);

  test('while the sniffer stands still the ring overflows: the gap is what was sent and did not arrive', async () => {
    const stopped = await startSnifferProcess({ MIRRORD_SNIFFER_RING_BYTES: `${1 << 20}` });
    sniffer = stopped;
    mirror = await Mirror.open(stopped, network.identity);
    const { id } = await mirror.subscribe({ port: ECHO });
    client = await startClient(network, ECHO);
    await client.tell('text before');
    const seen = await mirror.until('its bytes', () => mirror?.seen.find(({ text }) => text === 'before\n'));
    process.kill(stopped.pid, 'SIGSTOP');
    await client.tell('send 20000000');
    await client.heard(20_000_007);
    process.kill(stopped.pid, 'SIGCONT');
    // Until there is room again.
    await mirror.until('the loss', () => mirror?.losses.has('LOSS_REASON_RING_FULL'));
    await client.tell('text after');
    await client.tell('end');
    const [, , bytes] = (await server.line('over')).split(' ');
    await mirror.over(client.port);
    const lost = lostOf(seen);
    expect(lost).toBeGreaterThan(10_000_000);
    expect(seen.bytes + lost).toBe(Number(bytes));
    expect(new Set(seen.gaps.map(({ reason }) => reason))).toEqual(new Set([RING_FULL]));
    expect(Number(seen.ended?.lostBytes)).toBe(lost);
    const { losses } = await mirror.unsubscribe(id);
    expect(losses).toMatchObject([{ reason: RING_FULL, connections: 1n, bytes: BigInt(lost) }]);
    expect(losses[0]?.packets).toBeGreaterThan(0n);
  });

  /** h2load's, with what it says; all of them are answered. */
  async function load(requests: number, connections: number, paths: readonly string[] = ['/']): Promise<void> {
    const words = `--h1 -n ${requests} -c ${connections} -t 1`;
    const urls = paths.map((one) => `http://10.99.0.1:${HTTP}${one}`).join(' ');
    const said = await network.run(network.beyond, `h2load ${words} ${urls}`);
    expect(said).toContain(`${requests} succeeded, 0 failed`);
  }

  /** What the target says that it got, of so many connections. */
  async function received(connections: number): Promise<number> {
    let bytes = 0;
    for (let count = 0; count < connections; count += 1) bytes += Number((await server.line('over')).split(' ')[2]);
    return bytes;
  }

  const arrivedOf = (one: Mirror) => one.seen.reduce((sum, { bytes }) => sum + bytes, 0);

  test('of connections that begin and end while it stands still every byte is delivered, or told to be lost', async () => {
    const stopped = await startSnifferProcess({ MIRRORD_SNIFFER_RING_BYTES: `${1 << 20}` });
    sniffer = stopped;
    mirror = await Mirror.open(stopped, network.identity);
    const { id } = await mirror.subscribe({ port: HTTP });
    await load(1_000, 8);
    process.kill(stopped.pid, 'SIGSTOP');
    // The ring takes the first of them; others begin and end without a trace in it.
    for (let count = 0; count < 4; count += 1) await load(5_000, CONNECTIONS);
    process.kill(stopped.pid, 'SIGCONT');
    const sent = await received(8 + 4 * CONNECTIONS);
    const { losses, connections } = await mirror.unsubscribe(id);
    expect(losses.map(({ reason }) => reason)).toEqual([RING_FULL]);
    expect(arrivedOf(mirror) + bytesOf(losses)).toBe(sent);
    expect(bytesOf(losses)).toBeGreaterThan(sent / 4);
    expect(Number(connections)).toBeLessThan(8 + 4 * CONNECTIONS);
    // A second subscription is not told what the first has lost.
    const again = await mirror.subscribe({ port: HTTP });
    await load(1_000, 8);
    const rest = await received(8);
    const sum = await mirror.unsubscribe(again.id);
    expect(Number(sum.bytes) + bytesOf(sum.losses)).toBe(rest);
  });

  test('behind a filter by path what is sent was left out, is delivered, or told to be lost', async () => {
    const stopped = await startSnifferProcess({ MIRRORD_SNIFFER_RING_BYTES: `${1 << 20}` });
    sniffer = stopped;
    mirror = await Mirror.open(stopped, network.identity);
    const filter = { conditions: [{ condition: { $case: 'path' as const, value: '^/wanted' } }], isAny: false };
    const { id } = await mirror.subscribe({ port: HTTP, filter, connectionBytes: 16 << 20, limitBytes: 64 << 20 });
    // Of one length.
    const paths = ['/wanted', '/health', '/orders', '/prices'];
    const [rounds, requests] = [6, 10_000];
    const calm = 1;
    for (let count = 0; count < rounds; count += 1) {
      if (count === calm) process.kill(stopped.pid, 'SIGSTOP');
      await load(requests, CONNECTIONS, paths);
    }
    process.kill(stopped.pid, 'SIGCONT');
    const sent = await received(rounds * CONNECTIONS);
    const sum = await mirror.unsubscribe(id);
    const leftOut = (Number(sum.notMatched) * sent) / (rounds * requests);
    expect(sum.losses.map(({ reason }) => reason)).toEqual([RING_FULL]);
    expect(arrivedOf(mirror) + leftOut + bytesOf(sum.losses)).toBe(sent);
    expect(Number(sum.requests)).toBeGreaterThan((calm * requests) / paths.length);
    expect(Number(sum.notMatched)).toBeGreaterThan(requests);
    expect(bytesOf(sum.losses)).toBeGreaterThan(sent / 20);
    expect(mirror.seen.every(({ text }) => /^(?:GET \/wanted |$)/.test(text))).toBe(true);
  });

  test('what is sent again is lost once at most', async () => {
    const stopped = await startSnifferProcess({ MIRRORD_SNIFFER_RING_BYTES: `${1 << 20}` });
    sniffer = stopped;
    mirror = await Mirror.open(stopped, network.identity);
    const { id } = await mirror.subscribe({ port: HTTP });
    // Where an answer gets lost, what it acknowledges is sent again.
    await lay(network, { 'peer in': 'lose' });
    await load(1_000, 8);
    process.kill(stopped.pid, 'SIGSTOP');
    for (let count = 0; count < 2; count += 1) await load(10_000, CONNECTIONS);
    process.kill(stopped.pid, 'SIGCONT');
    const sent = await received(8 + 2 * CONNECTIONS);
    const { losses } = await mirror.unsubscribe(id);
    expect(losses.map(({ reason }) => reason)).toEqual([RING_FULL]);
    expect(arrivedOf(mirror) + bytesOf(losses)).toBe(sent);
    expect(await tcpCount(network, network.target, 'TCPDSACKOldSent')).toBeGreaterThan(10);
  });

  test('of a sniffer that gets what others leave of one core every byte is delivered, or told to be lost', async () => {
    const env = { MIRRORD_SNIFFER_RING_BYTES: `${1 << 20}` };
    const starved = await startSnifferProcess(env, ['taskset', '-c', '0']);
    sniffer = starved;
    mirror = await Mirror.open(starved, network.identity);
    const { id } = await mirror.subscribe({ port: HTTP });
    const busy = [1, 2].map(() => spawn('taskset', ['-c', '0', 'sh', '-c', 'while :; do :; done']));
    const ended = busy.map((one) => once(one, 'exit'));
    try {
      for (let count = 0; count < 4; count += 1) await load(10_000, CONNECTIONS);
    } finally {
      for (const one of busy) one.kill('SIGKILL');
      await Promise.all(ended);
    }
    const sent = await received(4 * CONNECTIONS);
    const { losses } = await mirror.unsubscribe(id);
    expect(losses.every(({ reason }) => reason === RING_FULL)).toBe(true);
    expect(arrivedOf(mirror) + bytesOf(losses)).toBe(sent);
  });

  test('beyond the rate at which bulk is copied the gap is what was sent and did not arrive', async () => {
    sniffer = await startSniffer({ bulkBytesPerSecond: 1 << 20 });
    mirror = await Mirror.open(sniffer, network.identity);
    const { id } = await mirror.subscribe({ port: ECHO });
    client = await startClient(network, ECHO);
    await client.tell('send 20000000');
    await client.heard(20_000_000);
    await client.tell('text after');
    await client.tell('end');
    const [, , bytes] = (await server.line('over')).split(' ');
    const seen = await mirror.over(client.port);
    const lost = lostOf(seen);
    expect(lost).toBeGreaterThan(1_000_000);
    expect(seen.bytes + lost).toBe(Number(bytes));
    expect(seen.gaps.every(({ reason }) => reason === RATE_LIMIT)).toBe(true);
    const { losses } = await mirror.unsubscribe(id);
    expect(losses).toMatchObject([{ reason: RATE_LIMIT, bytes: BigInt(lost) }]);
  });

  test('of a million small requests every byte is delivered, or told to be lost', { timeout: 900_000 }, async () => {
    sniffer = await startSniffer();
    mirror = await Mirror.open(sniffer, network.identity);
    const { id } = await mirror.subscribe({ port: HTTP, connectionBytes: 16 << 20, limitBytes: 64 << 20 });
    await load(REQUESTS, CONNECTIONS);
    let missing = 0;
    for (let count = 0; count < CONNECTIONS; count += 1) {
      const [, port, bytes, sha256] = (await server.line('over')).split(' ');
      const seen = await mirror.over(Number(port));
      const lost = lostOf(seen);
      expect(seen.bytes + lost).toBe(Number(bytes));
      if (lost === 0) expect(seen.sha256).toBe(sha256);
      missing += lost;
    }
    const sum = await mirror.unsubscribe(id);
    expect(sum.connections).toBe(BigInt(CONNECTIONS));
    expect(bytesOf(sum.losses)).toBe(missing);
  });
});
