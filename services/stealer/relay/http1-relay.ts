// One client connection on a port that is stolen with filters: each request goes to the session that wants it, or on to the
// target on a connection that stays paired with the client's. What is passed on is passed on byte for byte.
//
// Requests to the target may be pipelined; a request that goes elsewhere than its forerunner waits until nothing is in flight,
// so that answers come in order. What is no HTTP, or not so that everybody reads it the same, makes the rest of the connection
// a tunnel to the target: nothing is ever answered in the target's stead, but a 502 when a session dies with its request.

import type { RequestPiece } from '#runtime/http/request-reader.ts';
import type { ResponsePiece } from '#runtime/http/response-reader.ts';
import { Deadline } from './deadline.ts';
import { type DecidedPiece, DecidedRequests } from './decided-requests.ts';
import type { Taker } from './decision.ts';
import type { Endpoint, JoinEvents } from './endpoint.ts';
import { Pause } from './pause.ts';
import { isHttp2, isHttp2Answer, NOTHING } from './recognise.ts';
import { type Asked, badGateway, badRequest, type Http1RelayOptions, MAX_ASKED, newAsked, type Side } from './side.ts';
import { Sides } from './sides.ts';
import { LINGER_MS, REFUSED_MS } from './times.ts';

export class Http1Relay implements JoinEvents {
  readonly #client: Endpoint;
  readonly #clientPause: Pause;
  readonly #options: Http1RelayOptions;
  readonly #requests: DecidedRequests;
  readonly #asked: Asked[] = [];
  readonly #sides: Sides;
  /** The request whose body is still coming. */
  #sending: Asked | undefined;
  #held: DecidedPiece | undefined;
  /** Everything goes here, both ways. */
  #tunnel: Side | undefined;
  /** The side that takes no more bytes just now. */
  #full: Side | undefined;
  /** The side whose bytes the client does not take just now. */
  #stalled: Side | undefined;
  #hasClientEnded = false;
  /** The last answer has been sent: nothing more is read as a request. */
  #isFinishing = false;
  #isClosed = false;
  #isPumping = false;
  #hasSeenHead = false;
  /** The last request went to a session: the target's idle connection may end without the client's. */
  #wasLastTaken = false;
  readonly #deadline = new Deadline();
  /** Plain requests pass without us, until `onParted`. */
  #isJoined = false;
  #isRetiring = false;

