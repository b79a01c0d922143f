// A connection that a session takes, as an endpoint of the relay: its bytes are frames of the session, within credits both
// ways.

import { errnoName } from '#proto/errno.ts';
import { type AppError, toErrorDetail } from '#proto/errors.ts';
import type { Frame } from '#proto/frame.ts';
import { makeFrame } from '#proto/frame.ts';
import { ErrorDetail } from '#proto/gen/v1/error.ts';
import { Credit, FrameKind } from '#proto/gen/v1/frame.ts';
import { Arrived, Ended, EndReason, LocalEnd } from '#proto/gen/v1/incoming.ts';
import { decodeHead } from '#proto/session-stream.ts';
import { internet, toSocketAddress } from '#proto/socket-address.ts';
import type { Endpoint, EndpointEvents, LocalEnding } from './relay/endpoint.ts';
import type { Subscription, TakenPeer } from './subscription.ts';

/** Bytes that the client may send on one connection before it is granted more. */
const ANSWER_CREDIT_BYTES = 256 * 1024;
/** Credit is given back in steps, not for each frame. */
const GRANT_STEP_BYTES = ANSWER_CREDIT_BYTES / 4;
/** Of one DATA frame. */
const FRAME_BYTES = 64 * 1024;

export type TakenOptions = Readonly<{
  id: number;
  subscription: Subscription;
  peer: TakenPeer;
  send: (frame: Frame) => void;
  /** The client would not have it, or no more of it. @param why in fixed words */
  onReset: (why: string) => void;
  /** ENDED has been sent; `isRelief`: the subscription's sum was used up, and is not any more. */
  onEnded: (isRelief: boolean) => void;
}>;

/** Nanoseconds since the epoch. */
const nowNs = (): bigint => BigInt(Date.now()) * 1_000_000n;

/** Of Linux. */
const MAX_ERRNO = 4_095;
const CLOSED_EARLY = 'the local process that took this request closed the connection before its answer';
const NOT_REACHED = 'the local process of the session that took this request was not reached';

export class TakenConnection implements Endpoint {
  readonly #options: TakenOptions;
  #events: EndpointEvents | undefined;
  /** Towards the client: bytes it granted on this id, and what waits for them. */
  #credit: number;
  #waiting: Buffer[] = [];
  #isEndWaiting = false;
  #hasSentEnd = false;
  /** From the client: what has come while the relay was paused. */
  #held: Buffer[] = [];
  #isPaused = false;
  #hasEnded = false;
  #isEndHeld = false;
  #toGrant = 0;
  #receivable = ANSWER_CREDIT_BYTES;
  #bytes = 0n;
  #isOver = false;
  #whyOver: string | undefined;
  /** Bytes that were to be sent, and how many of them were before the request. */
  #written = 0n;
  #requestAt = 0n;
  #localEnd: LocalEnding | undefined;

  constructor(options: TakenOptions) {
    this.#options = options;
    this.#credit = options.subscription.connectionBytes;
    const { peer, subscription } = options;
    const head = Arrived.encode({
      subscription: subscription.id,
      peer: toSocketAddress(internet(peer.peer, peer.peerPort)),
      local: toSocketAddress(internet(peer.local, peer.localPort)),
      atNs: nowNs(),
      isOlder: false,
      creditBytes: ANSWER_CREDIT_BYTES,
      interface: '',
      isForRequests: peer.isForRequests === true,
      tls: peer.tls ?? undefined,
    }).finish();
    subscription.counters.connections += 1n;
    options.send(makeFrame(options.id, FrameKind.FRAME_KIND_ARRIVED, head));
  }

  get whyOver(): string | undefined {
    return this.#whyOver;
  }

  beginRequest(): void {
    this.#requestAt = this.#written;
  }

  get localEnd(): LocalEnding | undefined {
    return this.#localEnd;
  }

  listen(events: EndpointEvents): void {
    this.#events = events;
  }

