// The streams of one client connection that sessions took, and the sessions' copies of the connection.

import { DataReader } from '#runtime/http2/data-reader.ts';
import {
  ErrorCode,
  FRAME_HEAD_BYTES,
  FrameType,
  headersFrames,
  INITIAL_WINDOW_BYTES,
  MAX_WINDOW_BYTES,
  rstStream,
  windowUpdate,
} from '#runtime/http2/frame.ts';
import type { FramePiece } from '#runtime/http2/frame-reader.ts';
import { encodeHeaderBlock } from '#runtime/http2/hpack-encoder.ts';
import { fieldSize, type HeaderField } from '#runtime/http2/hpack-table.ts';
import type { Taker } from './decision.ts';
import type { ClientSide } from './http2-client.ts';
import { Outbox, type Sent } from './http2-sender.ts';
import { answerForLost, isInterim, type TakenStream } from './http2-stream.ts';
import { type TakenEvents, TakenSide } from './http2-taken.ts';

/** Taken streams of one connection that are open at once; more are refused, and the client tries again. */
const MAX_STREAMS = 4_096;
/** Heads of those streams, unpacked: a header table makes a few bytes hundreds of thousands. Streams beyond it are refused likewise. */
export const MAX_HEAD_BYTES = 16 * 1024 * 1024;
/** Streams that are over and whose last frames may still come. */
const MAX_GONE = 4_096;
/** Requests that wait for local processes. Beyond it the client's connection window is not given back … */
export const MAX_HELD_BYTES = 1024 * 1024;
/** … and beyond this its connection is not read: a target may have given it a larger window. */
export const MAX_WAITING_BYTES = 8 * 1024 * 1024;
/** The client's windows are given back in steps of this; less than half of any connection's window. */
const STEP_BYTES = 16 * 1024;

export type TakenStreamsOptions = Readonly<{
  /** What a client may send on a new stream: the target's word. */
  windowOfClient: () => number;
  /** The last of them is over. */
  onIdle: () => void;
}>;

export class TakenStreams {
  readonly #client: ClientSide;
  readonly #options: TakenStreamsOptions;
  readonly #streams = new Map<number, TakenStream>();
  readonly #gone = new Set<number>();
  readonly #data = new DataReader();
  readonly #sides = new Map<Taker, TakenSide>();
  /** Those too that take no new streams. */
  readonly #allSides = new Set<TakenSide>();
  /** What the client lets us send on a new stream. */
  #initialWindow = INITIAL_WINDOW_BYTES;
  /** Of the client's connection window: taken by us, and not given back yet. */
  #owed = 0;
  #heldBytes = 0;
  /** Of all streams. */
  #headBytes = 0;
  /** A stream was taken: the target's header table is not the client's any more. */
  isDirty = false;

  constructor(client: ClientSide, options: TakenStreamsOptions) {
    this.#client = client;
    this.#options = options;
  }

  get isIdle(): boolean {
    return this.#streams.size === 0;
  }

  /** The client should not be read. */
  get isFull(): boolean {
    return this.#heldBytes > MAX_WAITING_BYTES;
  }

  has(streamId: number): boolean {
    return this.#streams.has(streamId) || this.#gone.has(streamId);
  }

