// One client connection of HTTP/2 on a port that is stolen with filters: each stream goes to the session that wants it, or on to
// the target on a connection that stays paired with the client's.
//
// As long as no stream was taken everything is passed on as it is, so that client and target share one header table, which the
// relay only reads along. A taken stream is a header block that the target does not see: from then on the blocks for the
// target are written anew, without its table. What is no HTTP/2 makes the connection a tunnel to the target, or ends it with
// GOAWAY when a session has streams of it.

import {
  ErrorCode,
  Flag,
  FRAME_HEAD_BYTES,
  FrameType,
  frame,
  headersFrames,
  MAX_WINDOW_BYTES,
  rstStream,
  SETTINGS_ACK,
  settings,
  windowUpdate,
} from '#runtime/http2/frame.ts';
import { type FramePiece, FrameReader } from '#runtime/http2/frame-reader.ts';
import type { HeaderFrames } from '#runtime/http2/header-frames.ts';
import type { HeaderBlock } from '#runtime/http2/hpack-decoder.ts';
import { encodeHeaderBlock } from '#runtime/http2/hpack-encoder.ts';
import { Http2Request } from '#runtime/http2/http2-request.ts';
import type { NativeStreams } from '../native/index.ts';
import { Deadline } from './deadline.ts';
import { type Taker, Undecided } from './decision.ts';
import type { Endpoint, JoinEvents } from './endpoint.ts';
import { ClientBlocks, type ReadBlock } from './http2-blocks.ts';
import { ClientSide } from './http2-client.ts';
import { type Headers, HeldStreams } from './http2-held.ts';
import { ClientSettings, type Http2RelayOptions, isWhole, PrefaceReader, TableSizes } from './http2-opening.ts';
import { Origin } from './http2-origin.ts';
import { Batch } from './http2-sender.ts';
import { TakenStreams } from './http2-streams.ts';
import { clientEndMs, LINGER_MS } from './times.ts';

export class Http2Relay implements JoinEvents {
  readonly #options: Http2RelayOptions;
  readonly #endpoint: Endpoint;
  readonly #client: ClientSide;
  readonly #origin: Origin;
  readonly #taken: TakenStreams;
  readonly #reader = new FrameReader(isWhole);
  readonly #preface = new PrefaceReader();
  readonly #tableSizes = new TableSizes();
  readonly #toOrigin: Batch;
  readonly #held: HeldStreams;
  readonly #blocks: ClientBlocks;
  /** What is known passes without us, until `onParted`. */
  #isJoined = false;
  #isRetiring = false;
  /** The stream whose frame has come in part. */
  #cutStream: number | undefined;
  #isTunnel = false;
  #isOriginFull = false;
  #isPaused = false;
  #hasClientEnded = false;
  #isFinishing = false;
  #isClosed = false;
  readonly #settings = new ClientSettings((window) => this.#taken.onClientWindow(window));
  readonly #deadline = new Deadline();

