// Frames of WebSocket (RFC 6455 section 5.2) as far as a port-forward uses them: binary ones both ways, ping, pong and close.
// Pure; payload is handed on as slices of what was received.

import { randomFillSync } from 'node:crypto';
import { AppError } from '#proto/errors.ts';

export const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

/** Of one frame; the kubelet's own have 32 KiB. */
const MAX_PAYLOAD_BYTES = 32 * 1024 * 1024;
const MAX_CONTROL_BYTES = 125;

/**
 * The head of a client's frame. A mask keeps a page's bytes from being taken for a request by a proxy that reads the plain
 * connection: below TLS there is none that could, and the mask is zero, which changes no byte. Without TLS `payload` is
 * masked in place.
 */
export function frameHead(opcode: number, payload: readonly Buffer[], isBelowTls: boolean): Buffer {
  const length = payload.reduce((sum, part) => sum + part.length, 0);
  const extra = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const head = Buffer.alloc(2 + extra + 4);
  head[0] = 0x80 | opcode;
  head[1] = 0x80 | (extra === 0 ? length : extra === 2 ? 126 : 127);
  if (extra === 2) head.writeUInt16BE(length, 2);
  if (extra === 8) head.writeBigUInt64BE(BigInt(length), 2);
  if (!isBelowTls) {
    const mask = randomFillSync(head.subarray(2 + extra));
    let at = 0;
    for (const part of payload) {
      for (let i = 0; i < part.length; i += 1, at += 1) part[i] = (part[i] as number) ^ (mask[at & 3] as number);
    }
  }
  return head;
}

export interface FrameHandlers {
  /** A piece of a data frame; `isStart` of its first. */
  onData(piece: Buffer, isStart: boolean): void;
  onControl(opcode: number, payload: Buffer): void;
}

/** Takes what the server sends, in whatever pieces. Throws PROTOCOL_VIOLATION. */
export class FrameReader {
  readonly #handlers: FrameHandlers;
  #head: Buffer = Buffer.alloc(0);
  #opcode = 0;
  #left = 0;
  #isStart = false;
  #control: Buffer[] = [];

  constructor(handlers: FrameHandlers) {
    this.#handlers = handlers;
  }

  push(chunk: Buffer): void {
    let rest = chunk;
    while (rest.length > 0) rest = this.#left > 0 ? this.#payload(rest) : this.#readHead(rest);
  }

  #readHead(chunk: Buffer): Buffer {
    const bytes = this.#head.length === 0 ? chunk : Buffer.concat([this.#head, chunk]);
    const size = headBytes(bytes);
    if (bytes.length < size) {
      this.#head = bytes;
      return Buffer.alloc(0);
    }
    this.#head = Buffer.alloc(0);
    const [first, second] = [bytes[0] as number, bytes[1] as number];
    const opcode = first & 0x0f;
    const length = payloadLength(bytes, second & 0x7f);
    const isControl = opcode >= 8;
    if ((first & 0x70) !== 0 || (second & 0x80) !== 0) throw violation('a frame has reserved bits or is masked');
    if (length > (isControl ? MAX_CONTROL_BYTES : MAX_PAYLOAD_BYTES)) throw violation(`a frame of ${length} bytes`);
    this.#opcode = opcode;
    this.#left = length;
    this.#isStart = opcode !== OPCODE.continuation;
    if (length === 0 && isControl) this.#handlers.onControl(opcode, Buffer.alloc(0));
    return bytes.subarray(size);
  }

  #payload(chunk: Buffer): Buffer {
    const piece = chunk.subarray(0, this.#left);
    this.#left -= piece.length;
    if (this.#opcode < 8) {
      this.#handlers.onData(piece, this.#isStart);
      this.#isStart = false;
    } else {
      this.#control.push(piece);
      if (this.#left === 0) {
        const payload = Buffer.concat(this.#control);
        this.#control = [];
        this.#handlers.onControl(this.#opcode, payload);
      }
    }
    return chunk.subarray(piece.length);
  }
}

/** What is known of it so far; 2 when nothing is. */
function headBytes(bytes: Buffer): number {
  const code = bytes.length < 2 ? 0 : (bytes[1] as number) & 0x7f;
  return code === 126 ? 4 : code === 127 ? 10 : 2;
}

function payloadLength(bytes: Buffer, code: number): number {
  if (code === 126) return bytes.readUInt16BE(2);
  if (code !== 127) return code;
  const length = bytes.readBigUInt64BE(2);
  return length > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(length);
}

function violation(what: string): AppError {
  return new AppError('PROTOCOL_VIOLATION', `port-forward: ${what}`);
}
