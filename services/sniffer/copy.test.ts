import { expect, test } from 'vitest';
import { SendCredit } from '#proto/credits.ts';
import type { Frame } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { EndReason } from '#proto/gen/v1/incoming.ts';
import { Copy, type CopyShare } from './copy.ts';
import { Counts } from './counts.ts';
import { Outlet } from './outlet.ts';

const CONNECTION_BYTES = 16 * 1024;

function share(limitBytes: number): { share: CopyShare; sent: Frame[] } {
  const sent: Frame[] = [];
  const stream = { send: (frame: Frame) => sent.push(frame), drained: async () => {}, bufferedBytes: 0 };
  return {
    sent,
    share: {
      outlet: new Outlet(stream),
      counts: new Counts(),
      credit: new SendCredit(limitBytes),
      queuedBytes: 0,
      maxQueuedBytes: 1 << 20,
      starved: new Set(),
      onEnded: () => {},
    },
  };
}

const dataBytes = (frames: readonly Frame[]) =>
  frames.filter(({ kind }) => kind === FrameKind.FRAME_KIND_DATA).reduce((sum, { data }) => sum + data.length, 0);

test('short connections that nobody grants on do not use up what their port may have in flight', () => {
  const { share: one, sent } = share(4 * CONNECTION_BYTES);
  for (let nth = 0; nth < 1_000; nth++) {
    const copy = new Copy(2 + 4 * nth, CONNECTION_BYTES, false, one);
    copy.bytes(Buffer.alloc(10_000), false);
    copy.end(EndReason.END_REASON_CLOSED, 1n);
  }
  expect(dataBytes(sent)).toBe(10_000_000);
  expect(sent.some(({ kind }) => kind === FrameKind.FRAME_KIND_GAP)).toBe(false);
  expect(one.credit.availableBytes).toBe(4 * CONNECTION_BYTES);
});

test('one that waits for the port goes on when another ends', () => {
  const { share: one, sent } = share(CONNECTION_BYTES);
  const first = new Copy(2, CONNECTION_BYTES, false, one);
  const second = new Copy(6, CONNECTION_BYTES, false, one);
  first.bytes(Buffer.alloc(CONNECTION_BYTES), false);
  second.bytes(Buffer.alloc(5), false);
  expect(dataBytes(sent)).toBe(CONNECTION_BYTES);
  first.end(EndReason.END_REASON_CLOSED, 1n);
  expect(dataBytes(sent)).toBe(CONNECTION_BYTES + 5);
});
