import { afterEach, describe, expect, test } from 'vitest';
import { ERRNO } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import { Transport } from '#proto/gen/v1/network.ts';
import { type Address, fromSocketAddress } from '#proto/socket-address.ts';
import { WIRE_FLOW_CREDIT_BYTES, WIRE_LOCAL, WireError, WireKind, WireTransport } from '#proto/wire.ts';
import { decodeNetRequest } from '#proto/wire-net.ts';
import { at, dataOf, kindsOf, LOCAL, ScriptedNetwork } from '../testing/scripted-network.ts';
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

async function openConnected(creditBytes?: number) {
  const scripted = await open();
  scripted.connect(1n, PEER);
  const end = await scripted.end(0);
  scripted.connected(end, creditBytes);
  await scripted.reply(1n);
  return { scripted, end };
}

describe('a connect', () => {
  test('is answered with the addresses of the target when the dial has succeeded', async () => {
    const scripted = await open();
    scripted.connect(7n, PEER);
    const end = await scripted.end(0);
    expect(end.connect.transport).toBe(Transport.TRANSPORT_TCP);
    expect(fromSocketAddress(end.connect.peer)).toEqual(PEER);
    expect(scripted.replies.size).toBe(0);
    scripted.connected(end);
    expect(await scripted.reply(7n)).toEqual({ result: 0, addresses: [LOCAL, PEER] });
  });

  test.each([ERRNO.ECONNREFUSED, ERRNO.ETIMEDOUT, ERRNO.EHOSTUNREACH, ERRNO.ENETUNREACH])(
    'that fails there fails here by the same errno: %d',
    async (errno) => {
      const scripted = await open();
      scripted.connect(7n, PEER);
      scripted.refuse(await scripted.end(0), errno);
      expect(await scripted.reply(7n)).toEqual({ result: -errno, addresses: [] });
      expect(scripted.network.flows).toBe(0);
      expect(scripted.troubles).toEqual([]);
    },
  );

  test('that the agent does not permit is told to the user, once', async () => {
    const scripted = await open();
    const error = new AppError('NOT_PERMITTED', 'the agent keeps sessions from it', { errno: ERRNO.EACCES });
    for (const id of [1n, 2n]) {
      scripted.connect(id, PEER);
      scripted.reset(await scripted.end(Number(id) - 1), error);
      expect((await scripted.reply(id)).result).toBe(-ERRNO.EACCES);
    }
    expect(scripted.troubles.map(({ message }) => message)).toEqual([error.message]);
  });

  test.each([
    [{ where: 'local', rule: '' }, WIRE_LOCAL, [null]],
    [{ where: 'local', rule: '', localAddress: at('127.0.0.1', 9) }, WIRE_LOCAL, [at('127.0.0.1', 9)]],
    [{ where: 'refuse', rule: '', errno: ERRNO.EAFNOSUPPORT }, -ERRNO.EAFNOSUPPORT, []],
    [{ where: 'mock', rule: '' }, 0, [PEER, PEER]],
  ] as const)('is decided as %j', async (decision, result, addresses) => {
    const scripted = await open(() => decision);
    scripted.connect(3n, PEER);
    expect(await scripted.reply(3n)).toEqual({ result, addresses });
    await scripted.settled();
    expect(scripted.ends).toEqual([]);
  });

  test.each([
    [true, 1],
    [false, 0],
  ])('of a socket that does not block (%s) is told to dial before the target has answered', async (is, times) => {
    const scripted = await open();
    scripted.say(3n, {
      kind: WireKind.CONNECT,
      pid: 1,
      transport: WireTransport.TCP,
      isNonBlocking: is,
      peer: PEER,
    });
    const end = await scripted.end(0);
    expect(scripted.replies.size).toBe(0);
    expect(scripted.told.filter(({ kind }) => kind === WireKind.FLOW_DIALING)).toHaveLength(times);
    scripted.refuse(end, ERRNO.ECONNREFUSED);
    expect((await scripted.reply(3n)).result).toBe(-ERRNO.ECONNREFUSED);
  });

  test('whose names cannot be looked up fails and is told of', async () => {
    const scripted = await open(() =>
      Promise.reject(new AppError('SERVICE_UNAVAILABLE', 'needs db', { errno: ERRNO.EHOSTUNREACH })),
    );
    scripted.connect(3n, PEER);
    expect((await scripted.reply(3n)).result).toBe(-ERRNO.EHOSTUNREACH);
    expect(scripted.troubles).toHaveLength(1);
  });

  test('that nobody waits for any more is given up, before its place is known and after', async () => {
    let decided: (decision: OutgoingDecision) => void = () => {};
    const scripted = await open(
      () =>
        new Promise((resolve) => {
          decided = resolve;
        }),
    );
    scripted.connect(1n, PEER);
    scripted.cancel(1n);
    decided(REMOTE);
    expect((await scripted.reply(1n)).result).toBe(-ERRNO.EINTR);
    scripted.connect(2n, PEER);
    decided(REMOTE);
    const end = await scripted.end(0);
    scripted.cancel(2n);
    expect((await scripted.reply(2n)).result).toBe(-ERRNO.EINTR);
    await scripted.until(() => kindsOf(end).includes('RESET'));
    scripted.connected(end);
    await scripted.settled();
    expect(scripted.network.flows).toBe(0);
  });

  test('with an id that is in use breaks the protocol', async () => {
    const { scripted } = await openConnected();
    expect(() => scripted.connect(1n, PEER)).toThrow(WireError);
  });

  test('beyond the most flows is refused as by a full table', async () => {
    const scripted = await open();
    for (let id = 1n; id <= 4_097n; id += 1n) scripted.connect(id, PEER);
    expect((await scripted.reply(4_097n)).result).toBe(-ERRNO.EMFILE);
  });
});

