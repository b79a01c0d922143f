// Frames of SPDY/3.1 as far as a port-forward uses them. Kubernetes speaks it without its flow control, so there is none here.
// What names a stream is sent uncompressed within the compressed form (RFC 1951 section 3.2.4), and what comes back about it is
// passed over: nothing is ever inflated. Pure; payload is handed on as slices of what was received.

import { AppError } from '#proto/errors.ts';

export const HEAD_BYTES = 8;
const VERSION = 3;
const CONTROL = { synStream: 1, rstStream: 3, ping: 6, goAway: 7 } as const;
const FIN = 1;
/** Of a control frame that is looked at: RST_STREAM and GOAWAY have 8, PING has 4. */
const MAX_CONTROL_BYTES = 8;
/** Deflate at its default window, no dictionary (RFC 1950 section 2.2). */
const ZLIB_HEAD = Buffer.from([0x78, 0x01]);
/** An empty block: what stands before it is complete. */
const FLUSH = Buffer.from([0, 0, 0, 0xff, 0xff]);

/** The stream's first frame. `isFirst` of the connection: all its header blocks are one compressed text. */
export function openStream(stream: number, headers: Readonly<Record<string, string>>, isFirst: boolean): Buffer {
  const words = Object.entries(headers).flat();
  const plain = Buffer.concat([
    uint32(words.length / 2),
    ...words.flatMap((word) => [uint32(word.length), latin(word)]),
  ]);
  const stored = Buffer.alloc(5);
  stored.writeUInt16LE(plain.length, 1);
  stored.writeUInt16LE(plain.length ^ 0xff_ff, 3);
  const block = Buffer.concat([...(isFirst ? [ZLIB_HEAD] : []), stored, plain, FLUSH]);
  // Its priority and its slot are zero, as is the stream that it would belong to.
  return controlFrame(CONTROL.synStream, Buffer.concat([uint32(stream), uint32(0), Buffer.alloc(2), block]));
}

/** We end `stream` for our part. */
export function endStream(stream: number): Buffer {
  const head = dataHead(stream, 0);
  head[4] = FIN;
  return head;
}

export function dataHead(stream: number, length: number): Buffer {
  const head = Buffer.allocUnsafe(HEAD_BYTES);
  head.writeUInt32BE(stream, 0);
  head.writeUInt32BE(length, 4);
  return head;
}

/** The answer to a ping is the ping. */
export function pong(payload: Buffer): Buffer {
  return controlFrame(CONTROL.ping, payload);
}

function controlFrame(type: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt16BE(0x80_00 | VERSION, 0);
  head.writeUInt16BE(type, 2);
  head.writeUInt32BE(payload.length, 4);
  return Buffer.concat([head, payload]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function latin(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

export interface SpdyHandlers {
  onData(stream: number, piece: Buffer): void;
  /** The other side ends the stream for its part. */
  onEnd(stream: number): void;
  /** It takes and gives nothing more of the stream; null: of the whole connection. */
  onReset(stream: number | null): void;
  /** To be answered with `pong`. */
  onPing(payload: Buffer): void;
}

type Control = (typeof CONTROL)[keyof typeof CONTROL];

/** Takes what the server sends, in whatever pieces. Throws PROTOCOL_VIOLATION. */
export class SpdyReader {
  readonly #handlers: SpdyHandlers;
  #head: Buffer = Buffer.alloc(0);
  #left = 0;
  /** Of the frame that is being read; null for a control frame. */
  #stream: number | null = null;
  #isLast = false;
  /** null: it is passed over. */
  #control: Control | null = null;
  #payload: Buffer[] = [];

  constructor(handlers: SpdyHandlers) {
    this.#handlers = handlers;
  }

  push(chunk: Buffer): void {
    let rest = chunk;
    while (rest.length > 0) rest = this.#left > 0 ? this.#readPayload(rest) : this.#readHead(rest);
  }

  #readHead(chunk: Buffer): Buffer {
    const bytes = this.#head.length === 0 ? chunk : Buffer.concat([this.#head, chunk]);
    if (bytes.length < HEAD_BYTES) {
      this.#head = bytes;
      return Buffer.alloc(0);
    }
    this.#head = Buffer.alloc(0);
    const first = bytes.readUInt32BE(0);
    // A length has 24 bits.
    this.#left = bytes.readUIntBE(5, 3);
    this.#stream = null;
    if (first >>> 31 === 0) {
      this.#stream = first;
      this.#isLast = ((bytes[4] as number) & FIN) !== 0;
    } else this.#beginControl((first >>> 16) & 0x7f_ff, first & 0xff_ff);
    if (this.#left === 0) this.#end();
    return bytes.subarray(HEAD_BYTES);
  }

  #beginControl(version: number, type: number): void {
    if (version !== VERSION) throw violation(`a frame of SPDY/${version}`);
    this.#control = type === CONTROL.rstStream || type === CONTROL.ping || type === CONTROL.goAway ? type : null;
    if (this.#control !== null && this.#left > MAX_CONTROL_BYTES)
      throw violation(`a control frame of ${this.#left} bytes`);
    this.#payload = [];
  }

  #readPayload(chunk: Buffer): Buffer {
    const piece = chunk.subarray(0, this.#left);
    this.#left -= piece.length;
    if (this.#stream !== null) this.#handlers.onData(this.#stream, piece);
    else if (this.#control !== null) this.#payload.push(piece);
    if (this.#left === 0) this.#end();
    return chunk.subarray(piece.length);
  }

  #end(): void {
    if (this.#stream !== null) {
      if (this.#isLast) this.#handlers.onEnd(this.#stream);
      return;
    }
    const payload = Buffer.concat(this.#payload);
    this.#payload = [];
    if (this.#control === null) return;
    if (payload.length < 4) throw violation('a control frame that is too short');
    if (this.#control === CONTROL.ping) this.#handlers.onPing(payload);
    else this.#handlers.onReset(this.#control === CONTROL.goAway ? null : payload.readUInt32BE(0));
  }
}

function violation(what: string): AppError {
  return new AppError('PROTOCOL_VIOLATION', `port-forward: ${what}`);
}
