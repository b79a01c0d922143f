// Streams of a client of HTTP/2 that wait until it is known who gets them: those whose bodies decide, and every stream that came
// behind one, because a peer must see streams in the order of their numbers (RFC 9113 section 5.1.1). Bounded in bytes and
// time; then it is decided without the body.

import { RequestBody } from '#http-filter/request-body.ts';
import { DataReader } from '#runtime/http2/data-reader.ts';
import { Flag, FrameType } from '#runtime/http2/frame.ts';
import type { FramePiece } from '#runtime/http2/frame-reader.ts';
import type { HeaderFrames } from '#runtime/http2/header-frames.ts';
import type { HeaderBlock } from '#runtime/http2/hpack-decoder.ts';
import { type Decision, type Taker, Undecided } from './decision.ts';
import { NOTHING } from './recognise.ts';

/** Frames of one connection's waiting streams. */
const MAX_HELD_BYTES = 1024 * 1024;
const MAX_HELD_STREAMS = 256;

/** A block of headers of a stream: its request, or its trailers. */
export type Headers = Readonly<{ whole: HeaderFrames; decoded: HeaderBlock }>;

type Stream = {
  readonly id: number;
  readonly headers: Headers;
  decision: Decision;
  readonly data: DataReader;
  content: Buffer[];
  contentBytes: number;
  readonly frames: Array<FramePiece | Headers>;
  bytes: number;
  timer: NodeJS.Timeout | undefined;
};

export type HeldStreamsOptions = Readonly<{
  /** False in the middle of a frame that is going to the target. */
  mayRelease: () => boolean;
  onStream: (headers: Headers, taker: Taker | undefined) => void;
  onFrame: (frame: FramePiece | Headers) => void;
  /** Time has decided: `release` has something to do. */
  onDecided: () => void;
}>;

export class HeldStreams {
  readonly #options: HeldStreamsOptions;
  readonly #streams = new Map<number, Stream>();
  #bytes = 0;

  constructor(options: HeldStreamsOptions) {
    this.#options = options;
  }

  get isEmpty(): boolean {
    return this.#streams.size === 0;
  }

  has(streamId: number): boolean {
    return this.#streams.has(streamId);
  }

  /** A new stream that has to wait, for its body or for its turn. */
  hold(passing: Headers, decision: Decision): void {
    const headers = copied(passing);
    const id = headers.whole.streamId;
    const stream: Stream = {
      id,
      headers,
      decision,
      data: new DataReader(),
      content: [],
      contentBytes: 0,
      frames: [],
      bytes: headers.whole.bytes.length,
      timer: undefined,
    };
    this.#streams.set(id, stream);
    this.#bytes += stream.bytes;
    if (decision instanceof Undecided) {
      if (headers.whole.isEnd || !canWaitFor(headers.decoded, decision.limits.bytes)) this.#settle(stream, false);
      else stream.timer = setTimeout(() => this.#onTime(stream), decision.limits.waitMs).unref();
    }
    this.#bound();
  }

  /** A frame of a stream that waits; it follows the stream. */
  add(streamId: number, passing: FramePiece | Headers): void {
    const frame = 'whole' in passing ? copied(passing) : { ...passing, bytes: Buffer.from(passing.bytes) };
    const stream = this.#streams.get(streamId) as Stream;
    const bytes = 'whole' in frame ? frame.whole.bytes.length : frame.bytes.length;
    stream.frames.push(frame);
    stream.bytes += bytes;
    this.#bytes += bytes;
    if (stream.decision instanceof Undecided) this.#look(stream, stream.decision, frame);
    this.#bound();
  }

  /** Sends on what is decided, in order. */
  release(): void {
    for (const stream of this.#streams.values()) {
      if (stream.decision instanceof Undecided || !this.#options.mayRelease()) return;
      this.#streams.delete(stream.id);
      this.#bytes -= stream.bytes;
      this.#options.onStream(stream.headers, stream.decision);
      for (const frame of stream.frames) this.#options.onFrame(frame);
    }
  }

  /** Nothing more comes: everything is decided. */
  end(): void {
    for (const stream of this.#streams.values()) this.#settle(stream, false);
  }

  close(): void {
    for (const { timer } of this.#streams.values()) clearTimeout(timer);
    this.#streams.clear();
  }

  #onTime(stream: Stream): void {
    this.#settle(stream, false);
    this.#options.onDecided();
  }

  #look(stream: Stream, { limits }: Undecided, frame: FramePiece | Headers): void {
    if ('whole' in frame) {
      this.#settle(stream, frame.whole.isEnd);
      return;
    }
    const { type, flags } = frame.head;
    if (type === FrameType.rstStream) this.#settle(stream, false);
    if (type !== FrameType.data) return;
    const read = stream.data.read(frame);
    if (read !== undefined) {
      stream.content.push(read.data);
      stream.contentBytes += read.data.length;
    }
    if (read === undefined || stream.contentBytes > limits.bytes) this.#settle(stream, false);
    else if (frame.isLast && (flags & Flag.endStream) !== 0) this.#settle(stream, true);
  }

  #settle(stream: Stream, isWhole: boolean): void {
    const { decision } = stream;
    clearTimeout(stream.timer);
    if (!(decision instanceof Undecided)) return;
    stream.decision = decision.decide(isWhole ? new RequestBody(Buffer.concat(stream.content)) : null);
    stream.content = [];
  }

  /** Too much waits: the eldest are decided without what is missing. */
  #bound(): void {
    if (this.#bytes <= MAX_HELD_BYTES && this.#streams.size <= MAX_HELD_STREAMS) return;
    for (const stream of this.#streams.values()) this.#settle(stream, false);
  }
}

/** As far as the head tells; one whose client waits to be asked for the body would wait for nothing. */
function canWaitFor({ fields }: HeaderBlock, maxBytes: number): boolean {
  const find = (name: string) => fields.find((field) => field.name === name)?.value;
  return find('expect') === undefined && !(Number(find('content-length') ?? 0) > maxBytes);
}

/** What is held stays after the call that brought it. The block has been decoded. */
function copied({ whole, decoded }: Headers): Headers {
  const priority = whole.priority && Buffer.from(whole.priority);
  return { whole: { ...whole, block: NOTHING, bytes: Buffer.from(whole.bytes), priority }, decoded };
}
