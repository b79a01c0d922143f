import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ERRNO } from '../../proto/errno.ts';
import { Transport } from '../../proto/gen/v1/network.ts';
import { DEFAULT_LIMITS } from '../../services/agent/outgoing/outgoing.ts';
import { can } from '../can.ts';
import { BEYOND, BEYOND_V6, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import {
  type ClientConnection,
  internet,
  OutgoingClient,
  openOutgoing,
  type TestOutgoing,
} from '../fixtures/outgoing-client.ts';

const transport = Transport.TRANSPORT_UDP;
const AF_INET = 2;
const AF_INET6 = 10;

describe.skipIf(!can.root.yes)(`datagrams from the target's network ${can.root.why}`, () => {
  let network: TargetNetwork;
  let agent: TestOutgoing;
  let client: OutgoingClient;

  beforeAll(async () => {
    network = await startNetwork();
    agent = openOutgoing();
    await network.servePeer(network.beyond, BEYOND, BEYOND_V6);
    client = new OutgoingClient(agent.outgoing, network.identity);
  });

  afterAll(async () => {
    await agent?.[Symbol.asyncDispose]();
    await network?.[Symbol.asyncDispose]();
  });

  async function echo(socket: ClientConnection, data: Buffer, to?: ReturnType<typeof internet>) {
    const before = socket.frames.length;
    await socket.send(data, to);
    await client.until(() => socket.frames.length > before || socket.reset !== null);
    return socket.frames[before];
  }

  test('sizes from nothing to the largest keep their boundaries on a connected socket', async () => {
    const socket = await client.connect({ transport, to: internet(BEYOND, 7001) });
    expect(socket.connected?.peer).toEqual(internet(BEYOND, 7001));
    expect(JSON.stringify(socket.connected?.local)).toContain('10,99,0,1');
    for (const size of [0, 1, 511, 1_472, 1_473, 9_000, 65_506, 65_507]) {
      const data = Buffer.alloc(size, size & 0xff);
      const back = await echo(socket, data);
      expect(back?.data.equals(data), `${size} bytes`).toBe(true);
      expect(back?.from).toBeUndefined();
    }
    socket.abort();
  });

  test('what is sent right behind the dial is sent in order', async () => {
    const socket = client.open({ transport, to: internet(BEYOND, 7001), firstBytes: Buffer.from('one') });
    socket.sendUnasked(Buffer.from('two'));
    socket.sendUnasked(Buffer.from('three'));
    await client.until(() => socket.frames.length === 3);
    expect(socket.frames.map(({ data }) => data.toString())).toEqual(['one', 'two', 'three']);
    socket.abort();
  });

  test('one byte more than a datagram holds is EMSGSIZE, and the socket lives on', async () => {
    const socket = await client.connect({ transport, to: internet(BEYOND, 7001) });
    await socket.send(Buffer.alloc(65_508));
    await client.until(() => socket.errors.length > 0);
    expect(socket.errors[0]?.errno).toBe(ERRNO.EMSGSIZE);
    expect((await echo(socket, Buffer.from('after')))?.data.toString()).toBe('after');
    socket.abort();
  });

  test('one socket talks with several peers, each answer bears its source', async () => {
    const socket = await client.connect({ transport, family: AF_INET });
    for (const port of [7001, 7002, 7003, 7001]) {
      const back = await echo(socket, Buffer.from(`to ${port}`), internet(BEYOND, port));
      expect([back?.data.toString(), back?.from]).toEqual([`to ${port}`, internet(BEYOND, port)]);
    }
    socket.abort();
  });

  test('an IPv6 socket reaches peers of both families', async () => {
    const socket = await client.connect({ transport, family: AF_INET6 });
    for (const to of [internet(BEYOND_V6, 7001), internet(BEYOND, 7001)]) {
      expect((await echo(socket, Buffer.from('x'), to))?.from).toEqual(to);
    }
    socket.abort();
  });

  test('500 datagrams in flight come back whole', async () => {
    const socket = await client.connect({ transport, to: internet(BEYOND, 7001) });
    for (let at = 0; at < 500; at += 50) {
      for (let k = 0; k < 50; k += 1) await socket.send(Buffer.from(`datagram ${at + k}`));
      await client.until(() => socket.frames.length === at + 50);
    }
    const texts = socket.frames.map(({ data }) => data.toString());
    expect(new Set(texts).size).toBe(500);
    socket.abort();
  });

  test('a port that nobody has is ECONNREFUSED, told while the socket lives on', async () => {
    const socket = await client.connect({ transport, to: internet(BEYOND, 9) });
    await socket.send(Buffer.from('x'));
    await client.until(() => socket.errors.length > 0);
    expect(socket.errors[0]).toMatchObject({ code: 'CONNECTION_FAILED', errno: ERRNO.ECONNREFUSED });
    await socket.send(Buffer.from('y'));
    await client.until(() => socket.errors.length > 1);
    expect(socket.reset).toBeNull();
    socket.abort();
  });

  test('datagrams for a client that stopped are dropped, and others flow', async () => {
    const stopped = await client.connect({ transport, to: internet(BEYOND, 7001) });
    stopped.isStopped = true;
    const credit = stopped.connected?.creditBytes ?? 0;
    for (let sent = 0; sent < credit * 3; sent += 60_000) {
      await stopped.send(Buffer.alloc(60_000));
      await client.until(() => stopped.sendableBytes >= 60_000);
    }
    const other = await client.connect({ transport, to: internet(BEYOND, 7002) });
    expect((await echo(other, Buffer.from('flows')))?.data.toString()).toBe('flows');
    expect(stopped.receivedBytes).toBeLessThanOrEqual(credit);
    stopped.abort();
    other.abort();
  });

  test('a socket that is silent for its time ends', async () => {
    await using impatient = openOutgoing({ limits: { ...DEFAULT_LIMITS, datagramIdleMs: 60 } });
    const short = new OutgoingClient(impatient.outgoing, network.identity);
    const socket = await short.connect({ transport, to: internet(BEYOND, 7001) });
    expect(await socket.failed()).toMatchObject({ code: 'DEADLINE_EXCEEDED', errno: ERRNO.ETIMEDOUT });
    await short.session.close();
  });
});