  take(taker: Taker, id: number, fields: readonly HeaderField[], isEnd: boolean): void {
    this.isDirty = true;
    const headBytes = sizeOf(fields);
    if (this.#streams.size >= MAX_STREAMS || this.#headBytes + headBytes > MAX_HEAD_BYTES) {
      this.#client.send(rstStream(id, ErrorCode.refusedStream));
      this.#noteGone(id);
      return;
    }
    const stream: TakenStream = {
      id,
      fields,
      headBytes,
      side: this.#sideOf(taker),
      upload: new Outbox(id, INITIAL_WINDOW_BYTES, (bytes) => this.#onUploaded(stream, bytes)),
      download: new Outbox(id, this.#initialWindow, (bytes) => stream.side?.onAnswered(stream, bytes)),
      isAnswered: false,
      hasClientEnded: isEnd,
      hasLocalEnded: false,
      isAnswerSent: false,
      owedToClient: 0,
      owedToLocal: 0,
    };
    this.#streams.set(id, stream);
    this.#headBytes += headBytes;
    // A target may begin with windows too small to work with.
    const missing = INITIAL_WINDOW_BYTES - this.#options.windowOfClient();
    if (missing > 0 && !isEnd) this.#client.send(windowUpdate(id, missing));
    stream.upload.addFrames(headersFrames(id, encodeHeaderBlock(fields), isEnd), isEnd);
    stream.side?.open(stream);
  }

  onTrailers(id: number, fields: readonly HeaderField[], isEnd: boolean): void {
    const stream = this.#streams.get(id);
    if (stream === undefined || stream.hasClientEnded) return;
    const headBytes = sizeOf(fields);
    // Trailers are a request's end (RFC 9113 section 8.1): one that goes on behind them is malformed.
    if (!isEnd || this.#headBytes + headBytes > MAX_HEAD_BYTES) {
      const code = isEnd ? ErrorCode.enhanceYourCalm : ErrorCode.protocolError;
      this.#client.send(rstStream(id, code));
      this.#remove(stream, code);
      return;
    }
    stream.headBytes += headBytes;
    this.#headBytes += headBytes;
    this.#upload(stream, () => stream.upload.addFrames(headersFrames(id, encodeHeaderBlock(fields), true), true), true);
  }

  /** A frame of the client's on a stream of theirs, but for its headers. @returns false when it cannot be */
  onFrame(piece: FramePiece): boolean {
    const { type, streamId } = piece.head;
    if (type === FrameType.data) {
      const read = this.#data.read(piece);
      if (read === undefined) return false;
      this.#onData(streamId, read, piece.bytes.length - (piece.isFirst ? FRAME_HEAD_BYTES : 0));
    } else if (type === FrameType.windowUpdate) {
      this.#onWindowUpdate(streamId, piece.bytes.readUInt32BE(FRAME_HEAD_BYTES) & MAX_WINDOW_BYTES);
    } else if (type === FrameType.rstStream) {
      this.#onClientReset(streamId, piece.bytes.readUInt32BE(FRAME_HEAD_BYTES));
    }
    return true;
  }

  /** @param flowBytes what of the client's windows the frame used */
  #onData(id: number, { data, isEnd }: Readonly<{ data: Buffer; isEnd: boolean }>, flowBytes: number): void {
    this.#owed += flowBytes;
    const stream = this.#streams.get(id);
    if (stream === undefined || stream.hasClientEnded) return;
    stream.owedToClient += flowBytes - data.length;
    if (stream.side === undefined) {
      this.#upload(stream, () => undefined, isEnd);
      return;
    }
    this.#heldBytes += data.length;
    this.#upload(stream, () => stream.upload.addData(data, isEnd), isEnd);
  }

  #onWindowUpdate(id: number, bytes: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    stream.download.window += bytes;
    this.#client.add(stream.download);
  }

