import { afterEach, describe, expect, test } from 'vitest';
import { ERRNO } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import { type Address, fromSocketAddress } from '#proto/socket-address.ts';
import { WIRE_LOCAL, WireError, WireKind, WireTransport } from '#proto/wire.ts';
import { decodeNetRequest, readDatagram } from '#proto/wire-net.ts';
import { at, dataOf, kindsOf, LOCAL, peerOf, ScriptedNetwork } from '../testing/scripted-network.ts';
import type { OutgoingDecision } from './outgoing-filter.ts';

const PEER = at('10.99.0.2', 5432);
const REMOTE: OutgoingDecision = { where: 'remote', rule: 'test' };

let opened: ScriptedNetwork[] = [];

afterEach(async () => {
  for (const one of opened) {
    one.network.close();
    expect(one.network.flows).toBe(0);
    await one.session.close();
  }
  opened = [];
});

async function open(decide: (peer: Address) => OutgoingDecision | Promise<OutgoingDecision> = () => REMOTE) {
  const scripted = await ScriptedNetwork.open(() => ({ policy: { decide }, resolver: null }));
  opened.push(scripted);
  return scripted;
}

describe('a connected datagram socket', () => {
  async function openDatagram() {
    const scripted = await open();
    scripted.connect(1n, PEER, WireTransport.UDP);
    scripted.connected(await scripted.end(0));
    expect(await scripted.reply(1n)).toEqual({ result: 0, addresses: [LOCAL, PEER] });
    return scripted;
  }

  test('waits for the target the first time, to know whether there is a route', async () => {
    const scripted = await open();
    for (const id of [1n, 2n]) {
      scripted.connect(id, at('fd99::2', 80), WireTransport.UDP);
      if (id === 1n) scripted.refuse(await scripted.end(0), ERRNO.ENETUNREACH);
      expect((await scripted.reply(id)).result).toBe(-ERRNO.ENETUNREACH);
    }
    expect(scripted.ends).toHaveLength(1);
  });

  test.each([
    ['0.0.0.0', '127.0.0.1'],
    ['::', '::1'],
  ])('of %s is one of the target itself, at %s', async (asked, reached) => {
    const scripted = await open();
    scripted.connect(1n, at(asked, 80), WireTransport.UDP);
    const end = await scripted.end(0);
    expect(fromSocketAddress(end.connect.peer)).toEqual(at(reached, 80));
    scripted.connected(end);
    expect((await scripted.reply(1n)).addresses[1]).toEqual(at(reached, 80));
  });

  test('costs nothing later until something is sent, whatever is asked of its address', async () => {
    const scripted = await openDatagram();
    scripted.connect(2n, at('10.99.0.3', 80), WireTransport.UDP);
    expect((await scripted.reply(2n)).result).toBe(0);
    scripted.say(3n, { kind: WireKind.FLOW_ADDRESS, flow: 2n });
    const { addresses } = await scripted.reply(3n);
    expect(addresses[0]).toMatchObject({ ip: LOCAL.ip });
    await scripted.settled();
    expect(scripted.ends).toHaveLength(1);
    scripted.sayDatagram(2n, null, Buffer.from('first'));
    expect((await scripted.end(1)).firstData.toString()).toBe('first');
  });

  test('keeps the boundaries of datagrams, empty ones too', async () => {
    const scripted = await openDatagram();
    const end = await scripted.end(0);
    for (const text of ['one', '', 'three']) scripted.sayDatagram(1n, null, Buffer.from(text));
    await scripted.until(() => end.frames.length === 3);
    expect(end.frames.map(({ data }) => Buffer.from(data).toString())).toEqual(['one', '', 'three']);
    for (const text of ['four', '', 'six']) scripted.sendData(end, Buffer.from(text));
    await scripted.until(() => scripted.told.length === 3);
    expect(scripted.told.map(({ body }) => readDatagram(body).data.toString())).toEqual(['four', '', 'six']);
    expect(scripted.told.map(({ body }) => readDatagram(body).peer)).toEqual([null, null, null]);
  });

  test('carries more than any credit without being granted any', async () => {
    const scripted = await openDatagram();
    const end = await scripted.end(0);
    const large = Buffer.alloc(65_507, 7);
    for (let count = 1; count <= 40; count += 1) {
      scripted.sendData(end, large);
      await scripted.until(() => scripted.told.length === count);
      scripted.sayDatagram(1n, null, large);
      await scripted.until(() => dataOf(end).length >= large.length * Math.min(count, 15));
      scripted.grant(end, large.length);
    }
    expect(scripted.network.lostDatagrams).toBe(0);
  });

  test('hears what the target was told of its peer', async () => {
    const scripted = await openDatagram();
    scripted.report(await scripted.end(0), ERRNO.ECONNREFUSED);
    const { kind, body } = await scripted.tells(1n, WireKind.FLOW_RESET);
    expect(decodeNetRequest(kind, body)).toEqual({ kind, errno: ERRNO.ECONNREFUSED });
    expect(scripted.network.flows).toBe(0);
  });

  test('opens another socket in the target when the first has idled away', async () => {
    const scripted = await openDatagram();
    scripted.reset(await scripted.end(0), new AppError('DEADLINE_EXCEEDED', 'idle', { errno: ERRNO.ETIMEDOUT }));
    await scripted.settled();
    expect(scripted.told).toEqual([]);
    scripted.sayDatagram(1n, null, Buffer.from('again'));
    expect((await scripted.end(1)).firstData.toString()).toBe('again');
  });

  test('that is closed at once has sent what it was given', async () => {
    const scripted = await openDatagram();
    scripted.connect(2n, PEER, WireTransport.UDP);
    await scripted.reply(2n);
    scripted.sayDatagram(2n, null, Buffer.from('one'));
    scripted.sayDatagram(2n, null, Buffer.from('two'));
    scripted.say(2n, { kind: WireKind.FLOW_RESET, errno: 0 });
    const end = await scripted.end(1);
    expect(end.firstData.toString()).toBe('one');
    scripted.connected(end);
    await scripted.until(() => kindsOf(end).includes('HALF_CLOSE'));
    expect(dataOf(end).toString()).toBe('two');
    scripted.halfClose(end);
    await scripted.settled();
    expect(scripted.network.flows).toBe(1);
  });

  test('to what the agent does not permit is refused', async () => {
    const scripted = await open();
    scripted.connect(1n, at('169.254.169.254', 80), WireTransport.UDP);
    scripted.reset(await scripted.end(0), new AppError('NOT_PERMITTED', 'metadata', { errno: ERRNO.EACCES }));
    expect((await scripted.reply(1n)).result).toBe(-ERRNO.EACCES);
    expect(scripted.troubles).toHaveLength(1);
  });
});

