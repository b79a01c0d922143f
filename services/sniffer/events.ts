// Reads what the capture thread writes (native/batch.h): events of connections, many in one buffer.

import { EndReason, LossReason } from '#proto/gen/v1/incoming.ts';
import type { SocketAddress } from '#proto/gen/v1/network.ts';

export interface FlowAddresses {
  readonly flow: number;
  readonly local: SocketAddress;
  readonly peer: SocketAddress;
  readonly localPort: number;
  readonly protocol: number;
  /** Its beginning was not seen. */
  readonly isFromMiddle: boolean;
  /** And what comes first is not the beginning of a request either. */
  readonly beginsAnywhere: boolean;
  /** Below a million; who is under N is in the sample of N. */
  readonly sample: number;
  readonly interface: number;
}

/** Ids are of one capture. `isAnswer`: what the target sends. */
export interface FlowEvents {
  onOpen(flow: number, addresses: FlowAddresses, atNs: bigint): void;
  /** `bytes` is a view of the batch. */
  onBytes(flow: number, isAnswer: boolean, bytes: Buffer): void;
  /** 0 bytes: it is not known how many. `NOT_WANTED` is no loss. */
  onGap(flow: number, isAnswer: boolean, bytes: number, reason: number): void;
  /** `isUnanswered`: the peer has asked something that the target has not answered. */
  onHalfClose(flow: number, isAnswer: boolean, atNs: bigint, isUnanswered: boolean): void;
  onClose(flow: number, reason: EndReason, atNs: bigint, isUnanswered: boolean): void;
  /** One that is not copied, and why. */
  onOlder(flow: number, addresses: FlowAddresses, reason: LossReason): void;
  /** What it carried. */
  onOlderBytes(flow: number, bytes: number, reason: LossReason): void;
  onOlderClose(flow: number): void;
  onNoRoom(addresses: FlowAddresses): void;
  /** Everything that was captured before the mark was made has been told. */
  onMark(number: number): void;
}

/** Reason of a gap that the kernel's prefilter made. */
export const NOT_WANTED = 64;

const LOSS_REASONS = Object.values(LossReason);
const END_REASONS = Object.values(EndReason);
const HEAD_BYTES = 24;
const ALIGNMENT = 8;
const IPV4 = 4;

/** native/batch.h, EventType. */
const TYPE = {
  OPEN: 1,
  BYTES: 2,
  GAP: 3,
  HALF_CLOSE: 4,
  CLOSE: 5,
  OLDER: 6,
  OLDER_CLOSE: 7,
  NO_ROOM: 8,
  MARK: 9,
  OLDER_BYTES: 10,
} as const;

export function readEvents(batch: Buffer, events: FlowEvents): void {
  for (let at = 0; at < batch.length; ) {
    const type = batch[at];
    const isAnswer = batch[at + 1] === 1;
    const reason = batch[at + 2] as number;
    const isUnanswered = batch[at + 3] === 1;
    const flow = batch.readUInt32LE(at + 4);
    const bytes = batch.readUInt32LE(at + 8);
    const payload = at + HEAD_BYTES;
    switch (type) {
      case TYPE.OPEN:
        events.onOpen(flow, readAddresses(batch, payload), batch.readBigUInt64LE(at + 16));
        break;
      case TYPE.BYTES:
        events.onBytes(flow, isAnswer, batch.subarray(payload, payload + bytes));
        break;
      case TYPE.GAP:
        events.onGap(flow, isAnswer, Number(batch.readBigUInt64LE(at + 16)), reason);
        break;
      case TYPE.HALF_CLOSE:
        events.onHalfClose(flow, isAnswer, batch.readBigUInt64LE(at + 16), isUnanswered);
        break;
      case TYPE.CLOSE:
        events.onClose(flow, endReason(reason), batch.readBigUInt64LE(at + 16), isUnanswered);
        break;
      case TYPE.OLDER:
        events.onOlder(flow, readAddresses(batch, payload), lossReason(reason));
        break;
      case TYPE.OLDER_CLOSE:
      case TYPE.OLDER_BYTES:
        events.onOlderBytes(flow, Number(batch.readBigUInt64LE(at + 16)), lossReason(reason));
        if (type === TYPE.OLDER_CLOSE) events.onOlderClose(flow);
        break;
      case TYPE.NO_ROOM:
        events.onNoRoom(readAddresses(batch, payload));
        break;
      case TYPE.MARK:
        events.onMark(Number(batch.readBigUInt64LE(at + 16)));
        break;
    }
    at = payload + Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
  }
}

/** The numbers of native/loss.h are those of the protocol. */
export function lossReason(reason: number): LossReason {
  return LOSS_REASONS.find((known) => known === reason) ?? LossReason.LOSS_REASON_UNSPECIFIED;
}

/** As those of native/flow.h. */
export function endReason(reason: number): EndReason {
  return END_REASONS.find((known) => known === reason) ?? EndReason.END_REASON_UNSPECIFIED;
}

function readAddresses(batch: Buffer, at: number): FlowAddresses {
  const length = batch[at + 36] === IPV4 ? 4 : 16;
  const localPort = batch.readUInt16LE(at + 32);
  return {
    flow: batch.readUInt32LE(at - HEAD_BYTES + 4),
    local: address(batch.subarray(at, at + length), localPort),
    peer: address(batch.subarray(at + 16, at + 16 + length), batch.readUInt16LE(at + 34)),
    localPort,
    protocol: batch[at + 37] as number,
    isFromMiddle: batch[at + 38] === 1,
    beginsAnywhere: batch[at + 39] === 1,
    sample: batch.readUInt32LE(at + 40),
    interface: batch.readUInt32LE(at + 44),
  };
}

function address(ip: Buffer, port: number): SocketAddress {
  // Kept as long as the flow: not a view of the batch.
  return { address: { $case: 'internet', value: { ip: Buffer.from(ip), port, scopeId: 0 } } };
}
