// What a connection knows of one call on it: whose its DATA is, and the windows both ways.

import { GROWN_STEP_BYTES } from './grpc-tuning.ts';
import type { ReceiveBlock } from './receive-blocks.ts';
import type { BulkTaker } from './sockets/bulk-delivery.ts';

/** Takes what lies in `payload`, a part of `block`; true: nothing of it is held on to but by a hold of the block. */
export type OnPayload = (payload: Buffer, block?: ReceiveBlock) => boolean;

export interface CallState {
  readonly id: number;
  onPayload: OnPayload | null;
  taker: BulkTaker | null;
  /** Came before anybody claimed it. */
  held: Buffer[];
  hasEnd: boolean;
  /** The head of our direction has been written. */
  isOpen: boolean;
  sendBytes: number;
  ungrantedBytes: number;
  /** Of what has come since it was claimed, until the window grows. */
  claimedBytes: number;
  windowBytes: number;
  writer: (() => void) | null;
}

export function newCall(id: number, sendBytes: number, windowBytes: number): CallState {
  return {
    ...{ id, onPayload: null, taker: null, held: [], hasEnd: false, isOpen: false },
    ...{ sendBytes, ungrantedBytes: 0, claimedBytes: 0, windowBytes, writer: null },
  };
}

/** What is granted again in one, by a window that may have grown beyond the one it began with. */
export function stepOf({ windowBytes }: CallState, firstWindowBytes: number): number {
  return windowBytes > firstWindowBytes ? GROWN_STEP_BYTES : windowBytes / 4;
}
