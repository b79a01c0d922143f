import { expect, test } from 'vitest';
import { type Counters, LossReason } from '#proto/gen/v1/incoming.ts';
import { Tally } from './tally.ts';

const RING_FULL = LossReason.LOSS_REASON_RING_FULL;
const loss = (packets: bigint, bytes = 0n) => ({ reason: RING_FULL, connections: 0n, bytes, packets });
const NONE: Counters = {
  connections: 0n,
  bytes: 0n,
  datagrams: 0n,
  requests: 0n,
  notMatched: 0n,
  notSampled: 0n,
  losses: [],
};
const sum = (packets: bigint, bytes: bigint): Counters => ({ ...NONE, losses: [loss(packets, bytes)] });

test('what a subscription lost is told though its sum never came, and that there may be more', () => {
  const tally = new Tally();
  tally.arrived(80);
  tally.untold(80, 1, [loss(7n)]);
  expect(tally.lines()).toEqual([
    'port 80: 1 connection, 0 bytes mirrored',
    'port 80: lost 7 packets: the capture could not keep up',
    'port 80: what else was lost was not told in time',
  ]);
  expect(tally.summary()).toMatchObject([{ port: 80, isWhole: false, losses: [{ packets: 7, bytes: 0 }] }]);
});

test('a sum that comes late takes the place of what was told before, of its own subscription alone', () => {
  const tally = new Tally();
  tally.untold(80, 1, [loss(7n)]);
  tally.untold(80, 3, [loss(100n)]);
  tally.ended(80, 1, sum(8n, 900n));
  expect(tally.lines()).toContain('port 80: lost 900 bytes 108 packets: the capture could not keep up');
  tally.ended(80, 3, sum(100n, 0n));
  expect(tally.lines()).toEqual([
    'port 80: 0 connections, 0 bytes mirrored',
    'port 80: lost 900 bytes 108 packets: the capture could not keep up',
  ]);
});