describe('a stream', () => {
  test('carries bytes both ways, and ends when both directions have', async () => {
    const { scripted, end } = await openConnected();
    scripted.sayData(1n, Buffer.from('question'));
    await scripted.until(() => dataOf(end).toString() === 'question');
    scripted.say(1n, { kind: WireKind.FLOW_HALF_CLOSE });
    await scripted.until(() => kindsOf(end).includes('HALF_CLOSE'));
    scripted.sendData(end, Buffer.from('answer'));
    scripted.halfClose(end);
    await scripted.tells(1n, WireKind.FLOW_HALF_CLOSE);
    expect(scripted.bytesTold(1n).toString()).toBe('answer');
    expect(scripted.network.flows).toBe(0);
    expect(kindsOf(end)).toEqual(['DATA', 'HALF_CLOSE']);
  });

  test('that the target resets is reset by its errno', async () => {
    const { scripted, end } = await openConnected();
    scripted.refuse(end, ERRNO.ECONNRESET);
    const { kind, body } = await scripted.tells(1n, WireKind.FLOW_RESET);
    expect(decodeNetRequest(kind, body)).toEqual({ kind, errno: ERRNO.ECONNRESET });
    expect(scripted.network.flows).toBe(0);
  });

  test('that the local process resets is reset in the target, and late frames are no fault', async () => {
    const { scripted, end } = await openConnected();
    scripted.say(1n, { kind: WireKind.FLOW_RESET, errno: ERRNO.ECONNRESET });
    await scripted.until(() => kindsOf(end).includes('RESET'));
    scripted.sendData(end, Buffer.from('late'));
    scripted.halfClose(end);
    scripted.say(1n, { kind: WireKind.FLOW_CREDIT, bytes: 5 });
    scripted.sayData(1n, Buffer.from('late'));
    await scripted.settled();
    expect(scripted.session.lost).toBeNull();
    expect(scripted.told).toEqual([]);
  });

  test("sends no more than the agent's credit, and gives the supervisor its own back as it goes", async () => {
    const { scripted, end } = await openConnected(64 * 1024);
    const data = Buffer.alloc(WIRE_FLOW_CREDIT_BYTES, 1);
    for (let from = 0; from < data.length; from += 65_536) scripted.sayData(1n, data.subarray(from, from + 65_536));
    await scripted.until(() => dataOf(end).length === 64 * 1024);
    await scripted.settled();
    expect(dataOf(end)).toHaveLength(64 * 1024);
    expect(scripted.told).toEqual([]);
    scripted.grant(end, data.length);
    await scripted.until(() => dataOf(end).length === data.length);
    const credits = scripted.told.filter(({ kind }) => kind === WireKind.FLOW_CREDIT);
    const granted = credits.reduce((sum, { body }) => sum + body.readUInt32LE(0), 0);
    expect(granted).toBe(data.length);
    expect(credits).toHaveLength(4);
  });

  test('of which more is sent than was granted breaks the protocol', async () => {
    const { scripted } = await openConnected(64 * 1024);
    scripted.sayData(1n, Buffer.alloc(WIRE_FLOW_CREDIT_BYTES));
    expect(() => scripted.sayData(1n, Buffer.alloc(1))).toThrow(WireError);
  });

  test('grants the agent what the local process has read, and no more', async () => {
    const { scripted, end } = await openConnected();
    const piece = Buffer.alloc(65_536);
    for (let count = 0; count < 16; count += 1) scripted.sendData(end, piece);
    await scripted.until(() => scripted.bytesTold(1n).length === WIRE_FLOW_CREDIT_BYTES);
    await scripted.settled();
    expect(kindsOf(end)).not.toContain('CREDIT');
    scripted.say(1n, { kind: WireKind.FLOW_CREDIT, bytes: 256 * 1024 });
    await scripted.until(() => kindsOf(end).includes('CREDIT'));
    scripted.sendData(end, piece);
    await scripted.until(() => scripted.bytesTold(1n).length > WIRE_FLOW_CREDIT_BYTES);
  });

  test('of a small credit goes on while the supervisor takes it', async () => {
    const { scripted, end } = await openConnected(64 * 1024);
    for (let sent = 0; sent < 512 * 1024; sent += 16_384) {
      scripted.sendData(end, Buffer.alloc(16_384));
      await scripted.until(() => scripted.bytesTold(1n).length === sent + 16_384);
      await scripted.settled();
    }
    expect(kindsOf(end).filter((kind) => kind === 'CREDIT').length).toBeGreaterThan(7);
  });

  test('is not handed to a supervisor that does not take it: the session waits', async () => {
    const { scripted, end } = await openConnected();
    scripted.waitingBytes = 8 << 20;
    const other = scripted.connect.bind(scripted);
    other(2n, PEER);
    const second = await scripted.end(1);
    scripted.connected(second);
    for (const one of [end, second]) {
      for (let count = 0; count < 16; count += 1) scripted.sendData(one, Buffer.alloc(65_536));
    }
    await scripted.until(() => scripted.bytesTold(1n).length === 1 << 20);
    scripted.drain();
    await scripted.until(() => scripted.bytesTold(2n).length === 1 << 20);
  });

  test('of a unix socket is dialled by its path', async () => {
    const scripted = await open();
    const peer: Address = { kind: 'unix', path: Buffer.from('/run/app.sock') };
    scripted.connect(1n, peer, WireTransport.UNIX_STREAM);
    const end = await scripted.end(0);
    expect(end.connect.transport).toBe(Transport.TRANSPORT_UNIX_STREAM);
    expect(fromSocketAddress(end.connect.peer)).toEqual(peer);
  });

  test('of packets keeps their boundaries', async () => {
    const scripted = await open();
    scripted.connect(1n, { kind: 'unix', path: Buffer.from('\0seq') }, WireTransport.UNIX_SEQPACKET);
    const end = await scripted.end(0);
    scripted.connected(end, 512 * 1024);
    await scripted.reply(1n);
    for (const text of ['one', '', 'three']) scripted.sayData(1n, Buffer.from(text));
    await scripted.until(() => end.frames.length === 3);
    expect(end.frames.map(({ data }) => Buffer.from(data).toString())).toEqual(['one', '', 'three']);
  });
});

describe('when the agent is lost', () => {
  test('every flow is reset, dials fail, and later connects say that the network is down', async () => {
    const { scripted } = await openConnected();
    scripted.connect(2n, PEER);
    await scripted.end(1);
    scripted.agent.vanish();
    const { kind, body } = await scripted.tells(1n, WireKind.FLOW_RESET);
    expect(decodeNetRequest(kind, body)).toEqual({ kind, errno: ERRNO.ECONNRESET });
    expect((await scripted.reply(2n)).result).toBe(-ERRNO.ENETDOWN);
    scripted.connect(3n, PEER);
    expect((await scripted.reply(3n)).result).toBe(-ERRNO.ENETDOWN);
    scripted.say(4n, { kind: WireKind.UDP_OPEN, pid: 1, family: 4 });
    expect((await scripted.reply(4n)).result).toBe(-ERRNO.ENETDOWN);
    expect(scripted.network.flows).toBe(0);
  });
});