  constructor(options: Http1RelayOptions) {
    this.#options = options;
    this.#client = options.client;
    this.#clientPause = new Pause(options.client);
    this.#requests = new DecidedRequests(options.decide, () => this.#pump(), options.firstHeadMs);
    this.#client.listen({
      onData: (bytes) => this.#onClientData(bytes),
      onEnd: () => this.#onClientEnd(),
      onDrain: () => this.#onClientDrain(),
      onClosed: (error) => this.#close(error !== undefined),
    });
    this.#sides = new Sides(options.connectOrigin, this.#asked, {
      onData: (side, bytes) => this.#onSideData(side, bytes),
      onOver: (side, isFailure) => this.#onSideOver(side, isFailure),
      onDrain: (side) => this.#onSideDrain(side),
    });
    if (options.arrived === undefined) return;
    this.#hasSeenHead = options.arrived.wasAsked;
    this.#isJoined = this.#client.isJoined?.(this.#sides.origin.endpoint, this) === true;
  }

  /** The session of a taker has ended: its requests in flight are answered with 502, or cut if their answer had begun. */
  revoke(taker: Taker): void {
    const side = this.#sides.get(taker);
    if (side === undefined) return;
    side.endpoint.destroy();
    this.#onSideOver(side, true);
  }

  /** Cuts the connection: the port is not ours any more, or the process ends. */
  destroy(): void {
    this.#client.destroy();
    this.#close(true);
  }

  /** The process is about to end: between two requests so does the connection. @returns whether to come again, as an answer is due */
  retire(): boolean {
    this.#isRetiring = true;
    this.#client.part?.();
    const isAtRest = this.#asked.length === 0 && this.#hasSeenHead && this.#requests.isAtRequest;
    if (this.#tunnel === undefined && isAtRest) this.#finish();
    return this.#tunnel === undefined && !this.#isClosed;
  }

  #onClientData(bytes: Buffer): void {
    if (this.#isFinishing) return;
    if (this.#sides.origin.isOver) this.#deadline.stop();
    this.#requests.push(bytes);
    this.#pump();
  }

  #onClientEnd(): void {
    this.#hasClientEnded = true;
    this.#requests.end();
    this.#pump();
  }

  #onClientDrain(): void {
    const side = this.#stalled;
    this.#stalled = undefined;
    if (side !== undefined && !this.#isOriginHeld(side)) side.endpoint.resume();
  }

  /** Sends on what may be sent on. Called whenever something of what it waits for has changed. */
  #pump(): void {
    if (this.#isPumping || this.#isClosed) return;
    this.#isPumping = true;
    while (this.#maySend()) {
      const next = this.#held ?? this.#requests.next();
      if (next === undefined) break;
      this.#held = this.#forward(next.piece, next.taker) ? undefined : next;
      if (this.#held !== undefined) break;
    }
    this.#isPumping = false;
    if (this.#isClosed || this.#isFinishing) return;
    const isWaiting = !this.#maySend() || this.#held !== undefined;
    if (isWaiting) this.#held = this.#requests.keep(this.#held);
    if (this.#held !== undefined && this.#asked[0]?.isEndless) this.#deadline.start(LINGER_MS, () => this.#finish());
    const hasMore = this.#held !== undefined || this.#requests.waitingBytes > 0;
    if (this.#hasClientEnded && !(isWaiting && hasMore)) this.#passEndOn();
    // Who waits for the answer to an upgrade and has nothing to say may still end.
    this.#clientPause.set(isWaiting && (hasMore || this.#full !== undefined));
    this.#requests.watchFirstHead(this.#hasSeenHead || this.#tunnel !== undefined);
    if (!isWaiting) this.#joinAtRest();
  }

  /** Between two requests, of which the last was the target's: its end is the client's. */
  #joinAtRest(): void {
    const isBusy = this.#asked.length > 0 || this.#stalled !== undefined || this.#tunnel !== undefined;
    const isEnding = this.#hasClientEnded || this.#sides.origin.isOver || this.#isJoined || this.#isRetiring;
    if (isBusy || isEnding || this.#wasLastTaken || !this.#hasSeenHead) return;
    if (!this.#requests.isAtRequest || !this.#sides.origin.reader.isAtResponse) return;
    this.#isJoined = this.#client.join?.(this.#sides.origin.endpoint, this.#options.screen, this) === true;
  }

  onParted(method: 'GET' | 'HEAD' | undefined, left: number, isLast: boolean): void {
    this.#isJoined = false;
    if (isLast) this.#requests.endBehind();
    if (method === undefined) return;
    this.#hasSeenHead = true;
    this.#asked.push(newAsked(method, this.#sides.origin, left === 0));
    if (left === 0) return;
    this.#sending = this.#asked[0];
    this.#requests.beginWithin(left);
  }

  onRest(isFromClient: boolean, bytes: Buffer, isFinal: boolean): void {
    if (isFromClient) this.#send(this.#sides.origin, bytes);
    else this.#answer(this.#sides.origin, bytes);
    if (isFinal) this.#finish();
    this.#pump();
  }

  /** False while a side is full, and while what follows a request is HTTP only if its answer says so. */
  #maySend(): boolean {
    if (this.#isFinishing || this.#isClosed || this.#full !== undefined) return false;
    const last = this.#asked.at(-1);
    if (this.#tunnel !== undefined || last === undefined || !last.isSent) return true;
    return !last.mayLeaveHttp && this.#asked.length < MAX_ASKED;
  }

  /** @returns false when the piece has to wait */
  #forward(piece: RequestPiece, taker: Taker | undefined): boolean {
    if (piece.kind === 'head') return this.#forwardHead(piece, taker);
    if (piece.kind === 'body') {
      const asked = this.#sending;
      asked?.kept?.add(piece.bytes);
      if (asked !== undefined && !asked.isGivenUp) this.#send(asked.side, piece.bytes);
      if (asked !== undefined && piece.isLast) {
        asked.isSent = true;
        this.#sending = undefined;
      }
      return true;
    }
    if (this.#tunnel !== undefined) {
      this.#send(this.#tunnel, piece.bytes);
      return true;
    }
    if (!this.#hasSeenHead && isHttp2(piece.bytes)) return this.#handOver(piece.bytes);
    const side = this.#sending?.side ?? this.#sides.freshOrigin();
    if (this.#sending?.isGivenUp) return this.#finish();
    if (this.#sending !== undefined && !side.isOrigin) return this.#refuseBody(this.#sending);
    if (this.#asked.length > 0 && this.#asked[0]?.side !== side) return false;
    this.#tunnel = side;
    this.#send(side, piece.bytes);
    return true;
  }

  /** Of a session's request: what comes behind it could be anybody's request, so nobody gets it. */
  #refuseBody(asked: Asked): true {
    const isOpen = this.#asked[0] === asked;
    if (isOpen && asked.isAnswered) this.destroy();
    this.#leave(asked.side);
    if (isOpen && !this.#isClosed) this.#answer(asked.side, badRequest(asked.method));
    return this.#finish();
  }

  #handOver(fromClient: Buffer, fromOrigin: Buffer = NOTHING): true {
    this.#isClosed = true;
    this.#requests.close();
    this.#deadline.stop();
    const origin = this.#sides.origin.isOver ? undefined : this.#sides.origin.endpoint;
    this.#options.onHttp2({ fromClient, fromOrigin, origin });
    return true;
  }

  #forwardHead(piece: RequestPiece & { kind: 'head' }, wanted: Taker | undefined): boolean {
    const taker = wanted?.isOver ? undefined : wanted;
    const isToOrigin = taker === undefined;
    this.#hasSeenHead = true;
    if (isToOrigin ? this.#isOriginHeld(this.#sides.origin) : this.#asked.length > 0) return false;
    const side = taker === undefined ? this.#sides.freshOrigin() : this.#sides.of(taker);
    const asked = newAsked(piece.head.method, side, piece.isLast, piece.mayLeaveHttp);
    this.#asked.push(asked);
    this.#sending = piece.isLast ? undefined : asked;
    this.#wasLastTaken = !isToOrigin;
    // Nothing of the target's may come between the answers of a session.
    if (!isToOrigin && !this.#sides.origin.isOver) this.#sides.origin.endpoint.pause();
    asked.kept?.add(piece.bytes);
    this.#send(side, piece.bytes);
    return true;
  }

  #send(side: Side, bytes: Buffer): void {
    if (bytes.length > 0 && !side.endpoint.write(bytes)) this.#full = side;
  }

  /** The client's FIN, when every request before it has been sent on. */
  #passEndOn(): void {
    const side = this.#tunnel ?? (this.#sending ?? this.#asked[0])?.side;
    if (side === undefined) this.#finish();
    else side.end(this.#client.isTorn, (this.#tunnel ?? this.#sending) === undefined);
  }

  #onSideDrain(side: Side): void {
    if (this.#full !== side) return;
    this.#full = undefined;
    this.#pump();
  }

  #onSideData(side: Side, bytes: Buffer): void {
    this.#client.part?.();
    if (this.#isClosed || side.isOver) return;
    if (this.#tunnel === side) this.#answer(side, bytes);
    else if (!this.#hasSeenHead && isHttp2Answer(bytes)) this.#handOver(this.#requests.rest(), bytes);
    else this.#onAnswerData(side, bytes);
  }

  #onAnswerData(side: Side, bytes: Buffer): void {
    side.reader.push(bytes);
    for (let piece = side.reader.next(); piece !== undefined; piece = side.reader.next()) {
      this.#onPiece(side, piece);
      if (this.#isClosed || this.#isFinishing) return;
      if (side.isOver) break;
    }
    this.#pump();
  }

  #onPiece(side: Side, piece: ResponsePiece): void {
    const asked = this.#asked[0];
    // Nobody asked for more than one answer: the client would take it for the next one, which is another's.
    if (!side.isOrigin && asked?.side !== side && this.#tunnel !== side) {
      this.#leave(side);
      return;
    }
    this.#answer(side, piece.bytes);
    asked?.kept?.answered();
    if (piece.kind === 'opaque' && side.isOrigin) this.#becomeTunnel(side);
    else if (piece.kind === 'head' && piece.leavesHttp) {
      this.#asked.shift();
      this.#becomeTunnel(side);
    } else if (asked !== undefined && !(piece.kind === 'head' && piece.isInterim)) {
      asked.isAnswered = true;
      // Of a session's without a clear end: goes on to the end of its connection, and no request follows it there.
      if (piece.kind === 'opaque') asked.isEndless = true;
      else if (piece.isLast) this.#onAnswered(asked, piece.isPersistent);
    }
  }

  #answer(side: Side, bytes: Buffer): void {
    if (bytes.length === 0 || this.#client.write(bytes)) return;
    this.#stalled = side;
    side.endpoint.pause();
  }

  #becomeTunnel(side: Side): void {
    if (this.#tunnel !== undefined) return;
    this.#tunnel = side;
    this.#requests.becomeOpaque();
    if (this.#held !== undefined) this.#send(side, this.#held.piece.bytes);
    this.#held = undefined;
  }

  /** The eldest request has its whole answer. */
  #onAnswered({ side, isSent }: Asked, isPersistent: boolean): void {
    side.hasAnswered = true;
    this.#asked.shift();
    if (isSent) side.rest(() => this.#onSideOver(side, false));
    if (!isPersistent) this.#finish();
    else if (this.#asked.length === 0) this.#releaseOrigin();
  }

  /** The side's FIN, or its failure. */
  #onSideOver(side: Side, isFailure: boolean): void {
    if (side.isOver || this.#isClosed) return;
    this.#client.part?.();
    // The beginning of a head that does not go on is what the target had to say.
    if (side.isOrigin) this.#answer(side, side.reader.rest());
    this.#leave(side);
    const eldest = this.#asked[0];
    if (this.#tunnel === side) {
      if (isFailure) this.destroy();
      // Half-closed: the client may go on.
      else this.#client.end(side.endpoint.isTorn);
    } else if (eldest?.side === side && (eldest.isAnswered || side.isOrigin)) {
      // An answer that is cut short ends for the client as it ended for us.
      if (isFailure) this.destroy();
      else this.#finish();
    } else if (eldest?.side === side) {
      if (!this.#sendAgain(eldest)) this.#giveUp(eldest);
    } else if (side.isOrigin) {
      this.#onIdleOriginOver(isFailure);
    }
  }

  #onIdleOriginOver(isFailure: boolean): void {
    // Connected anew when a request is for it: the client saw nothing of it yet, or not lately.
    if (this.#wasLastTaken) return;
    if (this.#hasSeenHead || !isFailure) {
      if (isFailure) this.destroy();
      else this.#finish();
    } else if (this.#requests.waitingBytes === 0) {
      // Nobody listens there. A request may be for a session; who is silent is cut, after what has come by then was read.
      this.#deadline.start(REFUSED_MS, () => this.#deadline.start(1, () => this.destroy()));
    }
  }

  #leave(side: Side): void {
    if (this.#full === side) this.#full = undefined;
    this.#sides.leave(side);
  }

  #sendAgain(asked: Asked): boolean {
    const { side, kept } = asked;
    const isLost = side.taker?.isOver === false && side.reader.isAtResponse && !side.mayHaveGivenUp;
    const pieces = isLost ? kept?.takeAgain() : [];
    if (side.taker === undefined || !pieces?.length) return false;
    asked.side = this.#sides.of(side.taker);
    for (const bytes of pieces) this.#send(asked.side, bytes);
    this.#pump();
    return true;
  }

  #giveUp(asked: Asked): void {
    this.#asked.shift();
    asked.isGivenUp = true;
    this.#answer(asked.side, badGateway(asked.method, !asked.isSent, asked.side.endpoint.whyOver));
    if (!asked.isSent) this.#finish();
    else this.#releaseOrigin();
    this.#pump();
  }

  #releaseOrigin(): void {
    const isHeld = this.#isOriginHeld(this.#sides.origin) || this.#stalled === this.#sides.origin;
    if (!isHeld && !this.#sides.origin.isOver) this.#sides.origin.endpoint.resume();
  }

  /** True while a session's answer is due: the target's side is not read. */
  #isOriginHeld(side: Side): boolean {
    return side.isOrigin && this.#asked[0] !== undefined && !this.#asked[0].side.isOrigin;
  }

  /** The client's last answer has been written. Always true, as what was called for has been dealt with. */
  #finish(): true {
    if (this.#isFinishing || this.#isClosed) return true;
    this.#isFinishing = true;
    this.#client.end(this.#sides.origin.endpoint.isTorn);
    // Read on, to see its FIN.
    this.#clientPause.set(false);
    this.#deadline.start(LINGER_MS, () => this.destroy());
    return true;
  }

  #close(isFailure: boolean): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#requests.close();
    this.#deadline.stop();
    this.#sides.close(isFailure, this.#client.isTorn);
    this.#options.onClosed();
  }
}
