import dgram from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { ERRNO } from '#proto/errno.ts';
import { formatIp, internet } from '#proto/socket-address.ts';
import { WireKind, WireTransport } from '#proto/wire.ts';
import { decodeNetRequest, readDatagram } from '#proto/wire-net.ts';
import type { Config } from '../config/schema/root.ts';
import { type AgentEnd, at, ScriptedNetwork } from '../testing/scripted-network.ts';
import { DnsCache } from './dns-cache.ts';
import { DnsFilter } from './dns-filter.ts';
import { buildAnswer, buildQuery, type DnsQuery, readAnswer, readQuery, withId } from './dns-message.ts';
import { DnsRelay } from './dns-relay.ts';
import { prefixed } from './dns-stream.ts';
import { LocalResolver } from './local-resolver.ts';
import { NameMemory } from './name-memory.ts';
import type { StreamTap } from './stream-tap.ts';
import { Uplink } from './uplink.ts';

const SERVER = at('10.96.0.10', 53);
const A = 1;
const ip = (last: number) => Buffer.of(10, 0, 0, last);

interface Opened {
  scripted: ScriptedNetwork;
  relay: DnsRelay;
  memory: NameMemory;
  tick(ms: number): void;
}

let opened: Opened[] = [];
let cleanups: (() => void)[] = [];

afterEach(async () => {
  for (const { scripted, relay } of opened) {
    scripted.network.close();
    relay.close();
    await scripted.session.close();
  }
  for (const cleanup of cleanups) cleanup();
  opened = [];
  cleanups = [];
});

async function open(localNames: string[] = [], local = new LocalResolver({ servers: [] })): Promise<Opened> {
  let nowMs = 0;
  let relay: DnsRelay | null = null;
  const memory = new NameMemory();
  const settings = {
    outgoing: { filter: null },
    dns: { enabled: true, filter: localNames.length === 0 ? null : { side: 'local', entries: localNames } },
  } as unknown as Config['feature']['network'];
  const scripted = await ScriptedNetwork.open((session) => {
    relay = new DnsRelay({
      session,
      uplink: new Uplink(session),
      filter: new DnsFilter(settings, []),
      memory,
      cache: new DnsCache(() => nowMs),
      local,
      now: () => nowMs,
    });
    return { policy: { decide: () => ({ where: 'remote', rule: '' }) }, resolver: relay };
  });
  const one = { scripted, relay: relay as unknown as DnsRelay, memory, tick: (ms: number) => (nowMs += ms) };
  opened.push(one);
  return one;
}

/** A socket of the local process that is connected to the name server. */
async function openSocket({ scripted }: Opened, id: bigint) {
  scripted.connect(id, SERVER, WireTransport.UDP);
  expect((await scripted.reply(id)).result).toBe(0);
  const answers = () =>
    scripted.told
      .filter((frame) => frame.id === id && frame.kind === WireKind.FLOW_DATA)
      .map(({ body }) => readDatagram(body).data);
  return {
    ask: (query: Buffer) => scripted.sayDatagram(id, null, query),
    answer: async (count = 1) => {
      await scripted.until(() => answers().length >= count);
      return answers()[count - 1] as Buffer;
    },
    answers,
  };
}

const query = (id: number, name: string, type = A) => buildQuery(id, name, type) as Buffer;

function reply(asked: Buffer, addresses: Buffer[], ttl = 30, rcode = 0): Buffer {
  return buildAnswer(asked, readQuery(asked) as DnsQuery, addresses, ttl, rcode);
}

const asked = (end: AgentEnd, index: number): Buffer =>
  index === 0 ? end.firstData : Buffer.from(end.frames[index - 1]?.data ?? []);

