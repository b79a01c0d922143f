// The target's direction of a client connection: its frames go to the client as they are. They are only read, for what the
// rest of the relay has to know: where a frame ends, how much of the client's window is used, which streams are over.

import {
  ErrorCode,
  Flag,
  FRAME_HEAD_BYTES,
  FrameType,
  goaway,
  INITIAL_WINDOW_BYTES,
  MAX_WINDOW_BYTES,
  readSettings,
  rstStream,
  Setting,
} from '#runtime/http2/frame.ts';
import { type FramePiece, FrameReader } from '#runtime/http2/frame-reader.ts';
import type { NativeStreams } from '../native/index.ts';
import type { Endpoint } from './endpoint.ts';
import { Batch } from './http2-sender.ts';

export type OriginEvents = Readonly<{
  /** To the client, as it is. @returns false when no more should come */
  write: (bytes: Buffer) => boolean;
  /** What the client's connection window leaves, and that so much of it is used. */
  room: () => number;
  onData: (bytes: number) => void;
  /** @param narrowed what the client may send less on each of its streams */
  onSettings: (values: Map<number, number>, narrowed: number) => void;
  onSettingsAck: () => void;
  /** Frames that were at hand have been written: others may be put behind them. */
  onBoundary: () => void;
  onDrain: () => void;
  onDoubt: () => void;
  /** Its FIN or its failure. */
  onOver: (isFailure: boolean) => void;
}>;

const WHOLE: ReadonlySet<number> = new Set([FrameType.settings, FrameType.goaway, FrameType.rstStream]);

export class Origin {
  readonly #endpoint: Endpoint;
  readonly #events: OriginEvents;
  readonly #reader = new FrameReader((type) => WHOLE.has(type));
  readonly #out: Batch;
  /** Streams that the target was asked on and has not ended. */
  readonly #asked = new Set<number>();
  /** The highest stream that it has heard of. */
  highestStreamId = 0;
  /** What a client may send on a new stream. */
  initialWindow = INITIAL_WINDOW_BYTES;
  /** The highest stream that a session took: a GOAWAY must not take it back. */
  highestTakenId = 0;
  /** Its SETTINGS, the first frame, are with the client. */
  hasSpoken = false;
  hasSaidGoaway = false;
  isOver = false;
  #isTunnel = false;
  /** Between HEADERS and the last CONTINUATION. */
  #isInBlock = false;
  #isReading = false;
  /** DATA that the client's window does not take, now that sessions use some of it. */
  #held: FramePiece | undefined;
  #isClientFull = false;
  #isPaused = false;

