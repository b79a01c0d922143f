import { expect, test } from 'vitest';
import { Counters, LossReason } from '#proto/gen/v1/incoming.ts';
import { internet, toSocketAddress } from '#proto/socket-address.ts';
import { Counts } from './counts.ts';
import type { FlowAddresses } from './events.ts';
import { endedFlows, LostEnds } from './lost-ends.ts';
import { RingLosses } from './ring-losses.ts';
import type { Subscription } from './subscription.ts';

const RING_FULL = LossReason.LOSS_REASON_RING_FULL;
const subscription = () => ({ counts: new Counts() }) as Subscription;
const lossesOf = ({ counts }: Subscription) =>
  Counters.decode(counts.encode()).losses.map(({ connections, bytes, packets }) =>
    [connections, bytes, packets].map(Number),
  );

test('bytes that no gap tells of are told where connections began or ended unseen', () => {
  const losses = new RingLosses();
  const one = subscription();
  losses.begin(one, { packets: 5, connections: 1, bytes: 500, leftOut: 0 });
  losses.gap(300, RING_FULL);
  losses.gap(9_999, LossReason.LOSS_REASON_RATE_LIMIT);
  losses.count({ packets: 15, connections: 3, bytes: 1_500, leftOut: 0 });
  losses.end(one);
  expect(lossesOf(one)).toEqual([[2, 700, 10]]);
});

test('requests that the kernel left out while somebody was there did not match, whoever was there before', () => {
  const losses = new RingLosses();
  const [one, two] = [subscription(), subscription()];
  const none = { packets: 0, connections: 0, bytes: 0 };
  losses.begin(one, { ...none, leftOut: 100 });
  losses.count({ ...none, leftOut: 130 });
  losses.begin(two, { ...none, leftOut: 140 });
  losses.count({ ...none, leftOut: 145 });
  losses.end(one);
  losses.end(two);
  expect([one.counts.notMatched, two.counts.notMatched]).toEqual([45, 5]);
  expect([lossesOf(one), lossesOf(two)]).toEqual([[], []]);
});

test('where all was seen from beginning to end gaps tell everything: what was sent twice is no loss', () => {
  const losses = new RingLosses();
  const [one, two] = [subscription(), subscription()];
  losses.begin(one, { packets: 0, connections: 0, bytes: 0, leftOut: 0 });
  losses.gap(300, RING_FULL);
  losses.count({ packets: 3, connections: 0, bytes: 400, leftOut: 0 });
  losses.begin(two, { packets: 3, connections: 0, bytes: 400, leftOut: 0 });
  losses.end(one);
  losses.loseEnd();
  losses.count({ packets: 5, connections: 0, bytes: 450, leftOut: 0 });
  losses.end(two);
  expect([lossesOf(one), lossesOf(two)]).toEqual([[[0, 0, 3]], [[0, 50, 2]]]);
});

test('who has ended is known from what the kernel still has, whatever family its sockets are of', () => {
  const peer = (last: number, port: number) => internet(Uint8Array.of(10, 0, 0, last), port);
  const mapped = internet(Buffer.from('00000000000000000000ffff0a000002', 'hex'), 4_000);
  const flow = (id: number, address = peer(2, 4_000)) =>
    [id, { peer: toSocketAddress(address) } as FlowAddresses] as const;
  const connection = { peer: mapped, local: peer(1, 80), isStolen: false, record: Buffer.alloc(0) };
  expect(endedFlows([flow(1), flow(2, peer(2, 4_001)), flow(3, peer(3, 4_000))], [connection])).toEqual([2, 3]);
});

test('the kernel is asked a second after a loss, then less and less often', () => {
  const ends = new LostEnds();
  expect(ends.isDue(10_000)).toBe(false);
  ends.suspect(10_000);
  const asked = Array.from({ length: 200 }, (_, second) => second).filter((second) =>
    ends.isDue(10_000 + second * 1_000),
  );
  expect(asked).toEqual([1, 3, 7, 15, 31, 63, 123, 183]);
});
