// A connection that holds the wanted requests of another of HTTP/1, one after the other.

import type { RequestFilter } from '#http-filter/http-filter.ts';
import { EndReason, LossReason } from '#proto/gen/v1/incoming.ts';
import { Http1Body } from '#runtime/http/http1-body.ts';
import { Http1Request } from '#runtime/http/http1-request.ts';
import { type RequestPiece, RequestReader } from '#runtime/http/request-reader.ts';
import { asksForWebSocket, pieceWithoutHttp2Offer } from '#runtime/http/upgrade-offer.ts';
import type { Copy } from './copy.ts';
import { type FlowAddresses, lossReason, NOT_WANTED } from './events.ts';
import { beginsHttp2, beginsRequest, firstRequestIn } from './request-start.ts';
import type { Selection } from './selection.ts';
import { MAX_HELD_BODY_BYTES, type Subscription } from './subscription.ts';

/** Bytes of a head that is not whole yet (request-reader.ts keeps no more). */
const MAX_WAITING_BYTES = 128 * 1024;

/** A request whose body decides: its pieces so far. */
type Held = { readonly request: Http1Request; readonly body: Http1Body; readonly pieces: Buffer[]; bytes: number };

/**
 * It arrives with the first of them. Behind a gap nobody knows where a request begins: reading goes on where bytes look like the
 * beginning of one. An offer to go on in HTTP/2 (`Upgrade: h2c`) is taken out of what is delivered: the target's answer to it is
 * not the local process's. Whether it was taken is told by what comes next.
 */
export class WantedRequests implements Selection {
  readonly #subscription: Subscription;
  readonly #filter: RequestFilter;
  readonly #addresses: FlowAddresses;
  readonly #atNs: bigint;
  readonly #onHttp2: (bytes: Buffer) => void;
  #reader: RequestReader | null = new RequestReader();
  /** What is missing are whole requests that the kernel has left out, and maybe the beginning of a body. */
  #isBehindUnwanted = false;
  #copy: Copy | null = null;
  /** The request that is being read is wanted. */
  #isWanted = false;
  #isOpaque = false;
  /** What follows the request that was read last may be a WebSocket. */
  #mayHaveLeft = false;
  #held: Held | null = null;

  /** @param onHttp2 the connection goes on in HTTP/2, and with these bytes it begins */
  constructor(
    subscription: Subscription,
    filter: RequestFilter,
    { addresses, atNs, onHttp2 }: { addresses: FlowAddresses; atNs: bigint; onHttp2: (bytes: Buffer) => void },
  ) {
    this.#subscription = subscription;
    this.#filter = filter;
    this.#addresses = addresses;
    this.#atNs = atNs;
    this.#onHttp2 = onHttp2;
  }

  get isOver(): boolean {
    return this.#copy?.isOver === true;
  }

  bytes(bytes: Buffer): void {
    if (this.#isOpaque) {
      if (this.#isWanted) this.#deliver(bytes);
      return;
    }
    if (this.#reader === null) this.#resume(bytes);
    else this.#read(this.#reader, bytes);
  }

  #resume(bytes: Buffer): void {
    if (beginsHttp2(bytes)) {
      this.#onHttp2(bytes);
      return;
    }
    const start = beginsRequest(bytes) ? 0 : this.#isBehindUnwanted ? firstRequestIn(bytes) : -1;
    if (start === -1) return;
    this.#reader = new RequestReader();
    this.#isBehindUnwanted = false;
    this.#read(this.#reader, bytes.subarray(start));
  }

  #read(reader: RequestReader, bytes: Buffer): void {
    reader.push(bytes);
    for (let piece = reader.next(); piece !== undefined; piece = reader.next()) this.#take(piece);
    if (reader.waitingBytes > MAX_WAITING_BYTES) this.#lose(reader.waitingBytes, LossReason.LOSS_REASON_FILTER_LIMIT);
  }

