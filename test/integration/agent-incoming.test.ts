import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Frame, makeFrame } from '#proto/frame.ts';
import { ErrorDetail } from '#proto/gen/v1/error.ts';
import { Credit, FrameKind } from '#proto/gen/v1/frame.ts';
import { Arrived, Counters, Ended, EndReason, IncomingMode, Subscribe, Subscribed } from '#proto/gen/v1/incoming.ts';
import { Transport } from '#proto/gen/v1/network.ts';
import { SessionEvent } from '#proto/gen/v1/session.ts';
import { type Agent, buildBundles, openSession, startAgent, type TestSession } from './agent-harness.ts';

const K = FrameKind;
let bundles: Awaited<ReturnType<typeof buildBundles>>;
let agent: Agent;
beforeAll(async () => {
  bundles = await buildBundles();
  agent = await startAgent(bundles.directory, { MIRRORD_SERVICES_WHEN_WANTED: 'sniffer,stealer' });
});
afterAll(async () => {
  expect(await agent.stop()).toBe(0);
  bundles.dispose();
});

async function open(wantsIncoming = true): Promise<TestSession> {
  const session = await openSession(agent, { opening: { wantsEnvironment: false, wantsFiles: false, wantsIncoming } });
  expect((await session.next()).kind).toBe(K.FRAME_KIND_SESSION_OPENED);
  return session;
}

function subscribe(
  session: TestSession,
  id: number,
  port: number,
  mode: IncomingMode = IncomingMode.INCOMING_MODE_MIRROR,
) {
  const nothing = Subscribe.decode(new Uint8Array());
  const head = Subscribe.encode({ ...nothing, mode, transport: Transport.TRANSPORT_TCP, port }).finish();
  session.stream.send(makeFrame(id, K.FRAME_KIND_SUBSCRIBE, head));
}

const take = async (session: TestSession, count: number): Promise<Frame[]> => {
  const frames: Frame[] = [];
  for (let nth = 0; nth < count; nth++) frames.push(await session.next());
  return frames;
};

describe('the way to the sniffer', () => {
  test('is opened when somebody wants it, and passes everything on', async () => {
    expect([...agent.children().keys()]).not.toContain('sniffer');
    const session = await open();
    expect([...agent.children().keys()]).not.toContain('sniffer');
    subscribe(session, 1, 80);
    const [subscribed, arrived, data] = (await take(session, 3)) as [Frame, Frame, Frame];
    expect([...agent.children().keys()]).toContain('sniffer');
    expect(Subscribed.decode(subscribed.head).notes).toEqual([`process ${process.pid}`]);
    expect([subscribed.id, arrived.id, data.id]).toEqual([1, 2, 2]);
    expect(Arrived.decode(arrived.head).subscription).toBe(1);
    expect([String(arrived.data), String(data.data)]).toEqual(['first', 'second']);
    session.stream.send(makeFrame(2, K.FRAME_KIND_RESET));
    const ended = await session.next();
    expect([ended.id, Ended.decode(ended.head).reason]).toEqual([2, EndReason.END_REASON_CLIENT_RESET]);
    session.stream.send(makeFrame(1, K.FRAME_KIND_UNSUBSCRIBE));
    const last = await session.next();
    expect([last.kind, Counters.decode(last.head).connections]).toEqual([K.FRAME_KIND_UNSUBSCRIBED, 1n]);
    session.stream.send(makeFrame(1, K.FRAME_KIND_UNSUBSCRIBE));
    subscribe(session, 3, 81);
    const refused = await session.next();
    expect([refused.id, ErrorDetail.decode(refused.head).message]).toEqual([3, 'port 81 is not for you']);
    await session.close();
  });

  test('is found again when the sniffer was killed, and what was subscribed is told to it anew', async () => {
    const session = await open();
    subscribe(session, 1, 83);
    await take(session, 3);
    const granted = Credit.encode({ bytes: 1 }).finish();
    session.stream.send(makeFrame(2, K.FRAME_KIND_CREDIT, granted));
    const [ended, lost, ...after] = (await take(session, 4)) as [Frame, Frame, Frame, Frame];
    expect([ended.id, Ended.decode(ended.head).reason]).toEqual([2, EndReason.END_REASON_SERVICE_LOST]);
    expect(SessionEvent.decode(lost.head).event).toMatchObject({ $case: 'serviceLost', value: { service: 'sniffer' } });
    const [back, again] = after.sort((a, b) => a.id - b.id) as [Frame, Frame];
    expect(SessionEvent.decode(back.head).event).toMatchObject({
      $case: 'serviceBack',
      value: { service: 'sniffer', filesLost: [] },
    });
    expect([again.id, Subscribed.decode(again.head).olderConnections]).toEqual([1, 99]);
    await session.close();
  });
});

describe('a subscription', () => {
  test('is refused where there is nobody to serve it', async () => {
    const session = await open();
    subscribe(session, 1, 80, IncomingMode.INCOMING_MODE_STEAL);
    const refused = ErrorDetail.decode((await session.next()).head);
    expect(refused.message).toBe('this build has no stealer');
    subscribe(session, 3, 80, IncomingMode.INCOMING_MODE_UNSPECIFIED);
    expect((await session.next()).kind).toBe(K.FRAME_KIND_ERROR);
    await session.close();
    const other = await open(false);
    subscribe(other, 1, 80);
    expect(ErrorDetail.decode((await other.next()).head).message).toContain('without incoming traffic');
    await other.close();
  });

  test('of an id that is not free breaks the protocol', async () => {
    const session = await open();
    subscribe(session, 2, 80);
    expect(await session.closed).toMatchObject({ code: 'PROTOCOL_VIOLATION' });
  });
});
