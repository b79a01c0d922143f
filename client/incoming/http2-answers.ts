// Frames out of what the local process answers on HTTP/2: those that a client owes something for. Pure.
//
// Buffers: one frame that is read.

import {
  DATA,
  END_STREAM,
  GOAWAY,
  HEAD_BYTES,
  HEADERS,
  PING,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from './http2-frames.ts';

/** Frames of an answer that are read are small; a larger one is no HTTP/2 that this side has asked for. */
const MAX_READ_BYTES = 16_384;
const READ_TYPES = [SETTINGS, PING, WINDOW_UPDATE, RST_STREAM, GOAWAY];

export interface AnswersSeen {
  frame(type: number, flags: number, streamId: number, payload: Buffer): void;
  streamBegins(streamId: number): void;
  streamEnds(streamId: number): void;
}

/** Of DATA the sum alone, of HEADERS nothing; both may end their stream. */
export class AnswerFrames {
  readonly #seen: AnswersSeen;
  #rest: Buffer = Buffer.alloc(0);
  /** Of a frame that is passed over. */
  #skip = 0;
  #dataBytes = 0;
  #isBroken = false;

  constructor(seen: AnswersSeen) {
    this.#seen = seen;
  }

  takeDataBytes(): number {
    const bytes = this.#dataBytes;
    this.#dataBytes = 0;
    return bytes;
  }

  push(chunk: Buffer): void {
    if (this.#isBroken) return;
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    for (;;) {
      const skipped = Math.min(this.#skip, bytes.length);
      this.#skip -= skipped;
      bytes = bytes.subarray(skipped);
      if (bytes.length < HEAD_BYTES) break;
      const length = bytes.readUIntBE(0, 3);
      const type = bytes[3] as number;
      const isRead = READ_TYPES.includes(type);
      if (type === DATA) this.#dataBytes += length;
      const isOfStream = type === DATA || type === HEADERS;
      const streamId = bytes.readUInt32BE(5) & 0x7fff_ffff;
      if (isOfStream) this.#seen.streamBegins(streamId);
      if (isOfStream && ((bytes[4] as number) & END_STREAM) !== 0) this.#seen.streamEnds(streamId);
      if (!isRead) {
        this.#skip = HEAD_BYTES + length;
        continue;
      }
      if (length > MAX_READ_BYTES || (length < 4 && type !== SETTINGS)) {
        this.#isBroken = true;
        break;
      }
      if (bytes.length < HEAD_BYTES + length) break;
      const payload = bytes.subarray(HEAD_BYTES, HEAD_BYTES + length);
      this.#seen.frame(type, bytes[4] as number, streamId, payload);
      this.#skip = HEAD_BYTES + length;
    }
    this.#rest = this.#isBroken ? Buffer.alloc(0) : Buffer.from(bytes);
  }
}
