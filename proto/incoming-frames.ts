// Frames about subscriptions and connections that more than one service writes in another's stead, and how far any of them may
// be behind.

import { type AppError, toErrorDetail } from './errors.ts';
import { type Frame, makeFrame } from './frame.ts';
import { ErrorDetail } from './gen/v1/error.ts';
import { FrameKind } from './gen/v1/frame.ts';
import { Counters, Ended, EndReason } from './gen/v1/incoming.ts';
import type { SessionStream } from './session-stream.ts';

/** Subscriptions of one session to one service. */
export const MAX_SUBSCRIPTIONS = 256;
/** Bytes that wait for a receiver before the credit of what comes is held back. */
const BEHIND_BYTES = 256 * 1024;

/** What the sender of a frame that was passed on has to wait for. */
export function backPressure(
  stream: Pick<SessionStream, 'drained' | 'bufferedBytes'> | null,
): Promise<void> | undefined {
  return stream !== null && stream.bufferedBytes > BEHIND_BYTES ? stream.drained() : undefined;
}

export function errorFrame(id: number, error: AppError): Frame {
  return makeFrame(id, FrameKind.FRAME_KIND_ERROR, ErrorDetail.encode(toErrorDetail(error)).finish());
}

/** The end of a subscription of which nobody is there who could say what it was. */
export function uncountedFrame(id: number): Frame {
  const none = { connections: 0n, bytes: 0n, datagrams: 0n, requests: 0n, notMatched: 0n, notSampled: 0n };
  return makeFrame(id, FrameKind.FRAME_KIND_UNSUBSCRIBED, Counters.encode({ ...none, losses: [] }).finish());
}

/** The ends of connections whose service is gone. */
export function lostFrames(ids: Iterable<number>, error: AppError): Frame[] {
  const head = Ended.encode({
    reason: EndReason.END_REASON_SERVICE_LOST,
    error: toErrorDetail(error),
    bytes: 0n,
    lostBytes: 0n,
    atNs: BigInt(Date.now()) * 1_000_000n,
    isUnanswered: false,
  }).finish();
  return [...ids].map((id) => makeFrame(id, FrameKind.FRAME_KIND_ENDED, head));
}
