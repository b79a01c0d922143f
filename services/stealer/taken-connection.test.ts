import { expect, test } from 'vitest';
import { type Frame, makeFrame } from '#proto/frame.ts';
import { ErrorDetail } from '#proto/gen/v1/error.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { LocalEnd, Subscribe } from '#proto/gen/v1/incoming.ts';
import { Transport } from '#proto/gen/v1/network.ts';
import { Subscription } from './subscription.ts';
import { TakenConnection } from './taken-connection.ts';

const PEER = {
  peer: Buffer.from([10, 0, 0, 1]),
  peerPort: 1,
  local: Buffer.from([10, 0, 0, 2]),
  localPort: 80,
  tls: null,
};

const wantedBy = (sent: Frame[], resets: string[]) => {
  const owner = { sessionId: 's', take: () => taken, lose: () => {}, heardMs: 0, has: () => true };
  const subscription = new Subscription(1, owner, {
    ...Subscribe.decode(new Uint8Array()),
    transport: Transport.TRANSPORT_TCP,
    port: 80,
  });
  const taken: TakenConnection = new TakenConnection({
    id: 4,
    subscription,
    peer: PEER,
    send: (frame) => sent.push(frame),
    onReset: (why) => resets.push(why),
    onEnded: () => undefined,
  });
  return taken;
};

test.each([
  [111, 'the local process of the session that took this request was not reached (ECONNREFUSED)'],
  [98, 'the local process of the session that took this request was not reached (EADDRINUSE)'],
  [0, 'the local process that took this request closed the connection before its answer'],
])('a client that resets it with errno %d has said why', (errno, why) => {
  const resets: string[] = [];
  const taken = wantedBy([], resets);
  const head = ErrorDetail.encode({ code: 0, errno, message: 'a secret' }).finish();
  taken.receive(makeFrame(4, FrameKind.FRAME_KIND_RESET, errno === 0 ? undefined : head));
  expect([taken.whyOver, resets]).toEqual([why, [why]]);
});

test.each([
  [undefined, 'perhaps'],
  [LocalEnd.encode({ bytes: 5n }).finish(), 'not reached'],
  [LocalEnd.encode({ bytes: 6n }).finish(), 'perhaps'],
])('a client that ends it has said whether the last request came to the local process', (head, localEnd) => {
  const taken = wantedBy([], []);
  taken.write(Buffer.alloc(5));
  taken.beginRequest();
  taken.write(Buffer.alloc(7));
  expect(taken.localEnd).toBeUndefined();
  taken.receive(makeFrame(4, FrameKind.FRAME_KIND_HALF_CLOSE, head));
  expect(taken.localEnd).toBe(localEnd);
});

test('short connections that nobody grants on do not use up what their port may have in flight', () => {
  const owner = { sessionId: 's', take: () => taken, lose: () => {}, heardMs: 0, has: () => true };
  const limits = { connectionBytes: 16 * 1024, limitBytes: 16 * 1024 };
  const wanted = { ...Subscribe.decode(new Uint8Array()), transport: Transport.TRANSPORT_TCP, port: 80, ...limits };
  const subscription = new Subscription(1, owner, wanted);
  const sent: Frame[] = [];
  const reliefs: boolean[] = [];
  let taken: TakenConnection;
  const take = (id: number) => {
    taken = new TakenConnection({
      id,
      subscription,
      peer: PEER,
      send: (frame) => sent.push(frame),
      onReset: () => undefined,
      onEnded: (isRelief) => reliefs.push(isRelief),
    });
    return taken;
  };
  for (let nth = 1; nth <= 100; nth++) {
    const one = take(4 * nth);
    expect(one.write(Buffer.alloc(16 * 1024))).toBe(true);
    one.destroy();
  }
  expect(subscription.availableBytes).toBe(16 * 1024);
  expect(sent.filter(({ kind }) => kind === FrameKind.FRAME_KIND_ENDED)).toHaveLength(100);
  expect(new Set(reliefs)).toEqual(new Set([true]));
});
