// The body of a request of HTTP/1 while filters decide by it: its pieces as they came, and its content without the framing.

import { RequestBody } from '#http-filter/request-body.ts';
import type { Framing } from './framing.ts';
import { isNamed, type RequestHead } from './message-head.ts';

/** Chunks may be small, and their heads long: so many bytes on the wire are held for one byte of content that may be. */
const WIRE_BYTES_FACTOR = 4;

/** The body of one request of HTTP/1 that is still coming. */
export class Http1Body {
  readonly #isChunked: boolean;
  readonly #maxBytes: number;
  #pieces: Buffer[] = [];
  #length = 0;

  constructor(framing: Framing, maxBytes: number) {
    this.#isChunked = framing.kind === 'chunked';
    this.#maxBytes = maxBytes;
  }

  /** @returns false when it is larger than what may be held */
  add(bytes: Buffer): boolean {
    this.#pieces.push(bytes);
    this.#length += bytes.length;
    return this.#length <= (this.#isChunked ? this.#maxBytes * WIRE_BYTES_FACTOR : this.#maxBytes);
  }

  /** All of it has come. */
  whole(): RequestBody {
    const bytes = Buffer.concat(this.#pieces);
    return new RequestBody(this.#isChunked ? contentOfChunks(bytes) : bytes);
  }
}

/** @param bytes a whole chunked body that has been read once and is well-formed */
function contentOfChunks(bytes: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const lineEnd = bytes.indexOf('\r\n', at);
    const size = Number.parseInt(bytes.toString('latin1', at, lineEnd), 16);
    if (lineEnd === -1 || !(size > 0)) break;
    parts.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + size));
    at = lineEnd + 2 + size + 2;
  }
  return Buffer.concat(parts);
}

/**
 * Whether a body can be waited for: it is within the limit as far as its head tells, and its client sends it without being
 * asked for it (RFC 9110 section 10.1.1).
 */
export function canWaitFor(head: RequestHead, framing: Framing, maxBytes: number): boolean {
  if (framing.kind === 'length' ? framing.bytes > maxBytes : framing.kind !== 'chunked') return false;
  return !head.fields.some((field) => isNamed(head.bytes, field, 'expect'));
}
