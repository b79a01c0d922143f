// Reads along on one HTTP/2 connection and counts the frames of our session stream by kind: what really crosses the wire,
// not what either end believes. Sees one direction; bytes may be cut anywhere.

import { decodeBatch } from '../proto/frame.ts';

const PREFACE_BYTES = 24;
const FRAME_HEADER_BYTES = 9;
const MESSAGE_HEADER_BYTES = 5;
const TYPE_DATA = 0;
const FLAG_PADDED = 0x8;

export class WireCount {
  readonly byKind = new Map<number, number>();
  bytes = 0;
  #rest = Buffer.alloc(0);
  /** Of each HTTP/2 stream, the bytes of gRPC messages that are not whole yet. */
  readonly #messages = new Map<number, Buffer>();
  #toSkip: number;

  /** Only the client sends a preface (RFC 9113 section 3.4). */
  constructor(isFromClient: boolean) {
    this.#toSkip = isFromClient ? PREFACE_BYTES : 0;
  }

  push(chunk: Buffer): void {
    this.bytes += chunk.length;
    const skipped = Math.min(this.#toSkip, chunk.length);
    this.#toSkip -= skipped;
    this.#rest = Buffer.concat([this.#rest, chunk.subarray(skipped)]);
    let at = 0;
    while (this.#rest.length - at >= FRAME_HEADER_BYTES) {
      const length = this.#rest.readUIntBE(at, 3);
      const end = at + FRAME_HEADER_BYTES + length;
      if (end > this.#rest.length) break;
      if (this.#rest[at + 3] === TYPE_DATA) this.#pushData(at, end);
      at = end;
    }
    this.#rest = this.#rest.subarray(at);
  }

  #pushData(at: number, end: number): void {
    const stream = this.#rest.readUInt32BE(at + 5) & 0x7fff_ffff;
    const padding = ((this.#rest[at + 4] ?? 0) & FLAG_PADDED) === 0 ? null : (this.#rest[at + FRAME_HEADER_BYTES] ?? 0);
    const data = this.#rest.subarray(at + FRAME_HEADER_BYTES + (padding === null ? 0 : 1), end - (padding ?? 0));
    let message = Buffer.concat([this.#messages.get(stream) ?? Buffer.alloc(0), data]);
    while (message.length >= MESSAGE_HEADER_BYTES) {
      const messageEnd = MESSAGE_HEADER_BYTES + message.readUInt32BE(1);
      if (messageEnd > message.length) break;
      for (const frame of decodeBatch(message.subarray(MESSAGE_HEADER_BYTES, messageEnd))) {
        this.byKind.set(frame.kind, (this.byKind.get(frame.kind) ?? 0) + 1);
      }
      message = message.subarray(messageEnd);
    }
    this.#messages.set(stream, Buffer.from(message));
  }
}
