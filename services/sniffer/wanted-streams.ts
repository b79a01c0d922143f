// The wanted streams of an HTTP/2 connection, seen from its client's side alone: a connection of their own, with settings,
// windows, header tables and numbers of its own. What belongs to a hop (SETTINGS, PING, WINDOW_UPDATE, PRIORITY, padding) stays
// behind: the client's end of the copy speaks it with the local process.
//
// Where bytes are missing nobody knows the header tables any more: the connection cannot be read from there on.
//
// Buffers: a header block (header-frames.ts), the table of its direction (hpack-decoder.ts), the numbers of wanted streams,
// and requests whose bodies decide, within what the subscription holds of them.

import type { RequestFilter } from '#http-filter/http-filter.ts';
import { RequestBody } from '#http-filter/request-body.ts';
import { EndReason, LossReason } from '#proto/gen/v1/incoming.ts';
import { DataReader } from '#runtime/http2/data-reader.ts';
import {
  Flag,
  FRAME_HEAD_BYTES,
  FrameType,
  frame,
  frameHead,
  goaway,
  headersFrames,
  INITIAL_WINDOW_BYTES,
  MAX_WINDOW_BYTES,
  PREFACE,
  rstStream,
  SAFE_FRAME_BYTES,
  Setting,
  settings,
  windowUpdate,
} from '#runtime/http2/frame.ts';
import { type FramePiece, FrameReader } from '#runtime/http2/frame-reader.ts';
import { HeaderFramesReader } from '#runtime/http2/header-frames.ts';
import { HpackDecoder, MAX_TABLE_BYTES } from '#runtime/http2/hpack-decoder.ts';
import { encodeHeaderBlock } from '#runtime/http2/hpack-encoder.ts';
import { fieldSize, type HeaderField } from '#runtime/http2/hpack-table.ts';
import { Http2Request } from '#runtime/http2/http2-request.ts';
import type { Copy } from './copy.ts';
import type { Counts } from './counts.ts';

export interface WantedStreamsOptions {
  readonly filter: RequestFilter;
  readonly counts: Counts;
  arrive(): Copy;
  spend(bytes: number): void;
  /** So many bytes more, or less, wait for a decision; false: that is too much. */
  hold(bytes: number): boolean;
}

/** A request whose body decides. */
interface Held {
  readonly request: Http2Request;
  readonly fields: readonly HeaderField[];
  readonly parts: Buffer[];
  bytes: number;
}

/** Of one connection: more than servers let their clients open. */
const MAX_OPEN_STREAMS = 10_000;
/** Streams whose request is whole: their client may still cancel them. The oldest are forgotten. */
const MAX_ENDED_STREAMS = 1_024;

/** Heads that are said at once. */
const MAX_OUT_BYTES = 256 * 1024;

/** What a client says first. Its windows for answers are as large as they can be: nobody reads the answers. */
const OPENING = Buffer.concat([
  PREFACE,
  settings([
    [Setting.enablePush, 0],
    [Setting.initialWindowSize, MAX_WINDOW_BYTES],
  ]),
  windowUpdate(0, MAX_WINDOW_BYTES - INITIAL_WINDOW_BYTES),
]);

export class WantedStreams {
  readonly #options: WantedStreamsOptions;
  readonly #reader = new FrameReader((type) => type !== FrameType.data);
  readonly #headers = new HeaderFramesReader();
  readonly #hpack = new HpackDecoder();
  readonly #data = new DataReader();
  #copy: Copy | null = null;
  /** Those that the copy holds, with their numbers there: their requests go on, or are whole. */
  readonly #open = new Map<number, number>();
  readonly #ended = new Map<number, number>();
  readonly #held = new Map<number, Held>();
  /** Of the copy. */
  #nextStreamId = 1;
  /** Of the client: its streams' numbers only ever grow. */
  #lastStreamId = 0;
  #prefaceBytes = 0;
  #isLost = false;
  #lostBy: LossReason = LossReason.LOSS_REASON_UNSPECIFIED;
  #out: Buffer[] = [];
  /** Of heads in it. */
  #outBytes = 0;

  constructor(options: WantedStreamsOptions) {
    this.#options = options;
    // What the target allows is in its answers, which nobody looks at; the blocks say what is used of it.
    this.#hpack.allowTable(MAX_TABLE_BYTES);
  }

  /** Nothing of it can be read any more. */
  get isOver(): boolean {
    return this.#isLost;
  }