  write(bytes: Buffer): boolean {
    if (this.#isOver || this.#isEndWaiting) return true;
    this.#written += BigInt(bytes.length);
    // The frames are sent when this turn is over, and the bytes are not there any more.
    this.#waiting.push(Buffer.from(bytes));
    this.#flush();
    return this.#waiting.length === 0;
  }

  end(): void {
    if (this.#isOver || this.#isEndWaiting) return;
    this.#isEndWaiting = true;
    this.#flush();
  }

  destroy(): void {
    this.#finish(EndReason.END_REASON_PEER_RESET);
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    while (!this.#isPaused && this.#held.length > 0) this.#deliver(this.#held.shift() as Buffer);
    if (!this.#isPaused && this.#isEndHeld) this.#onEnd();
  }

  /** A frame of the client's on this id. */
  receive(frame: Frame): void {
    if (this.#isOver) return;
    switch (frame.kind) {
      case FrameKind.FRAME_KIND_CREDIT: {
        const { bytes } = Credit.decode(frame.head);
        this.#credit += bytes;
        this.#options.subscription.availableBytes += bytes;
        this.#flush();
        return;
      }
      case FrameKind.FRAME_KIND_DATA:
        this.#onData(Buffer.from(frame.data));
        return;
      case FrameKind.FRAME_KIND_HALF_CLOSE:
        this.#localEnd = this.#hasReached(frame.head) ? 'perhaps' : 'not reached';
        if (this.#isPaused || this.#held.length > 0) this.#isEndHeld = true;
        else this.#onEnd();
        return;
      case FrameKind.FRAME_KIND_RESET:
        this.#localEnd = 'perhaps';
        this.#whyOver = resetText(frame.head);
        this.#options.onReset(this.#whyOver);
        this.#finish(EndReason.END_REASON_CLIENT_RESET);
        this.#events?.onClosed(new Error('the session reset the connection'));
        return;
      default:
    }
  }

  /** The session is gone: nothing more is sent, and the relay is told. */
  abandon(error: AppError): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#waiting = [];
    this.#events?.onClosed(error);
  }

  /** Something of the subscription's sum was given back by another connection. */
  retry(): void {
    if (this.#waiting.length > 0) this.#flush();
  }

  /** An older client does not say. */
  #hasReached(end: Uint8Array): boolean {
    return end.length === 0 || decodeHead(LocalEnd.decode, end).bytes > this.#requestAt;
  }

  #onData(bytes: Buffer): void {
    this.#receivable -= bytes.length;
    // More than was granted: the client does not keep to the protocol, and nothing of it is trusted any more.
    if (this.#receivable < 0 || this.#hasEnded) {
      this.#whyOver = 'the session that took this request sent more than it may';
      this.#options.onReset(this.#whyOver);
      this.#finish(EndReason.END_REASON_FAILED);
      this.#events?.onClosed(new Error('the session sent more than it was granted'));
    } else if (this.#isPaused || this.#held.length > 0) this.#held.push(bytes);
    else this.#deliver(bytes);
  }

  #deliver(bytes: Buffer): void {
    this.#toGrant += bytes.length;
    this.#events?.onData(bytes);
    if (this.#toGrant < GRANT_STEP_BYTES || this.#isOver) return;
    this.#receivable += this.#toGrant;
    const head = Credit.encode({ bytes: this.#toGrant }).finish();
    this.#toGrant = 0;
    this.#options.send(makeFrame(this.#options.id, FrameKind.FRAME_KIND_CREDIT, head));
  }

  #onEnd(): void {
    this.#isEndHeld = false;
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#whyOver = CLOSED_EARLY;
    this.#events?.onEnd();
    this.#endIfBoth();
  }

  #flush(): void {
    const { id, subscription, send } = this.#options;
    const wasWaiting = this.#waiting.length > 0;
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      const room = Math.min(this.#credit, subscription.availableBytes, FRAME_BYTES);
      if (room <= 0) return;
      const part = next.subarray(0, room);
      if (part.length === next.length) this.#waiting.shift();
      else this.#waiting[0] = next.subarray(room);
      this.#credit -= part.length;
      subscription.availableBytes -= part.length;
      subscription.counters.bytes += BigInt(part.length);
      this.#bytes += BigInt(part.length);
      send(makeFrame(id, FrameKind.FRAME_KIND_DATA, undefined, part));
    }
    if (this.#isEndWaiting && !this.#hasSentEnd) {
      this.#hasSentEnd = true;
      send(makeFrame(id, FrameKind.FRAME_KIND_HALF_CLOSE));
      this.#endIfBoth();
    } else if (wasWaiting) this.#events?.onDrain();
  }

  #endIfBoth(): void {
    if (!this.#hasSentEnd || !this.#hasEnded || this.#isOver) return;
    this.#finish(EndReason.END_REASON_CLOSED);
    this.#events?.onClosed(undefined);
  }

  #finish(reason: Ended['reason'], error?: AppError): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#waiting = [];
    const { id, send, onEnded, subscription } = this.#options;
    const head = Ended.encode({
      reason,
      error: error === undefined ? undefined : toErrorDetail(error),
      bytes: this.#bytes,
      lostBytes: 0n,
      atNs: nowNs(),
      isUnanswered: false,
    }).finish();
    send(makeFrame(id, FrameKind.FRAME_KIND_ENDED, head));
    // What was sent and not granted again: the id is over, and nobody grants on it any more.
    const wasExhausted = subscription.availableBytes <= 0;
    subscription.availableBytes += Math.max(0, subscription.connectionBytes - this.#credit);
    onEnded(wasExhausted && subscription.availableBytes > 0);
  }
}

/** Nothing but the number of an errno is taken over: whoever asked for the request reads it. */
function resetText(head: Uint8Array): string {
  const errno = head.length === 0 ? 0 : decodeHead(ErrorDetail.decode, head).errno;
  return errno === 0 || errno > MAX_ERRNO ? CLOSED_EARLY : `${NOT_REACHED} (${errnoName(errno)})`;
}