  gap(bytes: number, reason: number): void {
    // Whole requests that the kernel has looked at already, and counted.
    if (reason === NOT_WANTED && this.#reader?.isBetweenRequests === true && this.#reader.waitingBytes === 0) {
      // Should one of them have had a body, it comes next.
      this.#reader = null;
      this.#isBehindUnwanted = true;
      return;
    }
    // More of the same.
    if (reason === NOT_WANTED && this.#reader === null) return;
    this.#lose(bytes, reason === NOT_WANTED ? LossReason.LOSS_REASON_NOT_SEEN : lossReason(reason));
  }

  halfClose(_isAnswer: boolean, isUnanswered?: boolean): void {
    this.#copy?.halfClose(false, isUnanswered);
  }

  close(reason: EndReason, atNs: bigint, isUnanswered?: boolean): void {
    if (this.#held !== null) this.#decide(this.#held, false);
    this.#copy?.end(reason, atNs, isUnanswered);
  }

  #take(whole: RequestPiece): void {
    if (this.#held !== null) {
      this.#hold(this.#held, whole);
      return;
    }
    if (whole.kind === 'opaque') {
      this.#takeOpaque(whole.bytes);
      return;
    }
    const piece = whole.kind === 'head' ? pieceWithoutHttp2Offer(whole) : whole;
    if (piece.kind === 'head') {
      const request = new Http1Request(piece.head, piece.head.end - whole.bytes.length);
      const isWanted = piece.isLast || piece.mayLeaveHttp ? this.#filter.matches(request) : this.#filter.judge(request);
      if (isWanted === undefined) {
        this.#begin(request, piece);
        return;
      }
      this.#isWanted = isWanted;
      if (this.#isWanted) this.#subscription.counts.requests += 1;
      else this.#subscription.counts.notMatched += 1;
      // What follows an upgrade belongs to the request that asked for it, unless it is another request for certain.
      this.#mayHaveLeft = piece.mayLeaveHttp;
      if (piece.mayLeaveHttp && !asksForWebSocket(piece.head)) {
        this.#isOpaque = true;
        this.#reader?.becomeOpaque();
      }
    }
    if (this.#isWanted) this.#deliver(piece.bytes);
  }

  #takeOpaque(bytes: Buffer): void {
    if (beginsHttp2(bytes)) {
      this.#onHttp2(bytes);
      return;
    }
    this.#isOpaque = true;
    // No HTTP from its first byte: no request of it can match.
    if (this.#isWanted) this.#deliver(bytes);
    else if (!this.#mayHaveLeft) this.#subscription.counts.notMatched += 1;
  }

  #begin(request: Http1Request, piece: RequestPiece & { kind: 'head' }): void {
    // Read while its bytes are there.
    void [request.lowerText, request.headerLines];
    const body = new Http1Body(piece.framing, this.#filter.bodyLimits?.bytes ?? 0);
    this.#held = { request, body, pieces: [], bytes: 0 };
    this.#keep(this.#held, piece.bytes);
  }

  #keep(held: Held, bytes: Buffer): void {
    held.pieces.push(Buffer.from(bytes));
    held.bytes += bytes.length;
    this.#subscription.heldBodyBytes += bytes.length;
  }

  #hold(held: Held, piece: RequestPiece): void {
    this.#keep(held, piece.bytes);
    const isWithin = piece.kind === 'body' && held.body.add(held.pieces.at(-1) as Buffer);
    if (this.#subscription.heldBodyBytes > MAX_HELD_BODY_BYTES) {
      this.#subscription.counts.lost(LossReason.LOSS_REASON_FILTER_LIMIT, { bytes: held.bytes });
      this.#decide(held, false);
    } else if (!isWithin) this.#decide(held, false);
    else if (piece.isLast) this.#decide(held, true);
    if (piece.kind === 'opaque') this.#isOpaque = true;
  }

  #decide(held: Held, isWhole: boolean): void {
    this.#held = null;
    this.#subscription.heldBodyBytes -= held.bytes;
    this.#isWanted = this.#filter.judgeWithBody(held.request, isWhole ? held.body.whole() : null);
    if (!this.#isWanted) {
      this.#subscription.counts.notMatched += 1;
      return;
    }
    this.#subscription.counts.requests += 1;
    for (const bytes of held.pieces) this.#deliver(bytes);
  }

  #deliver(bytes: Buffer): void {
    this.#copy ??= this.#subscription.arrive(this.#addresses, this.#atNs);
    this.#subscription.spend(bytes.length);
    this.#copy.bytes(bytes, false);
  }

  #lose(bytes: number, reason: LossReason): void {
    // Whoever wants it cannot be told any more.
    if (this.#held !== null) this.#decide(this.#held, false);
    const isInside = this.#isWanted && (this.#mayHaveLeft || this.#reader?.isBetweenRequests === false);
    if (isInside || (this.#isOpaque && this.#isWanted)) this.#copy?.gap(bytes, reason, false);
    else this.#subscription.counts.lost(reason, { bytes });
    if (this.#isOpaque) return;
    // The half of a request is no request: the local process sees its connection end here.
    if (isInside) {
      this.#copy?.end(EndReason.END_REASON_FAILED, BigInt(Date.now()) * 1_000_000n);
      this.#copy = null;
    }
    this.#reader = null;
    this.#isBehindUnwanted = false;
    this.#isWanted = false;
    this.#mayHaveLeft = false;
  }
}