  #onClientReset(id: number, code: number): void {
    const stream = this.#streams.get(id);
    if (stream !== undefined) this.#remove(stream, code);
  }

  /** The client's INITIAL_WINDOW_SIZE has changed. */
  onClientWindow(bytes: number): void {
    for (const { download } of this.#streams.values()) {
      download.window += bytes - this.#initialWindow;
      this.#client.add(download);
    }
    this.#initialWindow = bytes;
  }

  /** The target has made the windows of the client's streams smaller: not those of ours. */
  widen(bytes: number): void {
    for (const { id, hasClientEnded } of this.#streams.values()) {
      if (!hasClientEnded) this.#client.send(windowUpdate(id, bytes));
    }
  }

  /** Something went to the client. */
  onSent({ streamId }: Outbox, { dataBytes, isEnd, isReset }: Sent): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    if (isEnd) stream.isAnswerSent = true;
    stream.side?.onAnswered(stream, dataBytes);
    if (isReset) this.#remove(stream, undefined);
    else this.#removeIfOver(stream);
  }

  /** Gives the client its window back, as far as there is room. */
  flush(): void {
    if (this.#owed < STEP_BYTES || this.#heldBytes > MAX_HELD_BYTES) return;
    this.#client.send(windowUpdate(0, this.#owed));
    this.#owed = 0;
  }

  revoke(taker: Taker): void {
    this.#sides.get(taker)?.abandon();
  }

  close(): void {
    for (const side of this.#allSides) side.destroy();
    this.#allSides.clear();
    this.#sides.clear();
    this.#streams.clear();
  }

  #sideOf(taker: Taker): TakenSide {
    const known = this.#sides.get(taker);
    if (known !== undefined) return known;
    const events: TakenEvents = {
      onHeaders: (stream, fields, isEnd) => this.#onHeaders(stream, fields, isEnd),
      onData: (stream, bytes, isEnd) => {
        stream.download.addData(bytes, isEnd);
        this.#afterLocal(stream, isEnd);
      },
      onReset: (stream, code) => this.#onLocalReset(stream, code),
      onUploaded: (stream, bytes) => this.#onUploaded(stream, bytes),
      onDraining: (refused) => {
        this.#sides.delete(taker);
        for (const stream of refused) this.#reset(stream, ErrorCode.refusedStream);
      },
      onOver: (streams) => {
        if (this.#sides.get(taker) === side) this.#sides.delete(taker);
        this.#allSides.delete(side);
        for (const stream of streams) this.#giveUp(stream, side.whyOver);
        this.#client.pump();
      },
      onTurn: () => this.#client.pump(),
    };
    const side = new TakenSide(taker.open(false), events, taker.idleMs);
    this.#sides.set(taker, side);
    this.#allSides.add(side);
    return side;
  }

  #upload(stream: TakenStream, add: () => void, isEnd: boolean): void {
    stream.hasClientEnded = isEnd;
    add();
    stream.side?.send(stream);
    this.#removeIfOver(stream);
  }

  #onUploaded(stream: TakenStream, bytes: number): void {
    this.#heldBytes -= bytes;
    stream.owedToClient += bytes;
    const step = Math.min(STEP_BYTES, Math.max(INITIAL_WINDOW_BYTES, this.#options.windowOfClient()) / 2);
    if (stream.owedToClient >= step && !stream.hasClientEnded && this.#streams.has(stream.id)) {
      this.#client.send(windowUpdate(stream.id, stream.owedToClient));
      stream.owedToClient = 0;
    }
    this.flush();
  }

  #onHeaders(stream: TakenStream, fields: readonly HeaderField[], isEnd: boolean): void {
    if (!isInterim(fields)) stream.isAnswered = true;
    stream.download.addFrames(headersFrames(stream.id, encodeHeaderBlock(fields), isEnd), isEnd);
    this.#afterLocal(stream, isEnd);
  }

  #afterLocal(stream: TakenStream, isEnd: boolean): void {
    if (isEnd) stream.hasLocalEnded = true;
    this.#client.add(stream.download);
  }

  #onLocalReset(stream: TakenStream, code: number): void {
    if (!stream.hasLocalEnded) {
      this.#reset(stream, code);
      return;
    }
    // The answer is whole and the rest of the request is not wanted: told behind the answer.
    stream.side?.forget(stream, undefined);
    stream.side = undefined;
    stream.upload.clear();
    if (!stream.hasClientEnded) stream.download.addReset(code);
    this.#client.add(stream.download);
  }

  #reset(stream: TakenStream, code: number): void {
    this.#client.send(rstStream(stream.id, code));
    this.#remove(stream, undefined);
  }

  #giveUp(stream: TakenStream, why?: string): void {
    stream.side = undefined;
    stream.upload.clear();
    if (!stream.isAnswered) answerForLost(stream, why);
    else if (!stream.hasLocalEnded) stream.download.addReset(ErrorCode.internalError);
    else if (!stream.hasClientEnded) stream.download.addReset(ErrorCode.noError);
    this.#client.add(stream.download);
  }

  #removeIfOver(stream: TakenStream): void {
    if (!stream.isAnswerSent || !stream.hasClientEnded) return;
    // An answer before the local process has had the whole request.
    this.#remove(stream, stream.upload.isEmpty ? undefined : ErrorCode.cancel);
  }

  /** @param code what the local process is told */
  #remove(stream: TakenStream, code: number | undefined): void {
    if (!this.#streams.delete(stream.id)) return;
    this.#noteGone(stream.id);
    this.#headBytes -= stream.headBytes;
    this.#heldBytes -= stream.upload.waitingBytes;
    this.#client.forget(stream.download);
    stream.side?.forget(stream, code);
    if (this.isIdle) this.#options.onIdle();
  }

  #noteGone(id: number): void {
    this.#gone.add(id);
    if (this.#gone.size <= MAX_GONE) return;
    for (const oldest of this.#gone) {
      this.#gone.delete(oldest);
      return;
    }
  }
}

const sizeOf = (fields: readonly HeaderField[]): number => fields.reduce((sum, one) => sum + fieldSize(one), 0);
