// The end of a connection that answers, as a relay sees it, with marks put into the answers. What is asked is read along, so
// that answers are told from bodies; nothing that is asked is changed, and what is no HTTP goes through as it is.

import { RequestReader } from '#runtime/http/request-reader.ts';
import { ResponseReader } from '#runtime/http/response-reader.ts';
import { PREFACE } from '#runtime/http2/frame.ts';
import { type AnswerFrom, type AnswerMarks, markHead } from './answer-fields.ts';
import type { Endpoint, EndpointEvents, LocalEnding } from './endpoint.ts';
import { MarkedFrames } from './marked-frames.ts';
import { isHttp2Answer } from './recognise.ts';

type Reading = Readonly<{ kind: 'unknown' | 'opaque' | 'http1' }> | Readonly<{ kind: 'http2'; frames: MarkedFrames }>;

export class MarkedAnswers implements Endpoint {
  readonly #inner: Endpoint;
  readonly #marks: AnswerMarks;
  readonly #from: AnswerFrom;
  #reading: Reading = { kind: 'unknown' };
  /** What was asked first, until it is known to be HTTP/2 or not. */
  #opening = Buffer.alloc(0);
  /** Methods of requests without a whole answer, the eldest first. */
  readonly #asked: string[] = [];
  readonly #requests = new RequestReader();
  readonly #responses = new ResponseReader(() => this.#asked[0]);

  constructor(inner: Endpoint, marks: AnswerMarks, from: AnswerFrom) {
    this.#inner = inner;
    this.#marks = marks;
    this.#from = from;
  }

  beginRequest(): void {
    this.#inner.beginRequest?.();
  }

  get localEnd(): LocalEnding | undefined {
    return this.#inner.localEnd;
  }

  get whyOver(): string | undefined {
    return this.#inner.whyOver;
  }

  write(bytes: Buffer): boolean {
    if (this.#reading.kind === 'unknown') this.#recognise(bytes);
    else if (this.#reading.kind === 'http1') this.#readAlong(bytes);
    return this.#inner.write(bytes);
  }

  get isTorn(): boolean | undefined {
    return this.#inner.isTorn;
  }

  end(isTorn?: boolean): void {
    this.#inner.end(isTorn);
  }

  destroy(): void {
    this.#inner.destroy();
  }

  pause(): void {
    this.#inner.pause();
  }

  resume(): void {
    this.#inner.resume();
  }

  listen(events: EndpointEvents): void {
    this.#inner.listen({
      onData: (bytes) => {
        const marked = this.#mark(bytes);
        if (marked.length > 0) events.onData(marked);
      },
      onEnd: () => {
        this.#passRest(events);
        events.onEnd();
      },
      onDrain: () => events.onDrain(),
      onClosed: (error) => {
        this.#passRest(events);
        events.onClosed(error);
      },
    });
  }

  /** What was held back as the beginning of something that is not going to end. */
  #passRest(events: EndpointEvents): void {
    const rest = this.#reading.kind === 'http2' ? this.#reading.frames.rest() : this.#responses.rest();
    this.#reading = { kind: 'opaque' };
    if (rest.length > 0) events.onData(rest);
  }

  #recognise(bytes: Buffer): void {
    this.#opening = Buffer.concat([this.#opening, bytes]);
    const seen = this.#opening.subarray(0, PREFACE.length);
    const isLike = seen.equals(PREFACE.subarray(0, seen.length));
    if (isLike && seen.length < PREFACE.length) return;
    if (isLike) this.#beginHttp2();
    else {
      this.#reading = { kind: 'http1' };
      this.#readAlong(this.#opening);
    }
    this.#opening = Buffer.alloc(0);
  }

  #beginHttp2(): void {
    this.#reading = { kind: 'http2', frames: new MarkedFrames(this.#marks, this.#from) };
  }

  #readAlong(bytes: Buffer): void {
    this.#requests.push(bytes);
    for (let piece = this.#requests.next(); piece !== undefined; piece = this.#requests.next()) {
      if (piece.kind === 'head') this.#asked.push(piece.head.method);
    }
  }

  #mark(bytes: Buffer): Buffer {
    if (this.#reading.kind === 'unknown') {
      // It speaks first: a server of HTTP/2 may, and others that do are none of HTTP.
      if (isHttp2Answer(bytes)) this.#beginHttp2();
      else this.#reading = { kind: 'opaque' };
    }
    if (this.#reading.kind === 'http2') return this.#reading.frames.mark(bytes);
    if (this.#reading.kind !== 'http1') return bytes;
    const parts: Buffer[] = [];
    this.#responses.push(bytes);
    for (let piece = this.#responses.next(); piece !== undefined; piece = this.#responses.next()) {
      const head = piece.kind === 'head' && !piece.isInterim ? piece.head : undefined;
      parts.push(head === undefined ? piece.bytes : markHead(piece.bytes, head, this.#marks, this.#from));
      if (piece.kind === 'head' && piece.leavesHttp) this.#reading = { kind: 'opaque' };
      else if (piece.kind !== 'opaque' && piece.isLast) this.#asked.shift();
    }
    return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
  }
}
