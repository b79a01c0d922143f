// The requests of a client of HTTP/1, each with who wants it. A request whose body decides is held, within limits of bytes and
// time, with everything behind it; then it goes on as it came.

import { canWaitFor, Http1Body } from '#runtime/http/http1-body.ts';
import type { RequestPiece } from '#runtime/http/request-reader.ts';
import { RequestReader } from '#runtime/http/request-reader.ts';
import { pieceWithoutHttp2Offer } from '#runtime/http/upgrade-offer.ts';
import { Deadline } from './deadline.ts';
import { type Decide, type Taker, Undecided } from './decision.ts';
import { FIRST_HEAD_MS } from './times.ts';

/** `taker` is of heads: what follows a head goes where it went. `isKept`: its bytes stay after the call that brought them. */
export type DecidedPiece = Readonly<{ piece: RequestPiece; taker: Taker | undefined; isKept?: boolean }>;

type Held = Readonly<{ undecided: Undecided; body: Http1Body; pieces: RequestPiece[]; timer: NodeJS.Timeout }>;

export class DecidedRequests {
  readonly #reader = new RequestReader();
  readonly #decide: Decide;
  readonly #onDecided: () => void;
  readonly #firstHeadMs: number;
  readonly #firstHead = new Deadline();
  #held: Held | undefined;
  #heldBytes = 0;
  #hasEnded = false;
  #decided: DecidedPiece[] = [];

  /** @param onDecided time has decided: `next` has something */
  constructor(decide: Decide, onDecided: () => void, firstHeadMs: number = FIRST_HEAD_MS) {
    this.#decide = decide;
    this.#onDecided = onDecided;
    this.#firstHeadMs = firstHeadMs;
  }

  /** Bytes that have been pushed and not been pulled. */
  get waitingBytes(): number {
    return this.#reader.waitingBytes + this.#heldBytes;
  }

  /** A request has come, and who wants it is not known. */
  get isHolding(): boolean {
    return this.#held !== undefined;
  }

  /** Nothing waits, and what comes next is another request. */
  get isAtRequest(): boolean {
    return this.#held === undefined && this.#decided.length === 0 && this.#reader.isAtRequest;
  }

  /** At a request: its head and some of its body have been sent on by another, so much is still to come. */
  beginWithin(left: number): void {
    this.#reader.beginWithin(left);
  }

  /** What another sent on was the last request. */
  endBehind(): void {
    this.#reader.endBehind();
  }

  push(bytes: Buffer): void {
    this.#reader.push(bytes);
  }

  /** The next piece; undefined when more bytes are needed. */
  next(): DecidedPiece | undefined {
    for (;;) {
      const decided = this.#decided.shift();
      if (decided !== undefined) {
        this.#heldBytes -= decided.piece.bytes.length;
        return decided;
      }
      const piece = this.#reader.next();
      if (piece === undefined && this.#hasEnded && this.#reader.waitingBytes > 0) {
        // A head that ends here is what the client had to say all the same.
        this.#reader.becomeOpaque();
        continue;
      }
      if (piece === undefined) return undefined;
      if (this.#held !== undefined) this.#hold(this.#held, piece);
      else if (piece.kind !== 'head') return { piece, taker: undefined };
      else {
        const taker = this.#judge(piece);
        if (!(taker instanceof Undecided)) return { piece: pieceWithoutHttp2Offer(piece), taker };
        this.#begin(piece, taker);
      }
    }
  }

  /** Copies what waits, so that the pushed bytes may go. @returns a piece that was pulled and has to wait, copied too */
  keep(pulled: DecidedPiece | undefined): DecidedPiece | undefined {
    this.#reader.keep();
    if (pulled === undefined || pulled.isKept) return pulled;
    return { ...pulled, piece: copied(pulled.piece), isKept: true };
  }

  /** Nothing more comes: a body that is not whole will not be. */
  end(): void {
    this.#hasEnded = true;
    this.#settle(false);
  }

  /** All that waits, as it is. */
  rest(): Buffer {
    this.#settle(false);
    const held = this.#decided.map(({ piece }) => piece.bytes);
    this.#decided = [];
    this.#heldBytes = 0;
    return Buffer.concat([...held, this.#reader.rest()]);
  }

  /** From here on nothing is HTTP, what was held included. */
  becomeOpaque(): void {
    const rest = this.rest();
    this.#reader.becomeOpaque();
    this.#reader.push(rest);
  }

  /**
   * What does not become a request in time is none: a protocol of which nobody told us.
   *
   * @param isOver a head has come, or none will
   */
  watchFirstHead(isOver: boolean): void {
    if (isOver || this.isHolding) this.#firstHead.stop();
    else if (this.waitingBytes > 0 && !this.#firstHead.isSet) {
      this.#firstHead.start(this.#firstHeadMs, () => {
        this.becomeOpaque();
        this.#onDecided();
      });
    }
  }

  close(): void {
    this.#firstHead.stop();
    clearTimeout(this.#held?.timer);
    this.#held = undefined;
    this.#decided = [];
  }

  #judge(piece: RequestPiece & { kind: 'head' }): Taker | Undecided | undefined {
    const { head, framing, isLast } = piece;
    const decision = this.#decide(head, head.end - piece.bytes.length);
    if (!(decision instanceof Undecided)) return decision;
    return !isLast && canWaitFor(head, framing, decision.limits.bytes) ? decision : decision.decide(null);
  }

  #begin(piece: RequestPiece & { kind: 'head' }, undecided: Undecided): void {
    const { bytes, waitMs } = undecided.limits;
    const timer = setTimeout(() => {
      this.#settle(false);
      this.#onDecided();
    }, waitMs);
    timer.unref();
    const bare = copied(pieceWithoutHttp2Offer(piece));
    this.#heldBytes += bare.bytes.length;
    this.#held = { undecided, body: new Http1Body(piece.framing, bytes), pieces: [bare], timer };
  }

  #hold(held: Held, passing: RequestPiece): void {
    const piece = copied(passing);
    held.pieces.push(piece);
    this.#heldBytes += piece.bytes.length;
    if (piece.kind !== 'body' || !held.body.add(piece.bytes)) this.#settle(false);
    else if (piece.isLast) this.#settle(true);
  }

  #settle(isWhole: boolean): void {
    const held = this.#held;
    if (held === undefined) return;
    clearTimeout(held.timer);
    this.#held = undefined;
    const body = isWhole ? held.body.whole() : null;
    const isWithin = body !== null && body.bytes.length <= held.undecided.limits.bytes;
    const taker = held.undecided.decide(isWithin ? body : null);
    for (const piece of held.pieces) {
      this.#decided.push({ piece, taker: piece.kind === 'head' ? taker : undefined, isKept: true });
    }
  }
}

/** What is held stays after the call that brought it. */
const copied = (piece: RequestPiece): RequestPiece => ({ ...piece, bytes: Buffer.from(piece.bytes) });
