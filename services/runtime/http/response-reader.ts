// Cuts the bytes of a server's direction into responses. It needs to know what was asked: a response to HEAD has no body.

import { Body } from './body.ts';
import { type Framing, isPersistent, responseFraming } from './framing.ts';
import {
  forget,
  nothingSeen,
  type ResponseHead,
  readResponseHead,
  type SeenHead,
  type Unread,
} from './message-head.ts';
import { PushedBytes } from './pushed-bytes.ts';

export type ResponsePiece =
  | Readonly<{
      kind: 'head';
      bytes: Buffer;
      head: ResponseHead;
      /** 1xx but 101: the answer proper is still to come. */
      isInterim: boolean;
      /** 101, or 2xx to CONNECT: what follows is no HTTP, both ways. */
      leavesHttp: boolean;
      /** The whole response: it has no body. */
      isLast: boolean;
      /** Another response may follow on this connection. */
      isPersistent: boolean;
    }>
  | Readonly<{ kind: 'body'; bytes: Buffer; isLast: boolean; isPersistent: boolean }>
  /** Nothing that was asked for, or no HTTP; so is everything after it. */
  | Readonly<{ kind: 'opaque'; bytes: Buffer }>;

/** Push, then pull until there is nothing, as of a RequestReader. */
export class ResponseReader {
  readonly #pushed = new PushedBytes();
  readonly #methodOf: () => string | undefined;
  #body: Body | undefined;
  #isOpaque = false;
  #isPersistent = true;
  readonly #seen: SeenHead = nothingSeen();
  readonly #headAt = (bytes: Buffer, start: number, end: number): ResponseHead | Unread =>
    readResponseHead(bytes, start, end, this.#seen);

  /** @param methodOf the method of the eldest request without an answer; undefined when there is none */
  constructor(methodOf: () => string | undefined) {
    this.#methodOf = methodOf;
  }

  /** True while the body goes on until the connection ends: that end is then its proper one. */
  get isUntilClose(): boolean {
    return this.#body?.isUntilClose ?? false;
  }

  /** True when the next byte begins another response, and all before it have been pulled. */
  get isAtResponse(): boolean {
    return this.#body === undefined && !this.#isOpaque && this.#pushed.length === 0;
  }

  push(chunk: Buffer): void {
    this.#pushed.push(chunk);
  }

  /** All that waits, as it is. */
  rest(): Buffer {
    return this.#pushed.takeTo();
  }

  next(): ResponsePiece | undefined {
    const piece = this.#pushed.length === 0 ? undefined : this.#read();
    if (piece === undefined) this.#pushed.keep();
    return piece;
  }

  #read(): ResponsePiece | undefined {
    if (this.#isOpaque) return this.#opaque();
    return this.#body === undefined ? this.#readHead() : this.#readBody(this.#body);
  }

  #readHead(): ResponsePiece | undefined {
    const method = this.#methodOf();
    if (method === undefined) return this.#opaque();
    const head = this.#pushed.read(this.#headAt);
    if (head === 'incomplete') return undefined;
    forget(this.#seen);
    const framing: Framing | 'doubtful' = head === 'doubtful' ? 'doubtful' : responseFraming(head, method);
    if (head === 'doubtful' || framing === 'doubtful') return this.#opaque();
    const leavesHttp = framing.kind === 'tunnel';
    const isInterim = head.status < 200 && !leavesHttp;
    const body = new Body(framing);
    const isLast = !isInterim && body.isDone;
    this.#isPersistent = isPersistent(head) && framing.kind !== 'until-close';
    if (leavesHttp) this.#isOpaque = true;
    else if (!isInterim && !isLast) this.#body = body;
    const bytes = this.#pushed.takeTo(head.end);
    return { kind: 'head', bytes, head, isInterim, leavesHttp, isLast, isPersistent: this.#isPersistent };
  }

  #readBody(body: Body): ResponsePiece {
    const end = this.#pushed.read((bytes, start, last) => body.take(bytes, start, last));
    if (end === 'doubtful') return this.#opaque();
    if (body.isDone) this.#body = undefined;
    return { kind: 'body', bytes: this.#pushed.takeTo(end), isLast: body.isDone, isPersistent: this.#isPersistent };
  }

  #opaque(): ResponsePiece {
    this.#isOpaque = true;
    this.#body = undefined;
    return { kind: 'opaque', bytes: this.#pushed.takeTo() };
  }
}
