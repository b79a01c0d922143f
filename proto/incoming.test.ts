import { describe, expect, test } from 'vitest';
import { decodeBatch, encodeBatch, makeFrame } from './frame.ts';
import { FrameKind } from './gen/v1/frame.ts';
import { Arrived, Counters, Gap, LossReason, Subscribe } from './gen/v1/incoming.ts';
import { IncomingIds, incomingServiceOf } from './incoming.ts';
import { internet, toSocketAddress } from './socket-address.ts';

describe('ids of connections that arrive', () => {
  test('tell their service, and are never those of the client or of the session', () => {
    const sniffer = new IncomingIds('sniffer');
    const stealer = new IncomingIds('stealer');
    for (let nth = 0; nth < 1_000; nth++) {
      expect(incomingServiceOf(sniffer.take(() => false))).toBe('sniffer');
      expect(incomingServiceOf(stealer.take(() => false))).toBe('stealer');
    }
    expect([0, 1, 3, 0xffff_ffff].map(incomingServiceOf)).toEqual([null, null, null, null]);
  });

  test('are not given twice while they are taken', () => {
    const ids = new IncomingIds('sniffer');
    expect(ids.take((id) => id < 20)).toBe(22);
    expect(ids.take(() => false)).toBe(26);
  });

  test('begin anew at the end of a u32', () => {
    const ids = new IncomingIds('stealer', 0xffff_fff0);
    expect([ids.take(() => false), ids.take(() => false)]).toEqual([0xffff_fff0, 4]);
  });
});

describe('a connection that arrives', () => {
  test('is announced and has its first bytes in one frame', () => {
    const peer = toSocketAddress(internet(Buffer.from([10, 1, 2, 3]), 40_000));
    const local = toSocketAddress(internet(Buffer.from([10, 1, 2, 4]), 80));
    const arrived = {
      subscription: 7,
      peer,
      local,
      atNs: 1n,
      isOlder: false,
      creditBytes: 0,
      isForRequests: false,
      tls: undefined,
      interface: 'eth0',
    };
    const head = Arrived.encode(arrived).finish();
    const [frame] = decodeBatch(encodeBatch([makeFrame(2, FrameKind.FRAME_KIND_ARRIVED, head, Buffer.from('GET /'))]));
    expect(Buffer.from(frame?.data ?? []).toString()).toBe('GET /');
    expect(Arrived.decode(frame?.head ?? new Uint8Array())).toEqual(arrived);
  });

  test('keeps sums of 64 bits', () => {
    const big = 2n ** 63n;
    const head = {
      bytes: big,
      datagrams: 0,
      reason: LossReason.LOSS_REASON_NOT_SEEN,
      offset: big + 1n,
      isAnswer: false,
    };
    expect(Gap.decode(Gap.encode(head).finish())).toEqual(head);
    const losses = [{ reason: LossReason.LOSS_REASON_RING_FULL, connections: 1n, bytes: big, packets: 3n }];
    const sums = { connections: 1n, bytes: big, datagrams: 0n, requests: 0n, notMatched: 0n, notSampled: 0n, losses };
    expect(Counters.decode(Counters.encode(sums).finish())).toEqual(sums);
  });

  test('is of a subscription whose defaults are the whole port, unfiltered', () => {
    const nothing = Subscribe.decode(new Uint8Array());
    expect(nothing).toMatchObject({ filter: undefined, samplePerMillion: 0, withAnswers: false, withOlder: false });
  });
});