  constructor(endpoint: Endpoint, events: OriginEvents) {
    this.#endpoint = endpoint;
    this.#events = events;
    this.#out = new Batch((bytes) => {
      if (!events.write(bytes)) this.stall();
    });
    endpoint.listen({
      onData: (bytes) => this.push(bytes),
      onEnd: () => this.#end(false),
      onDrain: () => events.onDrain(),
      onClosed: (error) => this.#end(error !== undefined),
    });
  }

  /** True when a frame of ours may be put in. */
  get isAtBoundary(): boolean {
    if (this.isOver) return true;
    const isCut = this.#isInBlock || (this.#held === undefined && !this.#reader.isBetweenFrames);
    // Nothing comes before a server's SETTINGS (RFC 9113 section 3.4).
    return this.hasSpoken && !this.#isReading && !isCut;
  }

  /** True when nothing of the target's is cut in two: the client can go on without it. */
  get isBetweenFrames(): boolean {
    return this.#reader.isBetweenFrames && !this.#isInBlock;
  }

  /** All that came has been passed on, and ended with a frame. */
  get isAtRest(): boolean {
    const isBusy = this.isOver || this.#isTunnel || this.#isReading || this.#isPaused || this.#isClientFull;
    return this.hasSpoken && !isBusy && this.#held === undefined && this.#reader.isAtRest && !this.#isInBlock;
  }

  /** What it was asked and has answered without us. */
  goOn({ highest, open, cutAnswer }: NativeStreams): void {
    this.#asked.clear();
    for (const id of open) this.#asked.add(id);
    this.highestStreamId = Math.max(this.highestStreamId, highest);
    if (cutAnswer !== null) this.#reader.beginWithin({ ...cutAnswer, length: cutAnswer.left }, cutAnswer.left);
  }

  get openStreams(): ReadonlySet<number> {
    return this.#asked;
  }

  /** Of a stream that it has never heard of, but ought to have by those that came later: the frame would be an error to it. */
  isUnheard({ head: { type, streamId } }: FramePiece, latest: number): boolean {
    return streamId > this.highestStreamId && streamId <= latest && type !== FrameType.priority;
  }

  /** @returns false when the client should wait */
  write(bytes: Buffer): boolean {
    return this.isOver || this.#endpoint.write(bytes);
  }

  onAsked(streamId: number): void {
    this.#asked.add(streamId);
    this.highestStreamId = Math.max(this.highestStreamId, streamId);
  }

  onClientReset(streamId: number): void {
    this.#asked.delete(streamId);
  }

  end(): void {
    if (!this.isOver) this.#endpoint.end();
  }

  destroy(): void {
    this.isOver = true;
    this.#endpoint.destroy();
  }

  close(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.#endpoint.end();
  }

  /** The client takes no more bytes just now. */
  stall(): void {
    this.#isClientFull = true;
    this.#pause();
  }

  /** The client takes bytes again, or its window has grown. */
  resume(isClientFull: boolean): void {
    this.#isClientFull = isClientFull;
    if (this.isOver || isClientFull) return;
    const held = this.#held;
    if (held !== undefined && held.head.length > this.#events.room()) return;
    if (held !== undefined) {
      this.#held = undefined;
      this.#read(held);
    }
    if (!this.#isPaused || this.#held !== undefined || this.#isClientFull) return;
    this.#isPaused = false;
    this.#endpoint.resume();
  }

  /** From here on nothing is read any more. */
  becomeTunnel(): void {
    this.#isTunnel = true;
    const held = this.#held;
    this.#held = undefined;
    for (const bytes of [held?.bytes, this.#reader.rest()]) {
      if (bytes !== undefined && bytes.length > 0 && !this.#events.write(bytes)) this.stall();
    }
  }

  push(bytes: Buffer): void {
    if (this.isOver) return;
    if (this.#isTunnel) {
      if (!this.#events.write(bytes)) this.stall();
      return;
    }
    this.#reader.push(bytes);
    if (this.#held === undefined) this.#read(undefined);
    this.#reader.keep();
  }

  #read(held: FramePiece | undefined): void {
    this.#isReading = true;
    let piece: FramePiece | 'doubtful' | undefined = held ?? this.#reader.next();
    while (piece !== undefined && piece !== 'doubtful') {
      if (piece !== held && this.#mustWait(piece)) {
        this.#held = { ...piece, bytes: Buffer.from(piece.bytes) };
        this.#pause();
        break;
      }
      if (!this.hasSpoken && piece.head.type !== FrameType.settings) {
        this.#held = { ...piece, bytes: Buffer.from(piece.bytes) };
        piece = 'doubtful';
        break;
      }
      this.hasSpoken = true;
      this.#out.add(this.#look(piece));
      piece = this.#reader.next();
    }
    this.#out.flush();
    this.#isReading = false;
    if (piece === 'doubtful') this.#events.onDoubt();
    else this.#events.onBoundary();
  }

  #pause(): void {
    this.#isPaused = true;
    this.#endpoint.pause();
  }

  #mustWait({ head, isFirst }: FramePiece): boolean {
    return this.highestTakenId > 0 && isFirst && head.type === FrameType.data && head.length > this.#events.room();
  }

  /** @returns what goes to the client */
  #look({ head, bytes, isFirst, isLast }: FramePiece): Buffer {
    const { type, flags, streamId, length } = head;
    if (isFirst && type === FrameType.data) this.#events.onData(length);
    if (isLast && (type === FrameType.data || type === FrameType.headers) && (flags & Flag.endStream) !== 0) {
      this.#asked.delete(streamId);
    }
    switch (type) {
      case FrameType.headers:
      case FrameType.pushPromise:
      case FrameType.continuation:
        this.#isInBlock = (flags & Flag.endHeaders) === 0;
        return bytes;
      case FrameType.rstStream:
        this.#asked.delete(streamId);
        return bytes;
      case FrameType.settings:
        if ((flags & Flag.ack) !== 0) this.#events.onSettingsAck();
        else this.#onSettings(readSettings(bytes));
        return bytes;
      case FrameType.goaway:
        return this.#onGoaway(bytes);
      default:
        return bytes;
    }
  }

  #onSettings(values: Map<number, number>): void {
    const before = this.initialWindow;
    this.initialWindow = values.get(Setting.initialWindowSize) ?? before;
    this.#events.onSettings(values, Math.max(0, before - this.initialWindow));
  }

  /** Streams that a session has are not among those that were refused. */
  #onGoaway(bytes: Buffer): Buffer {
    this.hasSaidGoaway = true;
    const lastId = bytes.readUInt32BE(FRAME_HEAD_BYTES) & MAX_WINDOW_BYTES;
    if (lastId >= this.highestTakenId) return bytes;
    const code = bytes.readUInt32BE(FRAME_HEAD_BYTES + 4);
    // Those between them that were for the target are refused one by one.
    const refused = [...this.#asked].filter((id) => id > lastId && id < this.highestTakenId);
    for (const id of refused) this.#asked.delete(id);
    return Buffer.concat([
      ...refused.map((id) => rstStream(id, ErrorCode.refusedStream)),
      goaway(this.highestTakenId, code, bytes.subarray(FRAME_HEAD_BYTES + 8)),
    ]);
  }

  #end(isFailure: boolean): void {
    if (this.isOver) return;
    // In a tunnel the client may go on after the target's end.
    this.isOver = isFailure || !this.#isTunnel;
    this.#events.onOver(isFailure);
  }
}