describe('a name of the target', () => {
  test('is asked at its name server and answered byte for byte, with the first datagram in the dial', async () => {
    const one = await open();
    const socket = await openSocket(one, 1n);
    socket.ask(query(0x1234, 'db.example'));
    const end = await one.scripted.end(0);
    expect(readQuery(end.firstData)).toMatchObject({ name: 'db.example', type: A });
    one.scripted.connected(end);
    const answer = reply(end.firstData, [ip(5), ip(6)]);
    one.scripted.sendData(end, answer);
    expect((await socket.answer()).equals(withId(answer, 0x1234))).toBe(true);
    expect(one.memory.isAddressOf('db.example', ip(6))).toBe(true);
  });

  test('of both families is asked for without waiting for the socket in the target', async () => {
    const one = await open();
    const socket = await openSocket(one, 1n);
    socket.ask(query(1, 'db.example'));
    socket.ask(query(2, 'db.example', 28));
    const end = await one.scripted.end(0);
    await one.scripted.until(() => end.frames.length === 1);
    expect([0, 1].map((index) => readQuery(asked(end, index))?.type)).toEqual([A, 28]);
    one.scripted.connected(end);
    one.scripted.sendData(end, reply(asked(end, 1), []));
    expect(readAnswer(await socket.answer())?.id).toBe(2);
  });

  test('is asked once within its time, by every socket of the local process', async () => {
    const one = await open();
    const first = await openSocket(one, 1n);
    first.ask(query(1, 'db.example'));
    const end = await one.scripted.end(0);
    one.scripted.connected(end);
    one.scripted.sendData(end, reply(end.firstData, [ip(5)]));
    await first.answer();
    one.tick(10_000);
    const second = await openSocket(one, 2n);
    second.ask(query(2, 'DB.Example'));
    const cached = await second.answer();
    expect(readAnswer(cached)).toMatchObject({ id: 2, ttlSeconds: 20 });
    expect(cached.includes('Example')).toBe(true);
    one.tick(20_000);
    second.ask(query(3, 'db.example'));
    await one.scripted.until(() => end.frames.length === 1);
  });

  test('that is asked for twice at once goes out once, and is answered twice', async () => {
    const one = await open();
    const [first, second] = [await openSocket(one, 1n), await openSocket(one, 2n)];
    first.ask(query(1, 'db.example'));
    second.ask(query(2, 'db.EXAMPLE'));
    const end = await one.scripted.end(0);
    one.scripted.connected(end);
    one.scripted.sendData(end, reply(end.firstData, [ip(5)]));
    expect(readAnswer(await first.answer())?.id).toBe(1);
    const other = await second.answer();
    expect(readAnswer(other)?.id).toBe(2);
    expect(other.includes('EXAMPLE')).toBe(true);
    await one.scripted.settled();
    expect(end.frames).toEqual([]);
  });

  test('that nobody answers stays unanswered, and is sent again when it is asked for again', async () => {
    const one = await open();
    const socket = await openSocket(one, 1n);
    socket.ask(query(1, 'db.example'));
    const end = await one.scripted.end(0);
    one.scripted.connected(end);
    one.tick(1_500);
    socket.ask(query(1, 'db.example'));
    await one.scripted.until(() => end.frames.length === 1);
    one.tick(3_500);
    socket.ask(query(1, 'db.example'));
    const another = await one.scripted.end(1);
    expect(readQuery(another.firstData)?.name).toBe('db.example');
    expect(socket.answers()).toEqual([]);
  });

  test('that does not exist is answered so, and not kept without a SOA', async () => {
    const one = await open();
    const socket = await openSocket(one, 1n);
    socket.ask(query(1, 'no.example'));
    const end = await one.scripted.end(0);
    one.scripted.connected(end);
    one.scripted.sendData(end, reply(end.firstData, [], 0, 3));
    expect(readAnswer(await socket.answer())?.rcode).toBe(3);
    socket.ask(query(2, 'no.example'));
    await one.scripted.until(() => end.frames.length === 1);
    expect(one.memory.isAddressOf('no.example', ip(1))).toBe(false);
  });

  test('is not believed of an answer to another question, or under another id', async () => {
    const one = await open();
    const socket = await openSocket(one, 1n);
    socket.ask(query(1, 'db.example'));
    const end = await one.scripted.end(0);
    one.scripted.connected(end);
    const id = end.firstData.readUInt16BE(0);
    one.scripted.sendData(end, reply(withId(query(0, 'evil.example'), id), [ip(66)]));
    one.scripted.sendData(end, reply(withId(end.firstData, id ^ 1), [ip(67)]));
    one.scripted.sendData(end, Buffer.of(1));
    one.scripted.sendData(end, reply(end.firstData, [ip(5)]));
    expect(readAnswer(await socket.answer())?.addresses.map(formatIp)).toEqual(['10.0.0.5']);
    await one.scripted.settled();
    expect(socket.answers()).toHaveLength(1);
  });

  test('whose server refuses is told of on the socket that asked', async () => {
    const one = await open();
    const socket = await openSocket(one, 1n);
    socket.ask(query(1, 'db.example'));
    const end = await one.scripted.end(0);
    one.scripted.connected(end);
    one.scripted.report(end, ERRNO.ECONNREFUSED);
    const { kind, body } = await one.scripted.tells(1n, WireKind.FLOW_RESET);
    expect(decodeNetRequest(kind, body)).toEqual({ kind, errno: ERRNO.ECONNREFUSED });
  });

  test('truncated, and with EDNS, passes as it is and is not kept', async () => {
    const one = await open();
    const socket = await openSocket(one, 1n);
    const edns = Buffer.concat([
      query(9, 'big.example', 16),
      Buffer.from('0000290 4d0 0000 0000 0000'.replace(/ /g, ''), 'hex'),
    ]);
    edns.writeUInt16BE(1, 10);
    socket.ask(edns);
    const end = await one.scripted.end(0);
    expect(withId(end.firstData, 9).equals(edns)).toBe(true);
    one.scripted.connected(end);
    const answer = Buffer.from(reply(end.firstData, []));
    answer.writeUInt16BE(answer.readUInt16BE(2) | 0x0200, 2);
    one.scripted.sendData(end, answer);
    expect((await socket.answer()).equals(withId(answer, 9))).toBe(true);
    socket.ask(edns);
    await one.scripted.until(() => end.frames.length === 1);
  });

  test('asked for from an unconnected socket is answered with the address of the server', async () => {
    const one = await open();
    const { scripted } = one;
    scripted.say(1n, { kind: WireKind.UDP_OPEN, pid: 1, family: 4 });
    scripted.say(2n, { kind: WireKind.UDP_PEER, flow: 1n, peer: SERVER });
    await scripted.reply(2n);
    scripted.sayDatagram(1n, SERVER, query(5, 'db.example'));
    const end = await scripted.end(0);
    scripted.connected(end);
    scripted.sendData(end, reply(end.firstData, [ip(5)]));
    const { body } = await scripted.tells(1n, WireKind.FLOW_DATA);
    expect(readDatagram(body).peer).toEqual(SERVER);
    expect(readAnswer(readDatagram(body).data)?.id).toBe(5);
  });

  test('asked for over TCP is remembered, whatever the pieces of the stream', async () => {
    const one = await open();
    const { scripted } = one;
    scripted.connect(1n, SERVER);
    const end = await scripted.end(0);
    scripted.connected(end);
    await scripted.reply(1n);
    const answer = reply(query(1, 'big.example'), [ip(9)]);
    const stream = Buffer.concat([Buffer.of(answer.length >> 8, answer.length & 255), answer]);
    for (const byte of stream) scripted.sendData(end, Buffer.of(byte));
    await scripted.until(() => scripted.bytesTold(1n).equals(stream));
    expect(one.memory.isAddressOf('big.example', ip(9))).toBe(true);
  });

  test('can be looked up for a filter', async () => {
    const one = await open();
    const found = one.relay.lookup('db.example', SERVER);
    const end = await one.scripted.end(0);
    one.scripted.connected(end);
    await one.scripted.until(() => end.frames.length === 1);
    for (const index of [0, 1]) {
      const question = asked(end, index);
      one.scripted.sendData(end, reply(question, readQuery(question)?.type === A ? [ip(5)] : []));
    }
    expect((await found).map(formatIp)).toEqual(['10.0.0.5']);
  });

  test('that is no DNS at all still finds its asker', async () => {
    const one = await open();
    const socket = await openSocket(one, 1n);
    socket.ask(Buffer.from('xy something else'));
    const end = await one.scripted.end(0);
    one.scripted.connected(end);
    one.scripted.sendData(end, Buffer.concat([end.firstData.subarray(0, 2), Buffer.from('answer')]));
    expect((await socket.answer()).toString()).toBe('xyanswer');
  });
});