  constructor(options: Http2RelayOptions) {
    this.#options = options;
    this.#endpoint = options.client;
    this.#blocks = new ClientBlocks(options.standing);
    this.#toOrigin = new Batch((bytes) => {
      if (!this.#origin.write(bytes)) this.#isOriginFull = true;
    });
    this.#client = new ClientSide(options.client, {
      isAtBoundary: () => this.#origin.isAtBoundary,
      onFull: () => this.#origin.stall(),
      onClogged: () => this.destroy(),
      onSent: (outbox, sent) => this.#taken.onSent(outbox, sent),
    });
    this.#taken = new TakenStreams(this.#client, {
      windowOfClient: () => this.#origin.initialWindow,
      onIdle: () => this.#onIdle(),
    });
    this.#origin = new Origin(options.origin, {
      write: (bytes) => this.#client.pass(bytes),
      room: () => this.#client.window,
      onData: (bytes) => this.#client.use(bytes),
      onSettings: (values, narrowed) => {
        this.#blocks.onSettings(values);
        if (narrowed > 0) this.#taken.widen(narrowed);
      },
      onSettingsAck: () => this.#settings.onAcknowledged(),
      onBoundary: () => this.#client.pump(),
      onDrain: () => {
        this.#isOriginFull = false;
        this.#pauseClient();
      },
      onDoubt: () => this.#doubt(ErrorCode.internalError),
      onOver: (isFailure) => this.#onOriginOver(isFailure),
    });
    this.#held = new HeldStreams({
      mayRelease: () => this.#cutStream === undefined || this.#held.has(this.#cutStream),
      onStream: (headers, taker) => this.#open(headers, taker),
      onFrame: (frame) => ('whole' in frame ? this.#onTrailers(frame) : this.#onPiece(frame)),
      onDecided: () => this.#afterTurn(),
    });
    this.#endpoint.listen({
      onData: (bytes) => this.#onData(bytes),
      onEnd: () => this.#onClientEnd(),
      onDrain: () => {
        this.#client.onDrain();
        this.#origin.resume(this.#client.isFull);
      },
      onClosed: (error) => this.#close(error !== undefined),
    });
  }

  /** The session of a taker has ended: its streams are answered with 502, or reset if their answer had begun. */
  revoke(taker: Taker): void {
    this.#taken.revoke(taker);
  }

  /** As of Http1Relay. */
  retire(): boolean {
    this.#isRetiring = true;
    this.#endpoint.part?.();
    const isBusy = this.#origin.openStreams.size > 0 || this.#blocks.isTurnOver;
    const isAtRest = !isBusy && this.#taken.isIdle && this.#held.isEmpty;
    if (!this.#isTunnel && isAtRest) this.#finish(LINGER_MS);
    return !this.#isTunnel && !this.#isClosed;
  }

  destroy(): void {
    this.#endpoint.destroy();
    this.#close(true);
  }

  push(fromClient: Buffer, fromOrigin: Buffer): void {
    if (fromOrigin.length > 0) this.#origin.push(fromOrigin);
    this.#onData(fromClient);
  }

  #onData(chunk: Buffer): void {
    if (this.#isClosed || this.#isFinishing) return;
    const preface = this.#preface.take(chunk);
    this.#toOrigin.add(preface.bytes);
    if (!preface.isRight) this.#becomeTunnel();
    const behind = chunk.subarray(preface.bytes.length);
    if (this.#isTunnel) this.#toOrigin.add(behind);
    else this.#reader.push(behind);
    this.#readOn();
  }

  #readOn(): void {
    while (!this.#isTunnel && !this.#isFinishing && !this.#isClosed) {
      if (this.#blocks.isTurnOver && !this.#hasClientEnded) break;
      const piece = this.#reader.next();
      if (piece === undefined) break;
      if (piece === 'doubtful') this.#doubt(this.#reader.fault);
      else {
        this.#cutStream = piece.isLast ? undefined : piece.head.streamId;
        this.#onPiece(piece);
        if (!this.#held.isEmpty) this.#held.release();
      }
    }
    this.#blocks.endTurn(() => this.#readOn());
    this.#afterTurn();
  }

  #afterTurn(): void {
    if (!this.#held.isEmpty) this.#held.release();
    this.#toOrigin.endTurn(!this.#blocks.isTurnOver);
    this.#reader.keep();
    this.#taken.flush();
    this.#client.pump();
    this.#pauseClient();
    if (this.#blocks.isPassing) this.#joinAtRest();
  }

  /** Between two frames, where nothing of the client's was ever a session's. */
  #joinAtRest(): void {
    const isEnding = this.#isTunnel || this.#isFinishing || this.#isClosed || this.#hasClientEnded || this.#isRetiring;
    const isBusy = this.#isJoined || this.#isPaused || this.#isOriginFull || this.#taken.isDirty || this.#blocks.isOpen;
    if (isEnding || isBusy || !this.#reader.isAtRest || !this.#client.isAtRest || !this.#origin.isAtRest) return;
    const streams = { ...this.#blocks.resting(), open: [...this.#origin.openStreams] };
    const { origin, screen } = this.#options;
    this.#isJoined = this.#endpoint.joinStreams?.(origin, screen, streams, this) === true;
  }

  onParted(_asked: unknown, _left: number, _isLast: boolean, streams: NativeStreams | null): void {
    this.#isJoined = false;
    if (streams === null) return;
    this.#blocks.goOn(streams);
    this.#client.use(-streams.window);
    this.#origin.goOn(streams);
    const cut = streams.cutRequest;
    if (cut === null) return;
    this.#reader.beginWithin({ ...cut, length: cut.left }, cut.left);
    this.#cutStream = cut.streamId;
  }

  onRest(isFromClient: boolean, bytes: Buffer): void {
    if (isFromClient) this.#toOrigin.add(bytes);
    else if (!this.#client.pass(bytes)) this.#origin.stall();
    this.#afterTurn();
  }

  #onPiece(piece: FramePiece): void {
    const { type, streamId } = piece.head;
    if (this.#blocks.isTheirs(piece)) {
      this.#onHeaderFrame(piece);
      return;
    }
    const isHidden = this.#taken.isDirty && this.#origin.isUnheard(piece, this.#blocks.highestId);
    if (streamId === 0) {
      this.#onConnectionFrame(piece);
    } else if (this.#held.has(streamId) && type !== FrameType.priority) {
      this.#held.add(streamId, piece);
    } else if (this.#taken.has(streamId) || isHidden) {
      if (!this.#taken.onFrame(piece)) this.#doubt(ErrorCode.protocolError);
    } else {
      if (type === FrameType.rstStream) this.#origin.onClientReset(streamId);
      this.#toOrigin.add(piece.bytes);
    }
  }

  #onConnectionFrame(piece: FramePiece): void {
    const { type, flags } = piece.head;
    if (type === FrameType.windowUpdate) {
      const bytes = piece.bytes.readUInt32BE(FRAME_HEAD_BYTES) & MAX_WINDOW_BYTES;
      const rest = this.#client.grant(bytes);
      this.#toOrigin.add(rest === bytes ? piece.bytes : rest > 0 ? windowUpdate(0, rest) : Buffer.alloc(0));
      this.#origin.resume(this.#client.isFull);
      return;
    }
    if (type === FrameType.settings && (flags & Flag.ack) === 0) {
      this.#settings.add(piece.bytes);
      if (this.#origin.isOver) this.#acknowledge();
    } else if (type === FrameType.ping && (flags & Flag.ack) === 0 && this.#origin.isOver) {
      this.#client.send(frame(type, Flag.ack, 0, piece.bytes.subarray(FRAME_HEAD_BYTES)));
    }
    this.#toOrigin.add(piece.bytes);
    if (this.#settings.isFlooded) this.#doubt(ErrorCode.protocolError);
  }

  #onHeaderFrame(piece: FramePiece): void {
    const read = this.#blocks.add(piece, !this.#taken.isDirty && this.#held.isEmpty);
    if (read === undefined) return;
    if ('code' in read) this.#doubt(read.code, read.unread);
    else this.#route(read);
  }

  #route(read: ReadBlock): void {
    const { whole, decoded, isKnown } = read;
    const { streamId } = whole;
    this.#tableSizes.note(decoded.tableSizes);
    if (streamId <= this.#blocks.highestId) {
      if (this.#held.has(streamId)) this.#held.add(streamId, { whole, decoded });
      else this.#onTrailers({ whole, decoded });
      return;
    }
    this.#blocks.highestId = streamId;
    const decision = isKnown ? this.#options.onKnown() : this.#options.decide(new Http2Request(decoded.fields));
    this.#blocks.onDecided(read, decision !== undefined);
    if (this.#held.isEmpty && !(decision instanceof Undecided)) this.#open({ whole, decoded }, decision);
    else {
      // What overtakes it is not the client's next block any more.
      this.#taken.isDirty = true;
      this.#held.hold({ whole, decoded }, decision);
    }
  }

  #onTrailers({ whole, decoded }: Headers): void {
    // What the target has not heard of would be a request to it.
    const isHidden = whole.streamId > this.#origin.highestStreamId || this.#taken.has(whole.streamId);
    if (isHidden) this.#taken.onTrailers(whole.streamId, decoded.fields, whole.isEnd);
    else this.#forward(whole, decoded);
  }

  #open({ whole, decoded }: Headers, wanted: Taker | undefined): void {
    const { streamId, isEnd } = whole;
    const taker = wanted?.isOver ? undefined : wanted;
    if (taker !== undefined) {
      this.#origin.highestTakenId = streamId;
      this.#taken.take(taker, streamId, decoded.fields, isEnd);
    } else if (!this.#origin.isOver) {
      this.#origin.onAsked(streamId);
      this.#forward(whole, decoded);
    } else if (this.#taken.isIdle) {
      // What a client of the target alone would see.
      this.destroy();
    } else {
      this.#client.send(rstStream(streamId, ErrorCode.refusedStream));
    }
  }

  #forward({ streamId, bytes, isEnd, priority }: HeaderFrames, { fields }: HeaderBlock): void {
    const sizes = this.#tableSizes.take();
    if (!this.#taken.isDirty) this.#toOrigin.add(bytes);
    else this.#toOrigin.add(headersFrames(streamId, encodeHeaderBlock(fields, sizes), isEnd, priority));
    if (this.#toOrigin.isFlooded) this.#doubt(ErrorCode.enhanceYourCalm);
  }

  #acknowledge(): void {
    this.#settings.acknowledge(() => this.#client.send(SETTINGS_ACK));
  }

  #pauseClient(): void {
    const mustPause =
      !this.#isClosed && !this.#isFinishing && (this.#isOriginFull || this.#taken.isFull || this.#blocks.isTurnOver);
    if (mustPause === this.#isPaused) return;
    this.#isPaused = mustPause;
    if (mustPause) this.#endpoint.pause();
    else this.#endpoint.resume();
  }

  #onClientEnd(): void {
    this.#hasClientEnded = true;
    this.#readOn();
    this.#held.end();
    this.#afterTurn();
    this.#origin.end();
    if (this.#origin.isOver && this.#taken.isIdle) this.#finish(LINGER_MS);
    else if (!this.#isTunnel) this.#deadline.start(clientEndMs(this.#origin.openStreams.size), () => this.destroy());
  }

  #doubt(code: number, ...unread: Buffer[]): void {
    if (!this.#taken.isDirty) {
      this.#becomeTunnel(...unread);
      return;
    }
    if (this.#origin.isBetweenFrames) {
      this.#client.sayGoaway(this.#blocks.highestId, code, this.#origin.hasSpoken);
      this.#origin.destroy();
    }
    this.#finish(LINGER_MS);
    this.#held.close();
    this.#origin.destroy();
    this.#taken.close();
  }

  #becomeTunnel(...unread: Buffer[]): void {
    this.#isTunnel = true;
    for (const bytes of [...unread, this.#reader.rest()]) this.#toOrigin.add(bytes);
    this.#toOrigin.flush();
    this.#origin.becomeTunnel();
  }

  #onOriginOver(isFailure: boolean): void {
    this.#isOriginFull = false;
    if (this.#isClosed || this.#isFinishing) return;
    const isAlone = this.#isTunnel || !this.#taken.isDirty;
    const mayGreet = !this.#origin.hasSpoken && !this.#hasClientEnded && !this.#isTunnel;
    if (mayGreet && (isFailure || this.#taken.isDirty)) {
      // Nobody listens there. Sessions answer all the same; a request for the target ends the connection.
      this.#client.send(settings([]));
      this.#acknowledge();
      if (this.#origin.openStreams.size > 0 && this.#taken.isIdle) this.destroy();
      else this.#refuse(ErrorCode.refusedStream);
    } else if (isAlone || this.#taken.isIdle || !this.#origin.isBetweenFrames) {
      if (isFailure || !this.#origin.isBetweenFrames) this.destroy();
      else this.#finish(this.#isTunnel ? undefined : LINGER_MS);
    } else {
      this.#refuse(ErrorCode.internalError);
      if (!this.#origin.hasSaidGoaway) this.#client.sayGoaway(this.#blocks.highestId, ErrorCode.noError, true);
    }
    this.#client.pump();
    this.#pauseClient();
  }

  #refuse(code: number): void {
    for (const id of this.#origin.openStreams) this.#client.send(rstStream(id, code));
  }

  #onIdle(): void {
    if (this.#origin.isOver && (this.#origin.hasSpoken || this.#hasClientEnded)) this.#finish(LINGER_MS);
  }

  /** @param ms the client may take so long to close */
  #finish(ms: number | undefined): void {
    if (this.#isFinishing || this.#isClosed) return;
    this.#isFinishing = !this.#isTunnel;
    this.#client.flush();
    this.#endpoint.end();
    this.#pauseClient();
    if (ms !== undefined) this.#deadline.start(ms, () => this.destroy());
  }

  #close(isFailure: boolean): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#deadline.stop();
    this.#blocks.close();
    this.#client.close();
    this.#held.close();
    if (isFailure) this.#origin.destroy();
    else this.#origin.close();
    this.#taken.close();
    this.#options.onClosed();
  }
}
