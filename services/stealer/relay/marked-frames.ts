// Frames of a server of HTTP/2, with marks put into the header blocks of its answers. All blocks are written anew, without the
// server's header table, because they share one; everything else goes through as it is.

import { Flag, FRAME_HEAD_BYTES, FrameType, frame, headersFrames, SAFE_FRAME_BYTES } from '#runtime/http2/frame.ts';
import { type FramePiece, FrameReader } from '#runtime/http2/frame-reader.ts';
import { type HeaderFrames, HeaderFramesReader, MAX_BLOCK_BYTES } from '#runtime/http2/header-frames.ts';
import { HpackDecoder, MAX_TABLE_BYTES } from '#runtime/http2/hpack-decoder.ts';
import { encodeHeaderBlock } from '#runtime/http2/hpack-encoder.ts';
import { type AnswerFrom, type AnswerMarks, markFields } from './answer-fields.ts';

const WHOLE: ReadonlySet<number> = new Set([FrameType.headers, FrameType.pushPromise, FrameType.continuation]);
/** Bytes of a promised stream's id. */
const PROMISED_BYTES = 4;

export class MarkedFrames {
  readonly #marks: AnswerMarks;
  readonly #from: AnswerFrom;
  readonly #reader = new FrameReader((type) => WHOLE.has(type));
  readonly #headers = new HeaderFramesReader();
  readonly #hpack = new HpackDecoder();
  /** PUSH_PROMISE whose CONTINUATION is still to come. */
  #promise: Buffer[] = [];
  /** Something could not be read: from there on all is passed on as it is, for the relay to judge. */
  #isOpaque = false;

  constructor(marks: AnswerMarks, from: AnswerFrom) {
    this.#marks = marks;
    this.#from = from;
    // What the client has allowed its server must keep to; any size that it may then tell of is followed.
    this.#hpack.allowTable(MAX_TABLE_BYTES);
  }

  mark(bytes: Buffer): Buffer {
    if (this.#isOpaque) return bytes;
    this.#reader.push(bytes);
    const parts: Buffer[] = [];
    while (!this.#isOpaque) {
      const piece = this.#reader.next();
      if (piece === undefined) break;
      if (piece === 'doubtful') parts.push(this.rest());
      else parts.push(this.#markPiece(piece));
    }
    if (this.#isOpaque) parts.push(this.#reader.rest());
    else this.#reader.keep();
    return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
  }

  /** All that waits, as it came. Nothing is read any more. */
  rest(): Buffer {
    this.#isOpaque = true;
    const held = [this.#headers.rest(), ...this.#promise, this.#reader.rest()];
    this.#promise = [];
    return Buffer.concat(held);
  }

  #markPiece(piece: FramePiece): Buffer {
    const { type } = piece.head;
    if (type === FrameType.pushPromise || this.#promise.length > 0) return this.#markPromise(piece);
    const isOfBlock = this.#headers.isOpen || type === FrameType.headers || type === FrameType.continuation;
    if (!isOfBlock) return piece.bytes;
    const before = this.#headers.rest();
    const whole = this.#headers.add(piece);
    if (whole === undefined) return Buffer.alloc(0);
    if (whole !== 'doubtful') return this.#markBlock(whole);
    this.#isOpaque = true;
    return Buffer.concat([before, piece.bytes]);
  }

  #markBlock({ streamId, block, bytes, isEnd, priority }: HeaderFrames): Buffer {
    const decoded = this.#hpack.decode(block);
    if (decoded === undefined) {
      this.#isOpaque = true;
      return bytes;
    }
    const fields = markFields(decoded.fields, this.#marks, this.#from);
    return headersFrames(streamId, encodeHeaderBlock(fields, decoded.tableSizes), isEnd, priority);
  }

  /** A request that the server makes up: nothing to mark, but of the same table. */
  #markPromise(piece: FramePiece): Buffer {
    this.#promise.push(Buffer.from(piece.bytes));
    if (this.#promise.reduce((sum, { length }) => sum + length, 0) > MAX_BLOCK_BYTES) return this.rest();
    if ((piece.head.flags & Flag.endHeaders) === 0) return Buffer.alloc(0);
    const [first, ...others] = this.#promise as [Buffer, ...Buffer[]];
    const isPadded = ((first[4] as number) & Flag.padded) !== 0;
    const start = FRAME_HEAD_BYTES + (isPadded ? 1 : 0);
    const end = first.length - (isPadded ? (first[FRAME_HEAD_BYTES] as number) : 0);
    const block = [first.subarray(start + PROMISED_BYTES, end), ...others.map((one) => one.subarray(FRAME_HEAD_BYTES))];
    const decoded = this.#hpack.decode(Buffer.concat(block));
    if (decoded === undefined || start + PROMISED_BYTES > end) return this.rest();
    this.#promise = [];
    const promised = first.subarray(start, start + PROMISED_BYTES);
    return promiseFrames(piece.head.streamId, promised, encodeHeaderBlock(decoded.fields, decoded.tableSizes));
  }
}

function promiseFrames(streamId: number, promised: Buffer, block: Buffer): Buffer {
  const whole = Buffer.concat([promised, block]);
  const frames: Buffer[] = [];
  for (let start = 0; start < whole.length; start += SAFE_FRAME_BYTES) {
    const flags = start + SAFE_FRAME_BYTES >= whole.length ? Flag.endHeaders : 0;
    const type = start === 0 ? FrameType.pushPromise : FrameType.continuation;
    frames.push(frame(type, flags, streamId, whole.subarray(start, start + SAFE_FRAME_BYTES)));
  }
  return Buffer.concat(frames);
}