describe('an unconnected datagram socket', () => {
  async function openUnconnected(decide?: (peer: Address) => OutgoingDecision) {
    const scripted = await open(decide);
    scripted.say(1n, { kind: WireKind.UDP_OPEN, pid: 1, family: 4 });
    expect(await scripted.reply(1n)).toEqual({ result: 0, addresses: [null, null] });
    return scripted;
  }

  test('sends to several peers and hears from each by its address', async () => {
    const scripted = await openUnconnected();
    const peers = [at('10.99.0.2', 1), at('10.99.0.3', 2)];
    for (const [index, peer] of peers.entries()) {
      scripted.say(BigInt(10 + index), { kind: WireKind.UDP_PEER, flow: 1n, peer });
      expect((await scripted.reply(BigInt(10 + index))).result).toBe(0);
      scripted.sayDatagram(1n, peer, Buffer.from(`to ${index}`));
    }
    const end = await scripted.end(0);
    expect([end.connect.peer, end.connect.family]).toEqual([undefined, 2]);
    scripted.connected(end);
    await scripted.until(() => end.frames.length === 2);
    expect(end.frames.map(peerOf)).toEqual(peers);
    scripted.sendData(end, Buffer.from('hello'), peers[1]);
    const { body } = await scripted.tells(1n, WireKind.FLOW_DATA);
    expect(readDatagram(body)).toEqual({ peer: peers[1], data: Buffer.from('hello') });
    expect(scripted.ends).toHaveLength(1);
  });

  test('is told which peers are of this machine', async () => {
    const scripted = await openUnconnected(() => ({ where: 'local', rule: '' }));
    scripted.say(2n, { kind: WireKind.UDP_PEER, flow: 1n, peer: PEER });
    expect(await scripted.reply(2n)).toEqual({ result: WIRE_LOCAL, addresses: [null] });
  });

  test('sends nothing to a peer that was not asked about', async () => {
    const scripted = await openUnconnected();
    scripted.sayDatagram(1n, PEER, Buffer.from('x'));
    await scripted.settled();
    expect(scripted.ends).toEqual([]);
    expect(scripted.network.lostDatagrams).toBe(1);
  });

  test('lives on when a peer is unreachable', async () => {
    const scripted = await openUnconnected();
    scripted.say(2n, { kind: WireKind.UDP_PEER, flow: 1n, peer: PEER });
    await scripted.reply(2n);
    scripted.sayDatagram(1n, PEER, Buffer.from('x'));
    const end = await scripted.end(0);
    scripted.connected(end);
    scripted.report(end, ERRNO.ECONNREFUSED);
    await scripted.settled();
    expect(scripted.told).toEqual([]);
    scripted.sayDatagram(1n, PEER, Buffer.from('y'));
    await scripted.until(() => dataOf(end).toString() === 'xy');
  });

  test('without a peer in its datagram breaks the protocol', async () => {
    const scripted = await openUnconnected();
    expect(() => scripted.sayDatagram(1n, null, Buffer.from('x'))).toThrow(WireError);
  });
});
