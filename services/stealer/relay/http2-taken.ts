// A session's copy of a client connection: to the local process it is an HTTP/2 client like any other, with settings, windows and
// header tables of its own. The streams are those of the client that the session took, under the same numbers.

import { DataReader } from '#runtime/http2/data-reader.ts';
import {
  Flag,
  FRAME_HEAD_BYTES,
  FrameType,
  frame,
  INITIAL_WINDOW_BYTES,
  MAX_WINDOW_BYTES,
  PREFACE,
  readSettings,
  rstStream,
  SETTINGS_ACK,
  Setting,
  settings,
  windowUpdate,
} from '#runtime/http2/frame.ts';
import { type FramePiece, FrameReader } from '#runtime/http2/frame-reader.ts';
import { HeaderFramesReader } from '#runtime/http2/header-frames.ts';
import { HpackDecoder } from '#runtime/http2/hpack-decoder.ts';
import type { HeaderField } from '#runtime/http2/hpack-table.ts';
import { Deadline } from './deadline.ts';
import type { Endpoint } from './endpoint.ts';
import { Batch, type Outbox, Sender } from './http2-sender.ts';
import type { TakenStream } from './http2-stream.ts';

/** What a local process may send on one stream before the client has taken some of it. */
const STREAM_WINDOW_BYTES = 256 * 1024;
/** The same for all its streams. */
const CONNECTION_WINDOW_BYTES = 1024 * 1024;
/** Answers that wait for clients that are slow; beyond it the whole connection to the local process waits. */
const MAX_HELD_ANSWER_BYTES = 4 * 1024 * 1024;
/** Streams that are opened before it has said how many it takes; none should take fewer (RFC 9113 section 6.5.2). */
const STREAMS_BEFORE_SETTINGS = 100;
/** Windows are given back in steps of this, not for each frame. */
const STEP_BYTES = 32 * 1024;

export type TakenEvents = Readonly<{
  onHeaders: (stream: TakenStream, fields: readonly HeaderField[], isEnd: boolean) => void;
  onData: (stream: TakenStream, bytes: Buffer, isEnd: boolean) => void;
  onReset: (stream: TakenStream, code: number) => void;
  /** So much of its upload has gone to the local process. */
  onUploaded: (stream: TakenStream, bytes: number) => void;
  /** No new streams: it has said so. Those after `lastStreamId` have not been looked at. */
  onDraining: (refused: readonly TakenStream[]) => void;
  /** Its end, its failure, or its breach of the protocol: the endpoint is done with. */
  onOver: (streams: readonly TakenStream[]) => void;
  /** What was at hand has been dealt with. */
  onTurn: () => void;
}>;

export class TakenSide {
  readonly #endpoint: Endpoint;
  readonly #events: TakenEvents;
  readonly #reader = new FrameReader((type) => type !== FrameType.data);
  readonly #headers = new HeaderFramesReader();
  readonly #hpack = new HpackDecoder();
  readonly #data = new DataReader();
  readonly #out: Batch;
  readonly #sender: Sender;
  readonly #streams = new Map<number, TakenStream>();
  /** Streams that the local process has not heard of: it takes no more at once. */
  readonly #unopened = new Set<TakenStream>();
  #maxStreams = STREAMS_BEFORE_SETTINGS;
  #initialWindow = INITIAL_WINDOW_BYTES;
  /** Of our window: what it may send, and what has been consumed. */
  #receivable = CONNECTION_WINDOW_BYTES;
  #owed = 0;
  #heldBytes = 0;
  #hasSpoken = false;
  #hasSettings = false;
  #isFull = false;
  #isDraining = false;
  #isOver = false;
  readonly #idleMs: number;
  readonly #idle = new Deadline();