describe('a name that stays here', () => {
  async function startServer(answerWith: (asked: Buffer) => Buffer | null) {
    const server = dgram.createSocket('udp4');
    const seen: string[] = [];
    server.on('message', (data, from) => {
      seen.push(readQuery(data)?.name ?? '');
      const answer = answerWith(data);
      if (answer !== null) server.send(answer, from.port, from.address);
    });
    server.bind(0, '127.0.0.1');
    await once(server, 'listening');
    cleanups.push(() => server.close());
    return { address: internet(Buffer.of(127, 0, 0, 1), server.address().port), seen };
  }

  function hostsFile(text: string): string {
    const folder = mkdtempSync(join(tmpdir(), 'mirrord-hosts-'));
    cleanups.push(() => rmSync(folder, { recursive: true }));
    writeFileSync(join(folder, 'hosts'), text);
    return join(folder, 'hosts');
  }

  test("is asked at this machine's name server, and others are not", async () => {
    const { address, seen } = await startServer((data) => reply(data, [ip(9)]));
    const one = await open(['here.example'], new LocalResolver({ servers: [address], hostsFile: hostsFile('') }));
    const socket = await openSocket(one, 1n);
    socket.ask(query(7, 'Here.Example'));
    expect(readAnswer(await socket.answer())).toMatchObject({ id: 7, name: 'here.example' });
    socket.ask(query(8, 'there.example'));
    expect(readQuery((await one.scripted.end(0)).firstData)?.name).toBe('there.example');
    expect(seen).toEqual(['here.example']);
    expect(one.memory.remoteNameOf(ip(9))).toBeNull();
    expect(one.memory.isAddressOf('here.example', ip(9))).toBe(true);
  });

  test('is found in its hosts file first', async () => {
    const local = new LocalResolver({
      servers: [],
      hostsFile: hostsFile('10.0.0.8 here.example alias\n::1 here.example'),
    });
    const one = await open(['here.example'], local);
    const socket = await openSocket(one, 1n);
    socket.ask(query(1, 'here.example'));
    expect(readAnswer(await socket.answer())?.addresses.map(formatIp)).toEqual(['10.0.0.8']);
    socket.ask(query(2, 'here.example', 28));
    expect(readAnswer(await socket.answer(2))?.addresses.map(formatIp)).toEqual(['::1']);
  });

  test('is answered here over TCP too, and its question never reaches the target', async () => {
    const local = new LocalResolver({ servers: [], hostsFile: hostsFile('10.0.0.8 here.example') });
    const one = await open(['here.example'], local);
    const stream = one.relay.tap(SERVER) as StreamTap;
    const answered = new Promise<Buffer>((resolve) => stream.attach(resolve));
    const there = prefixed(query(2, 'there.example'));
    const both = Buffer.concat([prefixed(query(1, 'here.example')), there]);
    expect(Buffer.concat([stream.up(both.subarray(0, 9)), stream.up(both.subarray(9))])).toEqual(there);
    expect(readAnswer((await answered).subarray(2))?.addresses.map(formatIp)).toEqual(['10.0.0.8']);
    const answer = prefixed(reply(query(2, 'there.example'), [ip(3)]));
    expect(stream.down(answer.subarray(0, 5)).length).toBe(0);
    expect(Buffer.from(stream.down(answer.subarray(5)))).toEqual(answer);
    expect(one.memory.isAddressOf('there.example', ip(3))).toBe(true);
  });

  test('goes to the next server when one is silent, and to nobody when all are', async () => {
    const silent = await startServer(() => null);
    const second = await startServer((data) => reply(data, [ip(4)]));
    const hosts = hostsFile('');
    const resolver = (servers: ReturnType<typeof internet>[]) =>
      new LocalResolver({ servers, hostsFile: hosts, serverDeadlineMs: 50 });
    const question = query(1, 'here.example');
    const parsed = readQuery(question) as DnsQuery;
    const answer = await resolver([silent.address, second.address]).ask(question, parsed);
    expect(readAnswer(answer as Buffer)?.addresses.map(formatIp)).toEqual(['10.0.0.4']);
    expect(await resolver([silent.address]).ask(question, parsed)).toBeNull();
  });
});
