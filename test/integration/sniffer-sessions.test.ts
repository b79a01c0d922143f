// Sessions beside each other on one target: each has its own copy, its own limits and its own account of what is missing.

import { afterEach, beforeEach, expect, test } from 'vitest';
import type { HttpCondition } from '../../proto/gen/v1/incoming.ts';
import { type SocketAddress, Transport } from '../../proto/gen/v1/network.ts';
import { type Peer, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { Mirror, type RunningSniffer, type Seen, startSniffer } from './sniffer-harness.ts';
import { type SteeredClient, startClient } from './steered-client.ts';

const HTTP = 8080;
const ECHO = 9000;
const DEADLINE_MS = 60_000;

let network: TargetNetwork;
let server: Peer;
let sniffer: RunningSniffer;
let sessions: Mirror[] = [];
let clients: SteeredClient[] = [];

beforeEach(async () => {
  network = await startNetwork();
  server = await network.serve(network.target, [
    process.execPath,
    `${import.meta.dirname}/../fixtures/hash-server.mjs`,
    `${HTTP}`,
    `${ECHO}`,
  ]);
  sniffer = await startSniffer();
}, DEADLINE_MS);

afterEach(async () => {
  for (const session of sessions) session.end();
  sessions = [];
  for (const one of clients) await one[Symbol.asyncDispose]();
  clients = [];
  await sniffer?.[Symbol.asyncDispose]();
  await network?.[Symbol.asyncDispose]();
}, DEADLINE_MS);

async function open(): Promise<Mirror> {
  const session = await Mirror.open(sniffer, network.identity);
  sessions.push(session);
  return session;
}

async function client(): Promise<SteeredClient> {
  const started = await startClient(network, ECHO);
  clients.push(started);
  return started;
}

const seenOf = (session: Mirror, port: number): Promise<Seen> =>
  session.until(`connection of ${port}`, () => session.seen.find((one) => one.peerPort === port));

const peerPorts = (peers: readonly SocketAddress[]): number[] =>
  peers.map(({ address }) => (address?.$case === 'internet' ? address.value.port : 0)).sort();

test(
  'half-close, end and reset reach the session as they reach the target, one after the other',
  async () => {
    const session = await open();
    await session.subscribe({ port: ECHO });
    const one = await client();
    await one.tell('text hello');
    const seen = await seenOf(session, one.port);
    await session.until('the bytes', () => seen.text === 'hello\n');
    expect([seen.hasHalfClosed, seen.ended]).toEqual([false, null]);
    await one.tell('end');
    await session.until('the end', () => seen.hasHalfClosed && seen.ended !== null);
    expect(seen.endReason).toBe('END_REASON_CLOSED');
    const two = await client();
    await two.tell('text again');
    const other = await seenOf(session, two.port);
    await session.until('the bytes', () => other.text === 'again\n');
    await two.tell('reset');
    await session.until('the reset', () => other.ended !== null);
    expect([other.hasHalfClosed, other.endReason]).toEqual([false, 'END_REASON_PEER_RESET']);
  },
  DEADLINE_MS,
);

test(
  'a session that does not read loses its own copy and is told where; another has everything; the target does not wait',
  async () => {
    const [slow, quick] = [await open(), await open()];
    expect(sniffer.captures).toBe(1);
    slow.grants = false;
    await slow.subscribe({ port: ECHO, connectionBytes: 16 * 1024, limitBytes: 16 * 1024 });
    await quick.subscribe({ port: ECHO });
    const one = await client();
    const total = 20_000_000;
    for (let sent = 1_000_000; sent <= total; sent += 1_000_000) {
      await one.tell('send 1000000');
      await quick.until('its copy', () => quick.seen[0]?.bytes === sent);
    }
    await one.tell('end');
    const [, , bytes = '', sha256] = (await server.line('over')).split(' ');
    const whole = await quick.over(one.port);
    expect([whole.bytes, whole.sha256, whole.gaps]).toEqual([Number(bytes), sha256, []]);
    const cut = await seenOf(slow, one.port);
    await slow.until('what its credit allows', () => cut.bytes === 16 * 1024);
    slow.grants = true;
    slow.grantTo(cut, 16 * 1024);
    await slow.over(one.port);
    const lost = cut.gaps.reduce((sum, gap) => sum + Number(gap.bytes), 0);
    expect(lost).toBeGreaterThan(0);
    expect(cut.bytes + lost).toBe(total);
    expect(Number(cut.ended?.lostBytes)).toBe(lost);
    await slow.until('the losses', () => slow.losses.get('LOSS_REASON_CLIENT_SLOW')?.bytes === lost);
    expect(quick.losses.size).toBe(0);
  },
  DEADLINE_MS,
);

test(
  'a connection that one session has already is joined by the next one at its next request, and what came before is counted',
  async () => {
    const [first, second, answers] = [await open(), await open(), await open()];
    // `run` has no quotes: a program without a space.
    const program = (text: string) =>
      `s=__import__('socket').socket(2,2);s.bind(('',40000));s.sendto(b'${text}',('10.99.0.1',5353))`;
    const say = (text: string) => network.run(network.beyond, `python3 -c ${program(text)}`);
    await first.subscribe({ port: ECHO });
    await first.subscribe({ port: 5353, transport: Transport.TRANSPORT_UDP });
    const one = await client();
    await one.tell('text GET /1 HTTP/1.1');
    await say('one');
    await first.until('both', () => first.seen.length === 2 && first.seen.every(({ bytes }) => bytes > 0));
    for (const session of [second, answers]) {
      const { subscribed } = await session.subscribe({ port: ECHO, withAnswers: session === answers });
      expect(peerPorts(subscribed.olderPeers)).toEqual([one.port]);
    }
    await second.subscribe({ port: 5353, transport: Transport.TRANSPORT_UDP });
    await one.tell('text within');
    await second.until('the loss', () => second.losses.has('LOSS_REASON_OLDER'));
    await one.tell('text GET /2 HTTP/1.1');
    await say('two');
    await one.tell('end');
    const whole = await first.over(one.port);
    const joined = await second.over(one.port);
    expect([joined.text, joined.isOlder, joined.gaps]).toEqual(['GET /2 HTTP/1.1\n', true, []]);
    expect(whole.text).toBe(`GET /1 HTTP/1.1\nwithin\n${joined.text}`);
    await second.until('the datagram', () => second.seen.some(({ text }) => text === 'two'));
    expect(second.losses.get('LOSS_REASON_OLDER')).toEqual({ connections: 1, bytes: 'within\n'.length, packets: 0 });
    // Its answers were not captured from the beginning.
    const missed = { connections: 1, bytes: whole.bytes - 'GET /1 HTTP/1.1\n'.length, packets: 0 };
    await answers.until('the losses', () => answers.losses.get('LOSS_REASON_OLDER')?.bytes === missed.bytes);
    expect([answers.seen, answers.losses.get('LOSS_REASON_OLDER')]).toEqual([[], missed]);
  },
  DEADLINE_MS,
);

test(
  'after unsubscribing open connections go on and new ones do not come; the sum is the last word',
  async () => {
    const session = await open();
    const { id } = await session.subscribe({ port: ECHO });
    const one = await client();
    await one.tell('text before');
    const seen = await seenOf(session, one.port);
    await session.until('the bytes', () => seen.bytes === 7);
    const sum = session.unsubscribe(id);
    const two = await client();
    await two.tell('text unseen');
    await two.tell('end');
    await server.line('over');
    await one.tell('text after');
    await session.until('the bytes', () => seen.bytes === 13);
    await one.tell('end');
    expect(await sum).toMatchObject({ connections: 1n, bytes: 13n });
    expect(session.seen).toHaveLength(1);
  },
  DEADLINE_MS,
);

test(
  'a connection that the client resets ends at once, its bytes are no loss, and its next request is another connection',
  async () => {
    const session = await open();
    const { id } = await session.subscribe({ port: ECHO });
    const one = await client();
    await one.tell('text hello');
    const seen = await seenOf(session, one.port);
    await session.until('the bytes', () => seen.bytes === 6);
    session.reset(seen);
    await session.until('the end', () => seen.ended !== null);
    expect(seen.endReason).toBe('END_REASON_CLIENT_RESET');
    // Small enough to be on the wire before the next line is written: a request is recognised where a segment begins.
    await one.tell('send 1000');
    await one.tell('text GET /next HTTP/1.1');
    const next = await session.until('the next request', () => session.seen[1]);
    await one.tell('end');
    await server.line('over');
    expect(await session.unsubscribe(id)).toMatchObject({ connections: 2n, bytes: 25n, losses: [] });
    expect([next.peerPort, next.isOlder, next.text]).toEqual([one.port, true, 'GET /next HTTP/1.1\n']);
  },
  DEADLINE_MS,
);

const path = (value: string): HttpCondition => ({ condition: { $case: 'path', value } });
const header = (value: string): HttpCondition => ({ condition: { $case: 'header', value } });

test(
  'each session gets the requests that its filter wants, whole, on a connection of their own',
  async () => {
    const [orders, mine, all] = [await open(), await open(), await open()];
    const one = await orders.subscribe({ port: HTTP, filter: { conditions: [path('^/orders')], isAny: false } });
    const two = await mine.subscribe({ port: HTTP, filter: { conditions: [header('^x-user: me$')], isAny: false } });
    const three = await all.subscribe({ port: HTTP });
    const url = `http://10.99.0.1:${HTTP}`;
    await network.run(network.beyond, `curl -s ${url}/orders/1 ${url}/health ${url}/orders/2 -H x-user:you`);
    await network.run(network.beyond, `curl -s ${url}/other -H x-user:me --data-binary ${'b'.repeat(5_000)}`);
    await server.line('over');
    await server.line('over');
    expect(await orders.unsubscribe(one.id)).toMatchObject({ requests: 2n, notMatched: 2n, losses: [] });
    expect(await mine.unsubscribe(two.id)).toMatchObject({ requests: 1n, notMatched: 3n, losses: [] });
    expect(await all.unsubscribe(three.id)).toMatchObject({ connections: 2n });
    const lines = (session: Mirror) => session.seen.map((seen) => seen.text.match(/^(GET|POST) \S+/gm));
    expect(lines(orders)).toEqual([['GET /orders/1', 'GET /orders/2']]);
    expect(lines(mine)).toEqual([['POST /other']]);
    expect(mine.seen[0]?.bytes).toBeGreaterThan(5_000);
    expect(lines(all)).toEqual([['GET /orders/1', 'GET /health', 'GET /orders/2'], ['POST /other']]);
  },
  DEADLINE_MS,
);

test(
  'a filter by path alone is looked at in the kernel, and gives the same',
  async () => {
    const session = await open();
    const { id } = await session.subscribe({ port: HTTP, filter: { conditions: [path('^/orders')], isAny: false } });
    const url = `http://10.99.0.1:${HTTP}`;
    await network.run(network.beyond, `curl -s ${url}/health/[1-50] ${url}/orders/1 ${url}/health/51 ${url}/orders/2`);
    await server.line('over');
    expect(await session.unsubscribe(id)).toMatchObject({ requests: 2n, notMatched: 51n, losses: [] });
    const text = session.seen.map((seen) => seen.text.match(/^GET \S+/gm));
    expect(text).toEqual([['GET /orders/1', 'GET /orders/2']]);
  },
  DEADLINE_MS,
);

test(
  'wherever the borders of segments are, also behind requests that the kernel leaves out and their bodies, none is missed',
  async () => {
    const web = ['../fixtures/web-server.mjs', '../fixtures/split_requests.py'].map(
      (one) => `${import.meta.dirname}/${one}`,
    );
    await network.serve(network.target, [process.execPath, web[0] as string, '10.99.0.1:8090']);
    const session = await open();
    const filter = { isAny: false, conditions: [{ condition: { $case: 'path' as const, value: '^/wanted' } }] };
    const { id } = await session.subscribe({ port: 8090, filter });
    const asked = (await network.run(network.beyond, `python3 ${web[1]} 10.99.0.1 8090`)).trim().split('\n');
    const sum = await session.unsubscribe(id);
    const heard = session.seen.flatMap(({ text }) => [...text.matchAll(/^GET (\S+)/gm)].map(([, path]) => path));
    expect(heard.sort()).toEqual(asked.sort());
    expect(sum.losses).toEqual([]);
  },
  DEADLINE_MS,
);

test(
  'a sample takes its part of the connections and counts the others',
  async () => {
    const session = await open();
    const { id } = await session.subscribe({ port: HTTP, samplePerMillion: 500_000 });
    await network.run(network.beyond, `h2load --h1 -n 200 -c 200 -t 1 http://10.99.0.1:${HTTP}/`);
    for (let count = 0; count < 200; count += 1) await server.line('over');
    const { connections, notSampled } = await session.unsubscribe(id);
    expect(Number(connections + notSampled)).toBe(200);
    expect(Number(connections)).toBeGreaterThan(60);
    expect(Number(connections)).toBeLessThan(140);
  },
  DEADLINE_MS,
);

test(
  'connections beyond the limit are counted as lost, the others are whole',
  async () => {
    const session = await open();
    const { id } = await session.subscribe({ port: ECHO, maxConnections: 1 });
    const one = await client();
    await one.tell('text first');
    await seenOf(session, one.port);
    const two = await client();
    await two.tell('text second');
    await session.until('the loss', () => session.losses.get('LOSS_REASON_CONNECTION_LIMIT')?.connections === 1);
    await one.tell('end');
    expect(await session.unsubscribe(id)).toMatchObject({ connections: 1n, bytes: 6n });
  },
  DEADLINE_MS,
);

test(
  'older connections are counted, and joined where that is wanted',
  async () => {
    const one = await client();
    await one.tell('text from before');
    const [waiting, joining] = [await open(), await open()];
    const { id, subscribed } = await waiting.subscribe({ port: ECHO });
    expect(subscribed.olderConnections).toBe(1);
    await one.tell('text unseen');
    await waiting.until('the loss', () => waiting.losses.get('LOSS_REASON_OLDER')?.connections === 1);
    await joining.subscribe({ port: ECHO, withOlder: true });
    await one.tell('text seen');
    const seen = await seenOf(joining, one.port);
    await joining.until('the bytes', () => seen.text === 'seen\n');
    expect(seen.isOlder).toBe(true);
    expect(seen.gaps.map(({ bytes }) => bytes)).toEqual([0n]);
    expect(await waiting.unsubscribe(id)).toMatchObject({ connections: 0n });
  },
  DEADLINE_MS,
);

test(
  'older connections are named, and come again when they are made to, and nobody else is touched',
  async () => {
    const [one, two] = [await client(), await client()];
    await one.tell('text from before');
    await two.tell('text from before');
    const session = await open();
    const { id, subscribed } = await session.subscribe({ port: ECHO });
    expect(peerPorts(subscribed.olderPeers)).toEqual([one.port, two.port].sort());
    const later = await client();
    const renewed = await session.renew(id, 100);
    expect(renewed).toMatchObject({ connections: 2, failed: 0, reason: '' });
    expect(peerPorts(renewed.peers)).toEqual([one.port, two.port].sort());
    await later.tell('text seen');
    const seen = await seenOf(session, later.port);
    await session.until('the bytes', () => seen.text === 'seen\n');
    expect(await session.renew(id, 100)).toMatchObject({ connections: 0, failed: 0 });
  },
  DEADLINE_MS,
);

test(
  'what cannot be subscribed to is refused, and the session lives on',
  async () => {
    const session = await open();
    await expect(session.subscribe({ port: 0 })).rejects.toMatchObject({ code: 'PROTOCOL_VIOLATION' });
    await expect(session.subscribe({ port: 70_000 })).rejects.toMatchObject({ code: 'PROTOCOL_VIOLATION' });
    await expect(session.subscribe({ port: HTTP, mode: 2 })).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    await expect(
      session.subscribe({ port: HTTP, filter: { conditions: [header('(')], isAny: false } }),
    ).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    await session.subscribe({ port: HTTP });
  },
  DEADLINE_MS,
);

test(
  'a process that is not the one that was meant is refused',
  async () => {
    const { pid, startTimeTicks } = network.identity;
    const other = Mirror.open(sniffer, { pid, startTimeTicks: startTimeTicks + 1n });
    await expect(other).rejects.toMatchObject({ code: 'TARGET_GONE' });
    expect(sniffer.captures).toBe(0);
  },
  DEADLINE_MS,
);

test(
  'the end of the target ends its connections, and the capture goes with its last session',
  async () => {
    const [first, second] = [await open(), await open()];
    await first.subscribe({ port: ECHO });
    const one = await client();
    await one.tell('text hello');
    const seen = await seenOf(first, one.port);
    await network.target.stop();
    await first.until('the end', () => seen.ended !== null);
    expect(seen.endReason).toBe('END_REASON_TARGET_GONE');
    await expect(second.subscribe({ port: ECHO })).rejects.toMatchObject({ code: 'TARGET_GONE' });
  },
  DEADLINE_MS,
);