  /** @param idleMs without a stream, until it is closed; 0: it stays */
  constructor(endpoint: Endpoint, events: TakenEvents, idleMs = 0) {
    this.#endpoint = endpoint;
    this.#events = events;
    this.#idleMs = idleMs;
    this.#out = new Batch((bytes) => {
      if (!endpoint.write(bytes)) this.#isFull = true;
    });
    this.#sender = new Sender({
      maySend: () => !this.#isFull && !this.#isOver,
      write: (bytes) => this.#out.add(bytes),
      onSent: (outbox, { dataBytes }) => this.#onSent(outbox, dataBytes),
    });
    endpoint.listen({
      onData: (bytes) => this.#onData(bytes),
      onEnd: () => this.#end(false),
      onDrain: () => {
        this.#isFull = false;
        this.#pump();
        events.onTurn();
      },
      onClosed: () => this.#end(false),
    });
    this.#out.add(PREFACE);
    this.#out.add(
      settings([
        [Setting.enablePush, 0],
        [Setting.initialWindowSize, STREAM_WINDOW_BYTES],
      ]),
    );
    this.#out.add(windowUpdate(0, CONNECTION_WINDOW_BYTES - INITIAL_WINDOW_BYTES));
  }

  get whyOver(): string | undefined {
    return this.#endpoint.whyOver;
  }

  /** True when nothing is left of a connection that takes no new streams. */
  get isDrained(): boolean {
    return this.#isDraining && this.#streams.size === 0;
  }

  /** @param stream its upload begins with its head */
  open(stream: TakenStream): void {
    this.#idle.stop();
    stream.upload.window = this.#initialWindow;
    this.#streams.set(stream.id, stream);
    this.#unopened.add(stream);
    this.#pump();
  }

  /** Something was added to a stream's upload. */
  send(stream: TakenStream): void {
    if (!this.#unopened.has(stream)) this.#sender.add(stream.upload);
    this.#out.flush();
  }

  /** The stream is over for the client. @param code what to tell the local process, if it does not know */
  forget(stream: TakenStream, code: number | undefined): void {
    if (!this.#streams.delete(stream.id)) return;
    this.#sender.forget(stream.upload);
    this.#heldBytes -= stream.download.waitingBytes;
    const isKnown = !this.#unopened.delete(stream);
    if (isKnown && code !== undefined) this.#out.add(rstStream(stream.id, code));
    this.#giveBack();
    this.#pump();
    if (this.isDrained) this.close();
    else if (this.#streams.size === 0 && this.#idleMs > 0 && !this.#isOver) {
      this.#idle.start(this.#idleMs, () => this.#end(false));
    }
  }

  /** So much of a stream's answer has gone to the client, or nowhere. */
  onAnswered(stream: TakenStream, bytes: number): void {
    if (bytes === 0) return;
    this.#heldBytes -= bytes;
    stream.owedToLocal += bytes;
    if (stream.owedToLocal >= STEP_BYTES && !stream.hasLocalEnded) {
      this.#out.add(windowUpdate(stream.id, stream.owedToLocal));
      stream.owedToLocal = 0;
    }
    this.#giveBack();
    this.#out.flush();
  }

  close(): void {
    this.#idle.stop();
    this.#isOver = true;
    this.#endpoint.end();
  }

  destroy(): void {
    this.#idle.stop();
    this.#isOver = true;
    this.#endpoint.destroy();
  }

  /** The session is gone: its streams are given up. */
  abandon(): void {
    this.#end(true);
  }

  #pump(): void {
    while (!this.#isFull && this.#streams.size - this.#unopened.size < this.#maxStreams) {
      const [stream] = this.#unopened;
      if (stream === undefined) break;
      this.#unopened.delete(stream);
      this.#sender.add(stream.upload);
    }
    this.#sender.pump();
    this.#out.flush();
  }

  #onSent(outbox: Outbox, dataBytes: number): void {
    const stream = this.#streams.get(outbox.streamId);
    if (stream !== undefined && dataBytes > 0) this.#events.onUploaded(stream, dataBytes);
  }

  #giveBack(): void {
    if (this.#isOver || this.#owed < STEP_BYTES || this.#heldBytes > MAX_HELD_ANSWER_BYTES) return;
    this.#out.add(windowUpdate(0, this.#owed));
    this.#receivable += this.#owed;
    this.#owed = 0;
  }

  #onData(bytes: Buffer): void {
    if (this.#isOver) return;
    this.#reader.push(bytes);
    for (let piece = this.#reader.next(); piece !== undefined; piece = this.#reader.next()) {
      if (piece === 'doubtful' || !this.#onPiece(piece)) {
        this.#end(true);
        return;
      }
      if (this.#isOver) break;
    }
    if (!this.#isOver) {
      this.#reader.keep();
      this.#giveBack();
      this.#pump();
    }
    this.#events.onTurn();
  }

  /** @returns false when the peer does not speak HTTP/2 */
  #onPiece(piece: FramePiece): boolean {
    const { type, flags, streamId } = piece.head;
    // What a server says first (RFC 9113 section 3.4): anything else is another protocol.
    if (!this.#hasSpoken && type !== FrameType.settings) return false;
    this.#hasSpoken = true;
    if (this.#headers.isOpen || type === FrameType.headers || type === FrameType.continuation) {
      return this.#onHeaderFrame(piece);
    }
    const stream = this.#streams.get(streamId);
    switch (type) {
      case FrameType.data:
        return this.#onDataFrame(piece, stream);
      case FrameType.settings:
        return (flags & Flag.ack) !== 0 || this.#onSettings(readSettings(piece.bytes));
      case FrameType.windowUpdate:
        return this.#onWindowUpdate(piece.bytes.readUInt32BE(FRAME_HEAD_BYTES) & MAX_WINDOW_BYTES, streamId, stream);
      case FrameType.rstStream:
        if (stream !== undefined) this.#events.onReset(stream, piece.bytes.readUInt32BE(FRAME_HEAD_BYTES));
        return true;
      case FrameType.ping:
        if ((flags & Flag.ack) === 0) this.#out.add(frame(type, Flag.ack, 0, piece.bytes.subarray(FRAME_HEAD_BYTES)));
        return true;
      case FrameType.goaway:
        this.#onGoaway(piece.bytes.readUInt32BE(FRAME_HEAD_BYTES) & MAX_WINDOW_BYTES);
        return true;
      default:
        // Pushes were refused; frames that nobody knows are passed over (RFC 9113 section 5.5).
        return type !== FrameType.pushPromise;
    }
  }

  #onHeaderFrame(piece: FramePiece): boolean {
    const whole = this.#headers.add(piece);
    if (whole === undefined) return true;
    const decoded = whole === 'doubtful' ? undefined : this.#hpack.decode(whole.block);
    if (whole === 'doubtful' || decoded === undefined) return false;
    const stream = this.#streams.get(whole.streamId);
    if (stream !== undefined && !stream.hasLocalEnded) this.#events.onHeaders(stream, decoded.fields, whole.isEnd);
    return true;
  }

  #onDataFrame(piece: FramePiece, stream: TakenStream | undefined): boolean {
    const flowBytes = piece.bytes.length - (piece.isFirst ? FRAME_HEAD_BYTES : 0);
    this.#receivable -= flowBytes;
    this.#owed += flowBytes;
    const read = this.#data.read(piece);
    if (read === undefined || this.#receivable < 0) return false;
    if (stream === undefined || stream.hasLocalEnded) return true;
    stream.owedToLocal += flowBytes - read.data.length;
    this.#heldBytes += read.data.length;
    this.#events.onData(stream, read.data, read.isEnd);
    return true;
  }

  #onSettings(values: Map<number, number>): boolean {
    const isFirst = !this.#hasSettings;
    this.#hasSettings = true;
    const window = values.get(Setting.initialWindowSize) ?? this.#initialWindow;
    if (window > MAX_WINDOW_BYTES) return false;
    for (const stream of this.#streams.values()) {
      stream.upload.window += window - this.#initialWindow;
      if (!this.#unopened.has(stream)) this.#sender.add(stream.upload);
    }
    this.#initialWindow = window;
    this.#maxStreams =
      values.get(Setting.maxConcurrentStreams) ?? (isFirst ? Number.POSITIVE_INFINITY : this.#maxStreams);
    this.#out.add(SETTINGS_ACK);
    return true;
  }

  #onWindowUpdate(bytes: number, streamId: number, stream: TakenStream | undefined): boolean {
    if (streamId === 0) {
      this.#sender.window += bytes;
      return bytes > 0 && this.#sender.window <= MAX_WINDOW_BYTES;
    }
    if (stream === undefined) return true;
    stream.upload.window += bytes;
    this.#sender.add(stream.upload);
    return stream.upload.window <= MAX_WINDOW_BYTES;
  }

  #onGoaway(lastStreamId: number): void {
    this.#isDraining = true;
    const refused = [...this.#streams.values()].filter(({ id }) => id > lastStreamId);
    for (const stream of this.#unopened) if (!refused.includes(stream)) refused.push(stream);
    this.#events.onDraining(refused);
    if (this.isDrained && !this.#isOver) this.close();
  }

  #end(isBroken: boolean): void {
    if (this.#isOver) return;
    this.#idle.stop();
    this.#isOver = true;
    if (isBroken) this.#endpoint.destroy();
    else this.#endpoint.end();
    const streams = [...this.#streams.values()];
    this.#streams.clear();
    this.#events.onOver(streams);
  }
}
