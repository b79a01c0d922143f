// A connection that somebody else had copied when a subscription began: joined where its next request begins, or anywhere if that
// is wished. What it carries until then is told to be lost, as of connections that nobody had.

import { type EndReason, LossReason } from '#proto/gen/v1/incoming.ts';
import { type FlowAddresses, lossReason, NOT_WANTED } from './events.ts';
import { beginsHttp2, beginsRequest } from './request-start.ts';
import { type Selection, select } from './selection.ts';
import { type Subscription, TCP } from './subscription.ts';

export class Joining implements Selection {
  readonly #subscription: Subscription;
  readonly #addresses: FlowAddresses;
  /** The capture has what the subscription wishes of it: of answers nothing can be had that was not from the beginning. */
  readonly #isJoinable: boolean;
  #joined: Selection | null = null;
  #isRefused = false;
  #isCounted = false;

  constructor(subscription: Subscription, addresses: FlowAddresses, isJoinable: boolean) {
    this.#subscription = subscription;
    this.#addresses = { ...addresses, isFromMiddle: true };
    this.#isJoinable = isJoinable;
  }

  get isOver(): boolean {
    return this.#joined?.isOver ?? this.#isRefused;
  }

  bytes(bytes: Buffer, isAnswer: boolean): void {
    if (this.#joined === null && !isAnswer && !this.#isRefused) this.#join(bytes);
    this.#joined?.bytes(bytes, isAnswer);
  }

  gap(bytes: number, reason: number, isAnswer: boolean): void {
    if (this.#joined !== null) this.#joined.gap(bytes, reason, isAnswer);
    else if (!isAnswer && reason !== NOT_WANTED) this.#subscription.counts.lost(lossReason(reason), { bytes });
  }

  halfClose(isAnswer: boolean, isUnanswered?: boolean): void {
    this.#joined?.halfClose(isAnswer, isUnanswered);
  }

  close(reason: EndReason, atNs: bigint, isUnanswered?: boolean): void {
    this.#joined?.close(reason, atNs, isUnanswered);
  }

  #join(bytes: Buffer): void {
    const subscription = this.#subscription;
    const isBeginning = subscription.protocol !== TCP || beginsRequest(bytes) || beginsHttp2(bytes);
    if (!this.#isJoinable || !(isBeginning || subscription.wish.withOlder)) {
      const connections = this.#isCounted ? 0 : 1;
      this.#isCounted = true;
      subscription.counts.lost(LossReason.LOSS_REASON_OLDER, { connections, bytes: bytes.length });
      return;
    }
    if (!subscription.admits(this.#addresses)) {
      this.#isRefused = true;
      return;
    }
    this.#joined = select(subscription, this.#addresses, BigInt(Date.now()) * 1_000_000n);
    if (!isBeginning) this.#joined.gap(0, LossReason.LOSS_REASON_OLDER, false);
  }
}
