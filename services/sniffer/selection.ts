// What of one connection one subscription gets: everything, or the requests that its filter wants. What is left out by a
// filter is no loss; what is lost inside of a wanted request is told.

import { EndReason, LossReason } from '#proto/gen/v1/incoming.ts';
import { type RequestPiece, RequestReader } from '#runtime/http/request-reader.ts';
import type { RequestFilter } from '#runtime/http-filter/http-filter.ts';
import { Http1Request } from '#runtime/http-filter/http1-request.ts';
import type { Copy } from './copy.ts';
import { type FlowAddresses, lossReason, NOT_WANTED } from './events.ts';
import type { Subscription } from './subscription.ts';

export interface Selection {
  readonly isOver: boolean;
  bytes(bytes: Buffer, isAnswer: boolean): void;
  gap(bytes: number, reason: number, isAnswer: boolean): void;
  halfClose(isAnswer: boolean): void;
  close(reason: EndReason, atNs: bigint): void;
}

export function select(subscription: Subscription, addresses: FlowAddresses, atNs: bigint): Selection {
  return subscription.filter === null
    ? new Everything(subscription, subscription.arrive(addresses, atNs))
    : new WantedRequests(subscription, subscription.filter, addresses, atNs);
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
    if (!isAnswer || this.#wantsAnswers) this.#copy.gap(bytes, lossReason(reason), isAnswer);
  }

  halfClose(isAnswer: boolean): void {
    if (!isAnswer || this.#wantsAnswers) this.#copy.halfClose(isAnswer);
  }

  close(reason: EndReason, atNs: bigint): void {
    this.#copy.end(reason, atNs);
  }
}

/** Bytes of a head that is not whole yet (request-reader.ts keeps no more). */
const MAX_WAITING_BYTES = 128 * 1024;

/**
 * A connection that holds the wanted requests of another, one after the other. It arrives with the first of them. Behind a gap
 * nobody knows where a request begins: reading goes on where bytes look like the beginning of one.
 */
class WantedRequests implements Selection {
  readonly #subscription: Subscription;
  readonly #filter: RequestFilter;
  readonly #addresses: FlowAddresses;
  readonly #atNs: bigint;
  #reader: RequestReader | null = new RequestReader();
  #copy: Copy | null = null;
  /** The request that is being read is wanted. */
  #isWanted = false;
  #isOpaque = false;

  constructor(subscription: Subscription, filter: RequestFilter, addresses: FlowAddresses, atNs: bigint) {
    this.#subscription = subscription;
    this.#filter = filter;
    this.#addresses = addresses;
    this.#atNs = atNs;
  }

  get isOver(): boolean {
    return this.#copy?.isOver === true;
  }

  bytes(bytes: Buffer, isAnswer: boolean): void {
    if (isAnswer) {
      // Whose answer it is cannot be told while unwanted requests are answered too.
      return;
    }
    if (this.#isOpaque) {
      if (this.#isWanted) this.#deliver(bytes);
      return;
    }
    if (this.#reader === null) {
      if (!beginsRequest(bytes)) return;
      this.#reader = new RequestReader();
    }
    const reader = this.#reader;
    reader.push(bytes);
    for (let piece = reader.next(); piece !== undefined; piece = reader.next()) this.#take(piece);
    if (reader.waitingBytes > MAX_WAITING_BYTES) this.#lose(reader.waitingBytes, LossReason.LOSS_REASON_FILTER_LIMIT);
  }

  gap(bytes: number, reason: number, isAnswer: boolean): void {
    if (isAnswer) return;
    // Whole requests that the kernel has looked at already.
    if (reason === NOT_WANTED && this.#reader?.isBetweenRequests === true && this.#reader.waitingBytes === 0) {
      this.#subscription.counts.notMatched += 1;
      // Should one of them have had a body, it comes next.
      this.#reader = null;
      return;
    }
    // More of the same.
    if (reason === NOT_WANTED && this.#reader === null) {
      this.#subscription.counts.notMatched += 1;
      return;
    }
    this.#lose(bytes, lossReason(reason));
  }

  halfClose(isAnswer: boolean): void {
    if (!isAnswer) this.#copy?.halfClose(false);
  }

  close(reason: EndReason, atNs: bigint): void {
    this.#copy?.end(reason, atNs);
  }

  #take(piece: RequestPiece): void {
    if (piece.kind === 'opaque') {
      this.#isOpaque = true;
      // No HTTP from its first byte: no request of it can match.
      if (!this.#isWanted) this.#subscription.counts.notMatched += 1;
      else this.#deliver(piece.bytes);
      return;
    }
    if (piece.kind === 'head') {
      this.#isWanted = this.#filter.matches(new Http1Request(piece.head));
      if (this.#isWanted) this.#subscription.counts.requests += 1;
      else this.#subscription.counts.notMatched += 1;
      // What follows an upgrade belongs to the request that asked for it.
      if (piece.mayLeaveHttp) {
        this.#isOpaque = true;
        this.#reader?.becomeOpaque();
      }
    }
    if (this.#isWanted) this.#deliver(piece.bytes);
  }

  #deliver(bytes: Buffer): void {
    this.#copy ??= this.#subscription.arrive(this.#addresses, this.#atNs);
    this.#subscription.spend(bytes.length);
    this.#copy.bytes(bytes, false);
  }

  #lose(bytes: number, reason: LossReason): void {
    const isInside = this.#isWanted && this.#reader?.isBetweenRequests === false;
    if (isInside || (this.#isOpaque && this.#isWanted)) this.#copy?.gap(bytes, reason, false);
    else this.#subscription.counts.lost(reason, { bytes });
    if (this.#isOpaque) return;
    // The half of a request is no request: the local process sees its connection end here.
    if (isInside) {
      this.#copy?.end(EndReason.END_REASON_FAILED, BigInt(Date.now()) * 1_000_000n);
      this.#copy = null;
    }
    this.#reader = null;
    this.#isWanted = false;
  }
}

const METHODS = ['GET ', 'POST ', 'PUT ', 'HEAD ', 'DELETE ', 'PATCH ', 'OPTIONS ', 'TRACE ', 'CONNECT '];

function beginsRequest(bytes: Buffer): boolean {
  const beginning = bytes.toString('latin1', 0, 8);
  return METHODS.some((method) => beginning.startsWith(method));
}
