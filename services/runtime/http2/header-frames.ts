// Puts a header block together from HEADERS and the CONTINUATION frames that must follow it at once.

import { Flag, FRAME_HEAD_BYTES, FrameType } from './frame.ts';
import type { FramePiece } from './frame-reader.ts';

/** HEADERS and CONTINUATION of one block, with their frame heads. */
export const MAX_BLOCK_BYTES = 128 * 1024;
/** Frames of one block: an empty CONTINUATION carries nothing and costs work. */
const MAX_BLOCK_FRAMES = 32;

export type HeaderFrames = Readonly<{
  streamId: number;
  block: Buffer;
  /** The frames as they came. */
  bytes: Buffer;
  isEnd: boolean;
  /** The five bytes of a priority. */
  priority: Buffer | undefined;
}>;

export class HeaderFramesReader {
  #frames: FramePiece[] = [];
  #bytes = 0;

  /** True while only CONTINUATION may come. */
  get isOpen(): boolean {
    return this.#frames.length > 0;
  }

  /** The frames of a block that has not ended, and what made them doubtful, as they came. */
  rest(): Buffer {
    return Buffer.concat(this.#frames.map(({ bytes }) => bytes));
  }

  /** @param piece a whole frame. @returns undefined when more frames belong to it */
  add(piece: FramePiece): HeaderFrames | 'doubtful' | undefined {
    const first = this.#frames[0];
    const isNext =
      first === undefined
        ? piece.head.type === FrameType.headers
        : piece.head.type === FrameType.continuation && piece.head.streamId === first.head.streamId;
    const isEnd = (piece.head.flags & Flag.endHeaders) !== 0;
    // What is kept must not be the chunk of somebody else.
    this.#frames.push(isEnd ? piece : { ...piece, bytes: Buffer.from(piece.bytes) });
    if (!isNext) return 'doubtful';
    this.#bytes += piece.bytes.length;
    if (this.#bytes > MAX_BLOCK_BYTES || this.#frames.length > MAX_BLOCK_FRAMES) return 'doubtful';
    if (!isEnd) return undefined;
    const frames = this.#frames;
    const whole = join(frames);
    if (whole === undefined) return 'doubtful';
    this.#frames = [];
    this.#bytes = 0;
    return whole;
  }
}

function join(frames: readonly FramePiece[]): HeaderFrames | undefined {
  const { head, bytes } = frames[0] as FramePiece;
  const isPadded = (head.flags & Flag.padded) !== 0;
  const hasPriority = (head.flags & Flag.priority) !== 0;
  const priorityStart = FRAME_HEAD_BYTES + (isPadded ? 1 : 0);
  const start = priorityStart + (hasPriority ? 5 : 0);
  const end = bytes.length - (isPadded ? (bytes[FRAME_HEAD_BYTES] ?? 0) : 0);
  if (start > end) return undefined;
  const isOne = frames.length === 1;
  const block = bytes.subarray(start, end);
  return {
    streamId: head.streamId,
    block: isOne
      ? block
      : Buffer.concat([block, ...frames.slice(1).map((one) => one.bytes.subarray(FRAME_HEAD_BYTES))]),
    bytes: isOne ? bytes : Buffer.concat(frames.map((one) => one.bytes)),
    isEnd: (head.flags & Flag.endStream) !== 0,
    priority: hasPriority ? bytes.subarray(priorityStart, start) : undefined,
  };
}
