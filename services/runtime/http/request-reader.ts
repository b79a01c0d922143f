// Cuts the bytes of one client's direction into requests: heads, pieces of bodies, and what is no HTTP. The pieces, one after
// the other, are exactly the bytes that came.

import { Body } from './body.ts';
import { asksForUpgrade, type Framing, isPersistent, requestFraming } from './framing.ts';
import { type RequestHead, readRequestHead } from './message-head.ts';

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

const NOTHING = Buffer.alloc(0);

/**
 * Push what has come, then pull pieces until there are none. Pieces are views of the pushed chunk, which must not change until
 * then; what is left over is copied: at most one head (64 KiB), or what the caller chose not to pull.
 */
export class RequestReader {
  #bytes: Buffer = NOTHING;
  #at = 0;
  /** True while `#bytes` is the caller's and not our copy. */
  #isBorrowed = false;
  #body: Body | undefined;
  #isOpaque = false;
  /** This request is the connection's last: bytes behind it are nobody's request (RFC 9112 section 9.6). */
  #isLastRequest = false;

  /** Bytes that have been pushed and not been pulled. */
  get waitingBytes(): number {
    return this.#bytes.length - this.#at;
  }

  /** True between two requests: nothing of a request has been pulled whose end has not. */
  get isBetweenRequests(): boolean {
    return this.#body === undefined && !this.#isOpaque;
  }

  push(chunk: Buffer): void {
    this.#bytes = this.waitingBytes === 0 ? chunk : Buffer.concat([this.#bytes.subarray(this.#at), chunk]);
    this.#isBorrowed = this.#bytes === chunk;
    this.#at = 0;
  }

  /** The next piece; undefined when more bytes are needed. */
  next(): RequestPiece | undefined {
    const piece = this.waitingBytes === 0 ? undefined : this.#read();
    if (piece === undefined) this.keep();
    return piece;
  }

  /** Copies what waits, so that the chunk may be used again although not all has been pulled. */
  keep(): void {
    if (!this.#isBorrowed) return;
    this.#bytes = this.waitingBytes === 0 ? NOTHING : Buffer.from(this.#bytes.subarray(this.#at));
    this.#at = 0;
    this.#isBorrowed = false;
  }

  /** From here on nothing is HTTP: the answer switched protocols. */
  becomeOpaque(): void {
    this.#isOpaque = true;
    this.#body = undefined;
  }

  #read(): RequestPiece | undefined {
    if (this.#isOpaque) return this.#opaque();
    return this.#body === undefined ? this.#readHead() : this.#readBody(this.#body);
  }

  #readHead(): RequestPiece | undefined {
    if (this.#isLastRequest) return this.#opaque();
    const head = readRequestHead(this.#bytes, this.#at, this.#bytes.length);
    if (head === 'incomplete') return undefined;
    const framing = head === 'doubtful' ? 'doubtful' : requestFraming(head);
    if (head === 'doubtful' || framing === 'doubtful') return this.#opaque();
    const bytes = this.#bytes.subarray(this.#at, head.end);
    this.#at = head.end;
    this.#isLastRequest = !isPersistent(head);
    // The bytes of a tunnel are not this request's body: they wait for the answer.
    const body = framing.kind === 'tunnel' ? undefined : new Body(framing);
    const isLast = body === undefined || body.isDone;
    if (!isLast) this.#body = body;
    return {
      kind: 'head',
      bytes,
      head,
      framing,
      isLast,
      mayLeaveHttp: framing.kind === 'tunnel' || asksForUpgrade(head),
    };
  }

  #readBody(body: Body): RequestPiece {
    const end = body.take(this.#bytes, this.#at, this.#bytes.length);
    if (end === 'doubtful') return this.#opaque();
    const bytes = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    if (body.isDone) this.#body = undefined;
    return { kind: 'body', bytes, isLast: body.isDone };
  }

  #opaque(): RequestPiece {
    this.becomeOpaque();
    const bytes = this.#bytes.subarray(this.#at);
    this.#at = this.#bytes.length;
    return { kind: 'opaque', bytes };
  }
}
