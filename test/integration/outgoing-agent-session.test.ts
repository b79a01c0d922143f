import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ERRNO } from '#proto/errno.ts';
import { fromErrorDetail } from '#proto/errors.ts';
import { makeFrame } from '#proto/frame.ts';
import { ErrorDetail } from '#proto/gen/v1/error.ts';
import { Credit, FrameKind } from '#proto/gen/v1/frame.ts';
import { Connect, Connected, Transport } from '#proto/gen/v1/network.ts';
import { can } from '../can.ts';
import { BEYOND, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { internet } from '../fixtures/outgoing-client.ts';
import { type Agent, openSession, startAgent, type TestSession } from './agent-harness.ts';

describe.skipIf(!can.root.yes || !can.nats.yes)(`a session with network ${can.root.why}${can.nats.why}`, () => {
  let network: TargetNetwork;
  let agent: Agent;

  beforeAll(async () => {
    network = await startNetwork();
    await network.servePeer(network.beyond, BEYOND);
    // The bundles as they are shipped.
    agent = await startAgent(path.join(import.meta.dirname, '../../dist'), {
      MIRRORD_OUTGOING_ALLOW: '169.254.169.254:80',
    });
  });

  afterAll(async () => {
    expect(await agent?.stop()).toBe(0);
    await network?.[Symbol.asyncDispose]();
  });

  const open = async (wantsNetwork = true): Promise<TestSession> => {
    const opening = { wantsEnvironment: false, wantsFiles: false, wantsNetwork };
    const target = { target: { $case: 'pid', value: network.target.pid } } as const;
    const session = await openSession(agent, { opening, target });
    await session.next();
    return session;
  };

  const connect = (session: TestSession, id: number, port: number, address = BEYOND) => {
    const to = internet(address, port);
    const head = Connect.encode({ transport: Transport.TRANSPORT_TCP, peer: to, family: 0, deadlineMs: 0 }).finish();
    session.stream.send(makeFrame(id, FrameKind.FRAME_KIND_CONNECT, head));
  };

  test('reaches what only the target reaches, and closes in order', async () => {
    const session = await open();
    connect(session, 1, 7001);
    const connected = await session.next();
    expect([connected.id, connected.kind]).toEqual([1, FrameKind.FRAME_KIND_CONNECTED]);
    expect(Connected.decode(connected.head).peer).toEqual(internet(BEYOND, 7001));
    session.stream.send(makeFrame(1, FrameKind.FRAME_KIND_DATA, undefined, Buffer.from('hello')));
    const echo = await session.next();
    expect([echo.kind, Buffer.from(echo.data).toString()]).toEqual([FrameKind.FRAME_KIND_DATA, 'hello']);
    await session.close();
  });

  test('20 MB come through, and are asked for by credit', async () => {
    const session = await open();
    connect(session, 1, 7005);
    await session.next();
    let bytes = 0;
    while (bytes < 20_000_000) {
      const { data } = await session.next();
      bytes += data.length;
      const head = Credit.encode({ bytes: data.length }).finish();
      session.stream.send(makeFrame(1, FrameKind.FRAME_KIND_CREDIT, head));
    }
    session.stream.send(makeFrame(1, FrameKind.FRAME_KIND_RESET));
    await session.close();
  });

  test('a dial that fails is RESET with the errno, a grant of the settings holds', async () => {
    const session = await open();
    for (const [id, address, port, errno] of [
      [1, BEYOND, 9, ERRNO.ECONNREFUSED],
      [3, '169.254.169.254', 81, ERRNO.EACCES],
      [5, '169.254.169.254', 80, ERRNO.ENETUNREACH],
    ] as const) {
      connect(session, id, port, address);
      const reset = await session.next();
      expect([reset.id, reset.kind]).toEqual([id, FrameKind.FRAME_KIND_RESET]);
      expect(fromErrorDetail(ErrorDetail.decode(reset.head)).errno).toBe(errno);
    }
    await session.close();
  });

  test('without network there is none', async () => {
    const session = await open(false);
    connect(session, 1, 7001);
    const reset = await session.next();
    expect(reset.kind).toBe(FrameKind.FRAME_KIND_RESET);
    expect(fromErrorDetail(ErrorDetail.decode(reset.head)).code).toBe('UNSUPPORTED');
    await session.close();
  });
});
