// Cuts the bytes of one client's direction into requests: heads, pieces of bodies, and what is no HTTP. The pieces, one after
// the other, are exactly the bytes that came.

import { Body } from './body.ts';
import { asksForUpgrade, type Framing, isPersistent, requestFraming } from './framing.ts';
import { forget, nothingSeen, type RequestHead, readRequestHead, type SeenHead, type Unread } from './message-head.ts';
import { PushedBytes } from './pushed-bytes.ts';

export type RequestPiece =
  /** A request begins. `isLast`: it has no body. `mayLeaveHttp`: what follows it is HTTP only if the answer says so. */
  | Readonly<{
      kind: 'head';
      bytes: Buffer;
      head: RequestHead;
      framing: Framing;
      isLast: boolean;
      mayLeaveHttp: boolean;
    }>
  | Readonly<{ kind: 'body'; bytes: Buffer; isLast: boolean }>
  /** No HTTP, or none that everybody reads the same; so is everything after it. */
  | Readonly<{ kind: 'opaque'; bytes: Buffer }>;

/**
 * Push what has come, then pull pieces until there are none. Pieces are views of the pushed chunk, which must not change until
 * then; what is left over is copied: at most one head (64 KiB), or what the caller chose not to pull.
 */
export class RequestReader {
  readonly #pushed = new PushedBytes();
  #body: Body | undefined;
  #isOpaque = false;
  /** This request is the connection's last: bytes behind it are nobody's request (RFC 9112 section 9.6). */
  #isLastRequest = false;
  /** A line of thousands of bytes may come one by one. */
  readonly #seen: SeenHead = nothingSeen();
  readonly #headAt = (bytes: Buffer, start: number, end: number): RequestHead | Unread =>
    readRequestHead(bytes, start, end, this.#seen);

  /** Bytes that have been pushed and not been pulled. */
  get waitingBytes(): number {
    return this.#pushed.length;
  }

  /** True between two requests: nothing of a request has been pulled whose end has not. */
  get isBetweenRequests(): boolean {
    return this.#body === undefined && !this.#isOpaque;
  }

  /** True when the next byte begins another request, and all before it have been pulled. */
  get isAtRequest(): boolean {
    return this.isBetweenRequests && !this.#isLastRequest && this.#pushed.length === 0;
  }

  /** At a request: what comes is the rest of its body, so many bytes, of at least one. */
  beginWithin(left: number): void {
    this.#body = new Body({ kind: 'length', bytes: left });
  }

  /** The request that was sent on by another was the last one. */
  endBehind(): void {
    this.#isLastRequest = true;
  }

  push(chunk: Buffer): void {
    this.#pushed.push(chunk);
  }

  /** The next piece; undefined when more bytes are needed. */
  next(): RequestPiece | undefined {
    const piece = this.#pushed.length === 0 ? undefined : this.#read();
    if (piece === undefined) this.keep();
    return piece;
  }

  /** Copies what waits, so that the chunk may be used again although not all has been pulled. */
  keep(): void {
    this.#pushed.keep();
  }

  /** All that waits, as it is. */
  rest(): Buffer {
    forget(this.#seen);
    return this.#pushed.takeTo();
  }

  /** From here on nothing is HTTP: the answer switched protocols. */
  becomeOpaque(): void {
    this.#isOpaque = true;
    this.#body = undefined;
  }

  #read(): RequestPiece | undefined {
    if (this.#isOpaque || (this.#isLastRequest && this.#body === undefined)) return this.#opaque();
    return this.#body === undefined ? this.#readHead() : this.#readBody(this.#body);
  }

  #readHead(): RequestPiece | undefined {
    const head = this.#pushed.read(this.#headAt);
    if (head === 'incomplete') return undefined;
    forget(this.#seen);
    const framing = head === 'doubtful' ? 'doubtful' : requestFraming(head);
    if (head === 'doubtful' || framing === 'doubtful') return this.#opaque();
    this.#isLastRequest = !isPersistent(head);
    // The bytes of a tunnel are not this request's body: they wait for the answer.
    const body = framing.kind === 'tunnel' ? undefined : new Body(framing);
    const isLast = body === undefined || body.isDone;
    this.#body = isLast ? undefined : body;
    const mayLeaveHttp = framing.kind === 'tunnel' || asksForUpgrade(head);
    return { kind: 'head', bytes: this.#pushed.takeTo(head.end), head, framing, isLast, mayLeaveHttp };
  }

  #readBody(body: Body): RequestPiece {
    const end = this.#pushed.read((bytes, start, last) => body.take(bytes, start, last));
    if (end === 'doubtful') return this.#opaque();
    if (body.isDone) this.#body = undefined;
    return { kind: 'body', bytes: this.#pushed.takeTo(end), isLast: body.isDone };
  }

  #opaque(): RequestPiece {
    this.becomeOpaque();
    return { kind: 'opaque', bytes: this.#pushed.takeTo() };
  }
}
