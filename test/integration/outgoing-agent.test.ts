import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ERRNO } from '../../proto/errno.ts';
import { makeFrame } from '../../proto/frame.ts';
import { FrameKind } from '../../proto/gen/v1/frame.ts';
import { can } from '../can.ts';
import { BEYOND, BEYOND_V6, type Peer, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { internet, OutgoingClient, openOutgoing, type TestOutgoing } from '../fixtures/outgoing-client.ts';

describe.skipIf(!can.root.yes)(`tcp from the target's network ${can.root.why}`, () => {
  let network: TargetNetwork;
  let agent: TestOutgoing;
  let client: OutgoingClient;
  let peer: Peer;

  beforeAll(async () => {
    network = await startNetwork();
    agent = openOutgoing();
    peer = await network.servePeer(network.beyond, BEYOND, BEYOND_V6);
    client = new OutgoingClient(agent.outgoing, network.identity);
  });

  afterAll(async () => {
    await agent?.[Symbol.asyncDispose]();
    await network?.[Symbol.asyncDispose]();
  });

  const dial = (port: number, address = BEYOND) => client.connect({ to: internet(address, port) });

  test.each([
    [BEYOND, '10.99.0.1'],
    [BEYOND_V6, 'fd99::1'],
    [`::ffff:${BEYOND}`, '10.99.0.1'],
  ])('%s is reached from %s, and both ends say so', async (address, own) => {
    const connection = await dial(7001, address);
    const { local, peer: remote } = connection.connected ?? {};
    expect(remote).toEqual(internet(address, 7001));
    const port = local?.address?.$case === 'internet' ? local.address.value.port : 0;
    expect(port).toBeGreaterThan(0);
    expect(local).toEqual(internet(own, port));
    await connection.send(Buffer.from('hello'));
    expect((await connection.bytes(5)).toString()).toBe('hello');
    connection.halfClose();
    await connection.ended();
  });

  test('the first bytes travel with the dial', async () => {
    const connection = await client.connect({ to: internet(BEYOND, 7001), firstBytes: Buffer.from('at once') });
    expect((await connection.bytes(7)).toString()).toBe('at once');
    connection.abort();
  });

  test('the peer may end its direction and still be written to', async () => {
    const connection = await dial(7002);
    await connection.ended();
    expect(connection.data.toString()).toBe('all I have');
    await connection.send(Buffer.alloc(100_000));
    connection.halfClose();
    expect(await peer.line('after-end')).toBe('after-end 100000');
  });

  test('the client may end its direction and still be answered', async () => {
    const connection = await dial(7007);
    await connection.send(Buffer.alloc(200_000));
    connection.halfClose();
    await connection.ended();
    expect(connection.data.toString()).toBe('200000');
  });

  test('an end asked for while dialling comes after the first bytes', async () => {
    const connection = client.open({ to: internet(BEYOND, 7007), firstBytes: Buffer.alloc(1_000) });
    connection.halfClose();
    await connection.ended();
    expect(connection.data.toString()).toBe('1000');
  });

  test('RST of the peer is RESET with ECONNRESET', async () => {
    const connection = await dial(7003);
    await connection.send(Buffer.from('x'));
    const error = await connection.failed();
    expect([error.code, error.errno]).toEqual(['CONNECTION_FAILED', ERRNO.ECONNRESET]);
  });

  test('RESET of the client is RST at the peer, an end is FIN', async () => {
    const first = await dial(7006);
    first.abort();
    expect(await peer.line('ended')).toBe('ended ECONNRESET');
    const second = await dial(7006);
    second.halfClose();
    expect(await peer.line('ended')).toBe('ended FIN');
    await second.ended();
  });

  test('bytes beyond the credit reset the connection, not the session', async () => {
    const connection = await dial(7004);
    for (let sent = 0; sent <= 1024 * 1024; sent += 64 * 1024) connection.sendUnasked(Buffer.alloc(64 * 1024));
    // The kernel takes some, and credit comes back for it.
    while (connection.reset === null) {
      for (let count = 0; count < 32; count += 1) connection.sendUnasked(Buffer.alloc(64 * 1024));
      await client.until(() => true);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(connection.reset.code).toBe('PROTOCOL_VIOLATION');
    const other = await dial(7001);
    other.abort();
  });

  test('an id of the agent, and an id in use, are refused', async () => {
    const connection = await dial(7001);
    const connect = (id: number) => client.session.handle(makeFrame(id, FrameKind.FRAME_KIND_CONNECT));
    expect(() => connect(2)).toThrow(/not opened by the client/);
    expect(() => connect(connection.id)).toThrow(/already open/);
    connection.abort();
  });
});
