// Counts the bytes of an HTTP/1 body as they pass, whatever the segments; keeps none of them. Chunked bodies (RFC 9112
// section 7.1) with extensions and trailers; a chunk that two readers could read differently is doubtful.

import type { Framing } from './framing.ts';
import { CLASSES, CR, HEX, LF, TOKEN, VALUE } from './syntax.ts';

/** Digits of a chunk's size: 15 hex digits would pass 2^53. */
const MAX_SIZE_DIGITS = 13;
/** Longest line of a chunk's size with its extensions, and of all trailers together, in bytes. */
export const MAX_CHUNK_LINE_BYTES = 4_096;
export const MAX_TRAILER_BYTES = 16_384;

/** Chunk extensions of RFC 9112 section 7.1.1, without white space: with it, readers differ. Every branch begins differently: linear. */
const EXTENSIONS =
  /^(?:;[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:=(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+|"(?:[\t !#-[\]-~]|\\[\t -~])*"))?)+$/;

type ChunkState =
  | 'size'
  | 'extension'
  | 'size-lf'
  | 'data'
  | 'data-cr'
  | 'data-lf'
  | 'trailer-start'
  | 'trailer'
  | 'trailer-lf'
  | 'end-lf';

/**
 * One body. `take` is called with what has come until it says that the body has ended.
 *
 * A body until the end of the connection, or of a tunnel, takes everything and never ends by itself.
 */
export class Body {
  #isDone = false;
  readonly #framing: Framing;
  /** Bytes left of the body, or of the chunk. */
  #left = 0;
  #state: ChunkState = 'size';
  #digits = 0;
  #extension = '';
  #trailerBytes = 0;
  #trailerNameBytes = 0;
  #isInTrailerValue = false;

  constructor(framing: Framing) {
    this.#framing = framing;
    if (framing.kind === 'length') this.#left = framing.bytes;
    this.#isDone = framing.kind === 'length' && framing.bytes === 0;
  }

  /** True once the last byte has been taken; for a body of length 0 from the beginning. */
  get isDone(): boolean {
    return this.#isDone;
  }

  /** True when only the end of the connection ends it. */
  get isUntilClose(): boolean {
    return this.#framing.kind === 'until-close';
  }

  /** Offset behind what belongs to the body of `bytes[start..end)`; what comes after it is the next message's. */
  take(bytes: Buffer, start: number, end: number): number | 'doubtful' {
    if (this.#isDone) return start;
    switch (this.#framing.kind) {
      case 'length': {
        const taken = Math.min(this.#left, end - start);
        this.#left -= taken;
        this.#isDone = this.#left === 0;
        return start + taken;
      }
      case 'chunked':
        return this.#takeChunks(bytes, start, end);
      default:
        return end;
    }
  }

  #takeChunks(bytes: Buffer, start: number, end: number): number | 'doubtful' {
    let at = start;
    while (at < end && !this.#isDone) {
      if (this.#state === 'data') {
        const taken = Math.min(this.#left, end - at);
        this.#left -= taken;
        at += taken;
        if (this.#left === 0) this.#state = 'data-cr';
      } else if (!this.#octet(bytes[at++] as number)) {
        return 'doubtful';
      }
    }
    return at;
  }

  /** One octet outside of a chunk's data; false when it cannot stand there. */
  #octet(octet: number): boolean {
    switch (this.#state) {
      case 'size':
        return this.#size(octet);
      case 'extension':
        if (octet !== CR) {
          this.#extension += String.fromCharCode(octet);
          return this.#extension.length <= MAX_CHUNK_LINE_BYTES;
        }
        this.#state = 'size-lf';
        return EXTENSIONS.test(this.#extension);
      case 'size-lf':
        this.#state = this.#left === 0 ? 'trailer-start' : 'data';
        this.#digits = 0;
        return octet === LF;
      case 'data-cr':
        this.#state = 'data-lf';
        return octet === CR;
      case 'data-lf':
        this.#state = 'size';
        return octet === LF;
      case 'end-lf':
        this.#isDone = true;
        return octet === LF;
      default:
        return this.#trailer(octet);
    }
  }

  #size(octet: number): boolean {
    const classes = CLASSES[octet] as number;
    if (classes & HEX) {
      this.#left = this.#left * 16 + Number.parseInt(String.fromCharCode(octet), 16);
      return ++this.#digits <= MAX_SIZE_DIGITS;
    }
    if (this.#digits === 0) return false;
    if (octet === CR) this.#state = 'size-lf';
    else if (octet === 0x3b) {
      this.#state = 'extension';
      this.#extension = ';';
    }
    // White space before an extension is "bad", and is where readers differ (RFC 9112 section 7.1.1).
    else return false;
    return true;
  }

  #trailer(octet: number): boolean {
    if (++this.#trailerBytes > MAX_TRAILER_BYTES) return false;
    if (this.#state === 'trailer-lf') {
      this.#state = 'trailer-start';
      return octet === LF;
    }
    if (this.#state === 'trailer-start') {
      if (octet === CR) {
        this.#state = 'end-lf';
        return true;
      }
      this.#state = 'trailer';
      this.#trailerNameBytes = 0;
      this.#isInTrailerValue = false;
    }
    if (this.#isInTrailerValue) {
      if (octet === CR) this.#state = 'trailer-lf';
      else if (!((CLASSES[octet] as number) & VALUE)) return false;
      return true;
    }
    if (octet === 0x3a) {
      this.#isInTrailerValue = true;
      return this.#trailerNameBytes > 0;
    }
    this.#trailerNameBytes++;
    return ((CLASSES[octet] as number) & TOKEN) !== 0;
  }
}