  /** From the connection's first byte on. */
  push(bytes: Buffer): void {
    if (this.#isLost) {
      this.#options.counts.lost(this.#lostBy, { bytes: bytes.length });
      return;
    }
    const skipped = Math.min(PREFACE.length - this.#prefaceBytes, bytes.length);
    this.#prefaceBytes += skipped;
    this.#reader.push(bytes.subarray(skipped));
    for (let piece = this.#reader.next(); piece !== undefined; piece = this.#reader.next()) {
      if (piece === 'doubtful' || !this.#take(piece)) {
        this.#flush();
        this.lose(this.#reader.waitingBytes, LossReason.LOSS_REASON_FILTER_LIMIT);
        return;
      }
    }
    this.#reader.keep();
    this.#flush();
  }

  /** Bytes are missing, or cannot be read. What has come of the copy must not be joined to anything behind it. */
  lose(bytes: number, reason: LossReason): void {
    const copy = this.#copy;
    const wasLost = this.#isLost;
    if (!wasLost) this.#lostBy = reason;
    this.#isLost = true;
    this.#copy = null;
    for (const id of [...this.#held.keys()]) this.#release(id);
    if (wasLost || copy === null || copy.isOver) {
      this.#options.counts.lost(reason, { bytes, connections: wasLost ? 0 : 1 });
    } else {
      copy.gap(bytes, reason, false);
      copy.end(EndReason.END_REASON_FAILED, BigInt(Date.now()) * 1_000_000n);
    }
  }

  halfClose(): void {
    this.#copy?.halfClose(false);
  }

  close(reason: EndReason, atNs: bigint): void {
    for (const id of [...this.#held.keys()]) this.#release(id);
    this.#copy?.end(reason, atNs);
  }

  /** @returns false when it is no HTTP/2 that can be read */
  #take(piece: FramePiece): boolean {
    const { type, streamId } = piece.head;
    if (this.#headers.isOpen || type === FrameType.headers || type === FrameType.continuation) {
      return this.#takeHeaders(piece);
    }
    switch (type) {
      case FrameType.data:
        return this.#takeData(piece);
      case FrameType.rstStream:
        this.#cancel(streamId, piece.bytes.readUInt32BE(FRAME_HEAD_BYTES));
        return true;
      case FrameType.goaway:
        if (this.#copy !== null) this.#out.push(goaway(0, piece.bytes.readUInt32BE(FRAME_HEAD_BYTES + 4)));
        return true;
      default:
        // A client pushes nothing (RFC 9113 section 8.4).
        return type !== FrameType.pushPromise;
    }
  }

  /** Every block is decoded, wanted or not: the next one builds on its table. */
  #takeHeaders(piece: FramePiece): boolean {
    const whole = this.#headers.add(piece);
    if (whole === undefined) return true;
    const decoded = whole === 'doubtful' ? undefined : this.#hpack.decode(whole.block);
    if (whole === 'doubtful' || decoded === undefined) return false;
    const { streamId, isEnd } = whole;
    const { fields } = decoded;
    if (streamId > this.#lastStreamId) {
      this.#lastStreamId = streamId;
      return this.#request(streamId, fields, isEnd);
    }
    // What belongs to a decision that cannot be made in full: the trailers of a body.
    if (this.#held.has(streamId)) this.#decide(streamId);
    const own = this.#open.get(streamId);
    if (own === undefined) return true;
    this.#sayHeaders(own, fields, isEnd);
    if (isEnd) this.#end(streamId, own);
    return true;
  }

  #request(streamId: number, fields: readonly HeaderField[], isEnd: boolean): boolean {
    const { filter, counts, hold } = this.#options;
    const request = new Http2Request(fields);
    const isWanted = isEnd ? filter.matches(request) : filter.judge(request);
    if (isWanted === undefined) {
      const bytes = fields.reduce((sum, one) => sum + fieldSize(one), 0);
      this.#held.set(streamId, { request, fields, parts: [], bytes });
      if (!hold(bytes)) this.#giveUp(streamId);
    } else if (isWanted) this.#begin(streamId, fields, isEnd);
    else counts.notMatched += 1;
    return this.#open.size <= MAX_OPEN_STREAMS;
  }

  #begin(streamId: number, fields: readonly HeaderField[], isEnd: boolean): void {
    this.#options.counts.requests += 1;
    // Given up by the local process: what comes next is on a connection that it has not closed.
    if (this.#copy === null || this.#copy.isOver) {
      this.#out = [];
      this.#open.clear();
      this.#ended.clear();
      this.#nextStreamId = 1;
      this.#copy = this.#options.arrive();
      this.#out.push(OPENING);
    }
    const own = this.#nextStreamId;
    this.#nextStreamId += 2;
    this.#open.set(streamId, own);
    this.#sayHeaders(own, fields, isEnd);
    if (isEnd) this.#end(streamId, own);
  }

  /** A header table makes much of a few bytes: it does not wait for all that they bring. */
  #sayHeaders(own: number, fields: readonly HeaderField[], isEnd: boolean): void {
    const frames = headersFrames(own, encodeHeaderBlock(fields), isEnd);
    this.#out.push(frames);
    this.#outBytes += frames.length;
    if (this.#outBytes > MAX_OUT_BYTES) this.#flush();
  }

  #takeData(piece: FramePiece): boolean {
    const { streamId, length, flags } = piece.head;
    const read = this.#data.read(piece);
    if (read === undefined) return false;
    const { data, isEnd } = read;
    const held = this.#held.get(streamId);
    if (held !== undefined) {
      this.#hold(streamId, held, data);
      if (!isEnd) return true;
      if (this.#held.has(streamId)) this.#decide(streamId);
      const decided = this.#open.get(streamId);
      if (decided === undefined) return true;
      this.#out.push(frame(FrameType.data, Flag.endStream, decided, Buffer.alloc(0)));
      this.#end(streamId, decided);
      return true;
    }
    const own = this.#open.get(streamId);
    if (own === undefined) return true;
    if ((flags & Flag.padded) === 0 && length <= SAFE_FRAME_BYTES) {
      if (piece.isFirst) this.#out.push(frameHead(FrameType.data, flags & Flag.endStream, own, length));
      if (data.length > 0) this.#out.push(data);
    } else if (data.length > 0 || isEnd) this.#reframe(own, data, isEnd);
    if (isEnd) this.#end(streamId, own);
    return true;
  }

  #hold(streamId: number, held: Held, data: Buffer): void {
    held.parts.push(Buffer.from(data));
    held.bytes += data.length;
    const isTooMuch = !this.#options.hold(data.length);
    if (isTooMuch) this.#giveUp(streamId);
    else if (sumOf(held.parts) > (this.#options.filter.bodyLimits?.bytes ?? 0)) this.#decide(streamId, false);
  }

  /** More is held than may be: it is decided without its body, and that is told. */
  #giveUp(streamId: number): void {
    const bytes = this.#held.get(streamId)?.bytes ?? 0;
    this.#options.counts.lost(LossReason.LOSS_REASON_FILTER_LIMIT, { bytes });
    this.#decide(streamId, false);
  }

  #decide(streamId: number, isWhole = true): void {
    const held = this.#release(streamId);
    if (held === undefined) return;
    const body = isWhole ? new RequestBody(Buffer.concat(held.parts)) : null;
    if (!this.#options.filter.judgeWithBody(held.request, body)) {
      this.#options.counts.notMatched += 1;
      return;
    }
    this.#begin(streamId, held.fields, false);
    const own = this.#open.get(streamId);
    if (own !== undefined) for (const part of held.parts) if (part.length > 0) this.#reframe(own, part, false);
  }

  #release(streamId: number): Held | undefined {
    const held = this.#held.get(streamId);
    if (held === undefined) return undefined;
    this.#held.delete(streamId);
    this.#options.hold(-held.bytes);
    return held;
  }

  #cancel(streamId: number, code: number): void {
    if (this.#release(streamId) !== undefined) this.#options.counts.notMatched += 1;
    const own = this.#open.get(streamId) ?? this.#ended.get(streamId);
    if (own === undefined) return;
    this.#open.delete(streamId);
    this.#ended.delete(streamId);
    this.#out.push(rstStream(own, code));
  }

  /** The local process may take smaller frames than the target does. */
  #reframe(streamId: number, data: Buffer, isEnd: boolean): void {
    for (let start = 0; start === 0 || start < data.length; start += SAFE_FRAME_BYTES) {
      const part = data.subarray(start, start + SAFE_FRAME_BYTES);
      const isLast = start + SAFE_FRAME_BYTES >= data.length;
      this.#out.push(frame(FrameType.data, isEnd && isLast ? Flag.endStream : 0, streamId, part));
    }
  }

  #end(streamId: number, own: number): void {
    this.#open.delete(streamId);
    this.#ended.set(streamId, own);
    for (const oldest of this.#ended.keys()) {
      if (this.#ended.size <= MAX_ENDED_STREAMS) return;
      this.#ended.delete(oldest);
    }
  }

  #flush(): void {
    const pieces = this.#out;
    this.#out = [];
    this.#outBytes = 0;
    if (pieces.length === 0 || this.#copy === null) return;
    const bytes = pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces);
    this.#options.spend(bytes.length);
    this.#copy.bytes(bytes, false);
  }
}

const sumOf = (parts: readonly Buffer[]): number => parts.reduce((sum, { length }) => sum + length, 0);
