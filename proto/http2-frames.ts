// Frames of HTTP/2 (RFC 9113 section 4) as far as bytes go past node:http2: heads read and written, the ends of frames in what
// node writes, and what a peer's SETTINGS say of sizes.

export const FRAME_HEAD_BYTES = 9;
export const PREFACE_BYTES = 24;

export const HTTP2_DATA = 0;
export const HTTP2_HEADERS = 1;
export const HTTP2_RST_STREAM = 3;
export const HTTP2_SETTINGS = 4;
export const HTTP2_WINDOW_UPDATE = 8;

/** Of DATA and HEADERS; of SETTINGS the first is ACK. */
export const END_STREAM = 1;
export const ACK = 1;
export const PADDED = 8;

const INITIAL_WINDOW_SIZE = 4;
const MAX_FRAME_SIZE = 5;

export interface FrameHead {
  readonly length: number;
  readonly type: number;
  readonly flags: number;
  readonly id: number;
}

export function readFrameHead(bytes: Buffer, at: number): FrameHead {
  return {
    // By hand: this is read and written for each frame by code that is seldom run for long enough to be made fast.
    length: ((bytes[at] as number) << 16) | ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number),
    type: bytes[at + 3] as number,
    flags: bytes[at + 4] as number,
    id: bytes.readUInt32BE(at + 5) & 0x7fff_ffff,
  };
}

export function frameHead(length: number, type: number, flags: number, id: number): Buffer {
  const head = Buffer.allocUnsafe(FRAME_HEAD_BYTES);
  head[0] = length >>> 16;
  head[1] = length >>> 8;
  head[2] = length;
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(id, 5);
  return head;
}

export function windowUpdate(id: number, bytes: number): Buffer {
  const frame = Buffer.allocUnsafe(FRAME_HEAD_BYTES + 4);
  frameHead(4, HTTP2_WINDOW_UPDATE, 0, id).copy(frame);
  frame.writeUInt32BE(bytes, FRAME_HEAD_BYTES);
  return frame;
}

/** What is not said stays. */
export function readSettings(payload: Buffer): { initialWindowBytes?: number; maxFrameBytes?: number } {
  const found: { initialWindowBytes?: number; maxFrameBytes?: number } = {};
  for (let at = 0; at + 6 <= payload.length; at += 6) {
    const value = payload.readUInt32BE(at + 2);
    if (payload.readUInt16BE(at) === INITIAL_WINDOW_SIZE) found.initialWindowBytes = value;
    else if (payload.readUInt16BE(at) === MAX_FRAME_SIZE) found.maxFrameBytes = value;
  }
  return found;
}

/** Finds the heads of frames in bytes that come in chunks of any size. */
export class FrameWalk {
  readonly #onFrame: (head: FrameHead) => void;
  readonly #head = Buffer.alloc(FRAME_HEAD_BYTES);
  #filled = 0;
  #skip: number;

  /** @param skip bytes before the first frame */
  constructor(skip: number, onFrame: (head: FrameHead) => void) {
    this.#skip = skip;
    this.#onFrame = onFrame;
  }

  /** Nothing of a frame, or all of it, has passed. */
  get isBetween(): boolean {
    return this.#skip === 0 && this.#filled === 0;
  }

  pass(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, chunk.length - at);
        this.#skip -= skipped;
        at += skipped;
        continue;
      }
      const copied = chunk.copy(this.#head, this.#filled, at, at + FRAME_HEAD_BYTES - this.#filled);
      this.#filled += copied;
      at += copied;
      if (this.#filled < FRAME_HEAD_BYTES) return;
      this.#filled = 0;
      const head = readFrameHead(this.#head, 0);
      this.#skip = head.length;
      this.#onFrame(head);
    }
  }
}
