// What of one connection one subscription gets: everything, or the requests that its filter wants, of HTTP/1 here and of
// HTTP/2 in wanted-streams.ts. HTTP/2 is never copied as it came, but where the answers are wanted too: its windows, settings and
// acknowledgements are about the target's answers, and the local process gives others. What is left out by a filter is no loss;
// what is lost inside of a wanted request is told.

import type { RequestFilter } from '#http-filter/http-filter.ts';
import { type EndReason, LossReason } from '#proto/gen/v1/incoming.ts';
import { PREFACE } from '#runtime/http2/frame.ts';
import type { Copy } from './copy.ts';
import { type FlowAddresses, lossReason, NOT_WANTED } from './events.ts';
import { MAX_HELD_BODY_BYTES, type Subscription, UDP } from './subscription.ts';
import { WantedRequests } from './wanted-requests.ts';
import { WantedStreams, type WantedStreamsOptions } from './wanted-streams.ts';

export interface Selection {
  readonly isOver: boolean;
  bytes(bytes: Buffer, isAnswer: boolean): void;
  gap(bytes: number, reason: number, isAnswer: boolean): void;
  /** `isUnanswered`: of the peer, that has asked something which the target has not answered. */
  halfClose(isAnswer: boolean, isUnanswered?: boolean): void;
  close(reason: EndReason, atNs: bigint, isUnanswered?: boolean): void;
}

export function select(subscription: Subscription, addresses: FlowAddresses, atNs: bigint): Selection {
  const { filter, wish, protocol } = subscription;
  if (filter !== null) {
    const arriveWanted = () => subscription.arrive(addresses, atNs);
    const either: EitherHttp2 = new EitherHttp2(
      new WantedRequests(subscription, filter, { addresses, atNs, onHttp2: (bytes) => either.goOn(bytes) }),
      () => new WantedStreams(streamsOf(subscription, filter, arriveWanted)),
    );
    return either;
  }
  const copy = subscription.arrive(addresses, atNs);
  const everything = new Everything(subscription, copy);
  if (wish.withAnswers || protocol === UDP) return everything;
  const arrive = () => (copy.isOver ? subscription.arrive(addresses, atNs) : copy);
  return new EitherHttp2(everything, () => new WantedStreams(streamsOf(subscription, ALL, arrive)));
}

const ALL: RequestFilter = {
  matches: () => true,
  judge: () => true,
  judgeWithBody: () => true,
  bodyLimits: null,
  texts: null,
};

function streamsOf(subscription: Subscription, filter: RequestFilter, arrive: () => Copy): WantedStreamsOptions {
  return {
    filter,
    counts: subscription.counts,
    arrive,
    spend: (bytes) => subscription.spend(bytes),
    hold: (bytes) => {
      subscription.heldBodyBytes += bytes;
      return subscription.heldBodyBytes <= MAX_HELD_BODY_BYTES;
    },
  };
}

class Everything implements Selection {
  readonly #subscription: Subscription;
  readonly #copy: Copy;
  readonly #wantsAnswers: boolean;

  constructor(subscription: Subscription, copy: Copy) {
    this.#subscription = subscription;
    this.#copy = copy;
    this.#wantsAnswers = subscription.wish.withAnswers;
  }

  get isOver(): boolean {
    return this.#copy.isOver;
  }

  bytes(bytes: Buffer, isAnswer: boolean): void {
    if (isAnswer && !this.#wantsAnswers) return;
    this.#subscription.spend(bytes.length);
    this.#copy.bytes(bytes, isAnswer);
  }

  gap(bytes: number, reason: number, isAnswer: boolean): void {
    // What the kernel left out before it knew that somebody wants everything.
    const known = reason === NOT_WANTED ? LossReason.LOSS_REASON_OLDER : lossReason(reason);
    if (!isAnswer || this.#wantsAnswers) this.#copy.gap(bytes, known, isAnswer);
  }

  halfClose(isAnswer: boolean, isUnanswered?: boolean): void {
    if (!isAnswer || this.#wantsAnswers) this.#copy.halfClose(isAnswer, isUnanswered);
  }

  close(reason: EndReason, atNs: bigint, isUnanswered?: boolean): void {
    this.#copy.end(reason, atNs, isUnanswered);
  }
}

/** Begins with what tells HTTP/2 from everything else, and goes on as one or the other. */
class EitherHttp2 implements Selection {
  readonly #other: Selection;
  readonly #streams: () => WantedStreams;
  /** null: nobody knows yet. */
  #isHttp2: boolean | null = null;
  #http2: WantedStreams | null = null;
  #beginning: Buffer = Buffer.alloc(0);

  constructor(other: Selection, streams: () => WantedStreams) {
    this.#other = other;
    this.#streams = streams;
  }

  get isOver(): boolean {
    return this.#http2?.isOver ?? this.#other.isOver;
  }

  bytes(bytes: Buffer, isAnswer: boolean): void {
    // Whose answer it is cannot be told while unwanted requests are answered too.
    if (isAnswer) return;
    if (this.#isHttp2 === null) this.#recognise(bytes);
    else if (this.#http2 !== null) this.#http2.push(bytes);
    else this.#other.bytes(bytes, false);
  }

  gap(bytes: number, reason: number, isAnswer: boolean): void {
    if (isAnswer) return;
    if (this.#isHttp2 === null) this.#settle(false);
    if (this.#http2 !== null) this.#http2.lose(bytes, lossReason(reason));
    else this.#other.gap(bytes, reason, false);
  }

  halfClose(isAnswer: boolean, isUnanswered?: boolean): void {
    if (isAnswer) return;
    if (this.#isHttp2 === null) this.#settle(false);
    if (this.#http2 !== null) this.#http2.halfClose();
    else this.#other.halfClose(false, isUnanswered);
  }

  close(reason: EndReason, atNs: bigint, isUnanswered?: boolean): void {
    if (this.#isHttp2 === null) this.#settle(false);
    this.#http2?.close(reason, atNs);
    // Of HTTP/2: a connection on which no request has come.
    this.#other.close(reason, atNs, isUnanswered);
  }

  /** HTTP/1 was left for HTTP/2, which begins here. */
  goOn(bytes: Buffer): void {
    this.#http2 = this.#streams();
    this.#http2.push(bytes);
  }

  #recognise(bytes: Buffer): void {
    this.#beginning = this.#beginning.length === 0 ? bytes : Buffer.concat([this.#beginning, bytes]);
    const count = Math.min(this.#beginning.length, PREFACE.length);
    const isAlike = this.#beginning.subarray(0, count).equals(PREFACE.subarray(0, count));
    if (!isAlike || count === PREFACE.length) this.#settle(isAlike);
    else this.#beginning = Buffer.from(this.#beginning);
  }

  #settle(isHttp2: boolean): void {
    this.#isHttp2 = isHttp2;
    if (isHttp2) this.#http2 = this.#streams();
    const beginning = this.#beginning;
    this.#beginning = Buffer.alloc(0);
    if (beginning.length === 0) return;
    if (this.#http2 !== null) this.#http2.push(beginning);
    else this.#other.bytes(beginning, false);
  }
}
