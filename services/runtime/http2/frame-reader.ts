// Cuts one direction of a connection into frames. DATA and what is not looked at comes in the pieces in which it arrived; all
// else comes whole. The pieces, one after the other, are exactly the bytes that came.

import { PushedBytes } from '#runtime/http/pushed-bytes.ts';
import { ErrorCode, Flag, FRAME_HEAD_BYTES, type FrameHead, FrameType } from './frame.ts';

/** The largest frame that is put together; larger ones are no frames that we read. */
const MAX_WHOLE_FRAME_BYTES = 64 * 1024;

export type FramePiece = Readonly<{
  head: FrameHead;
  /** As on the wire: the first piece begins with the frame's head. */
  bytes: Buffer;
  isFirst: boolean;
  isLast: boolean;
}>;

export class FrameReader {
  readonly #pushed = new PushedBytes();
  readonly #isWhole: (type: number) => boolean;
  #head: FrameHead | undefined;
  /** Of the frame that has begun. */
  #missing = 0;
  /** Why `next` said 'doubtful', as a GOAWAY has it. */
  fault: number = ErrorCode.noError;

  /** @param isWhole whether frames of a type come in one piece */
  constructor(isWhole: (type: number) => boolean) {
    this.#isWhole = isWhole;
  }

  /** True when no frame has begun that has not ended. */
  get isBetweenFrames(): boolean {
    return this.#head === undefined;
  }

  get waitingBytes(): number {
    return this.#pushed.length;
  }

  /** Between frames, and nothing waits. */
  get isAtRest(): boolean {
    return this.#head === undefined && this.#pushed.length === 0;
  }

  /** What comes next is within a frame, of which others have read the beginning. */
  beginWithin(head: FrameHead, missing: number): void {
    this.#head = head;
    this.#missing = missing;
  }

  push(bytes: Buffer): void {
    this.#pushed.push(bytes);
  }

  /** Copies what waits, so that the chunk may be used again. */
  keep(): void {
    this.#pushed.keep();
  }

  /** Everything that waits, as it is. */
  rest(): Buffer {
    return this.#pushed.takeTo();
  }

  /** The next piece; undefined when more bytes are needed, 'doubtful' when a frame cannot be. Both leave it where it was. */
  next(): FramePiece | 'doubtful' | undefined {
    const piece = this.#pushed.read((bytes, start, end) =>
      this.#head === undefined ? this.#begin(bytes, start, end) : this.#goOn(this.#head, start, end),
    );
    if (piece === undefined || piece === 'doubtful') return piece;
    const { head, to, isFirst } = piece;
    const isLast = this.#missing === 0;
    this.#head = isLast ? undefined : head;
    return { head, bytes: this.#pushed.takeTo(to), isFirst, isLast };
  }

  #begin(
    bytes: Buffer,
    start: number,
    end: number,
  ): { head: FrameHead; to: number; isFirst: true } | 'doubtful' | undefined {
    if (end - start < FRAME_HEAD_BYTES) return undefined;
    const head = {
      length: bytes.readUIntBE(start, 3),
      type: bytes[start + 3] as number,
      flags: bytes[start + 4] as number,
      streamId: bytes.readUInt32BE(start + 5) & 0x7fffffff,
    };
    this.fault = faultOf(head);
    if (this.fault !== ErrorCode.noError) return 'doubtful';
    const whole = start + FRAME_HEAD_BYTES + head.length;
    if (this.#isWhole(head.type)) {
      if (head.length > MAX_WHOLE_FRAME_BYTES) {
        this.fault = ErrorCode.frameSizeError;
        return 'doubtful';
      }
      if (whole > end) return undefined;
    }
    const to = Math.min(whole, end);
    this.#missing = whole - to;
    return { head, to, isFirst: true };
  }

  #goOn(head: FrameHead, start: number, end: number): { head: FrameHead; to: number; isFirst: false } | undefined {
    if (end === start) return undefined;
    const to = Math.min(start + this.#missing, end);
    this.#missing -= to - start;
    return { head, to, isFirst: false };
  }
}

/** Streams and lengths as RFC 9113 section 6 has them. */
function faultOf(head: FrameHead): number {
  if (!hasItsStream(head)) return ErrorCode.protocolError;
  return hasItsLength(head) ? ErrorCode.noError : ErrorCode.frameSizeError;
}

function hasItsStream({ type, streamId }: FrameHead): boolean {
  switch (type) {
    case FrameType.data:
    case FrameType.continuation:
    case FrameType.headers:
    case FrameType.pushPromise:
    case FrameType.priority:
    case FrameType.rstStream:
      return streamId !== 0;
    case FrameType.settings:
    case FrameType.ping:
    case FrameType.goaway:
      return streamId === 0;
    default:
      return true;
  }
}

function hasItsLength({ type, flags, length }: FrameHead): boolean {
  switch (type) {
    case FrameType.pushPromise:
      return length >= 4;
    case FrameType.priority:
      return length === 5;
    case FrameType.rstStream:
    case FrameType.windowUpdate:
      return length === 4;
    case FrameType.settings:
      return (flags & Flag.ack) !== 0 ? length === 0 : length % 6 === 0;
    case FrameType.ping:
      return length === 8;
    case FrameType.goaway:
      return length >= 8;
    default:
      return true;
  }
}
