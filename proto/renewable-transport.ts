// A transport that outlives its connections: numbers batches, keeps them until the peer has them, and sends again what a
// new carrier has to bring. Knows neither how a carrier comes about (redial.ts dials, services/runtime waits) nor when to
// give up.
//
// Buffers: what is kept is bounded by REPLAY_WINDOW_BYTES and one batch; beyond it frames wait in the session stream.

import type { Carrier, CarrierOwner, FrameTransport } from './carrier.ts';
import { MOST_CREDIT_BYTES } from './credits.ts';
import { AppError, toErrorDetail } from './errors.ts';
import { type BatchBytes, dataPieces, decodeNumberedBatch, type Frame, makeFrame } from './frame.ts';
import { ErrorDetail } from './gen/v1/error.ts';
import { FrameKind } from './gen/v1/frame.ts';
import { encodeMessage, type Message } from './grpc-message.ts';
import type { Lease } from './receive-blocks.ts';
import type { SessionStream } from './session-stream.ts';
import type { BulkDelivery } from './sockets/bulk-delivery.ts';
import { type BulkOrder, MOST_FRAME_BYTES } from './sockets/bulk-order.ts';

/** Data that is not acknowledged is within what fits the distance, at most the session's credit; the rest is for heads. */
export const REPLAY_WINDOW_BYTES = MOST_CREDIT_BYTES + 1024 * 1024;
/** What a kept batch costs beside its bytes: many small ones must not be cheaper than they are. */
const BATCH_OVERHEAD_BYTES = 256;
/** An acknowledgement goes out by itself after this much, long before the peer's window is full; those of bulk go with its grants. */
const ACKNOWLEDGE_BYTES = 1024 * 1024;
/** A piece that keeps a larger buffer alive than this many times itself is copied. */
const MAX_BACKING_RATIO = 2;

interface Kept {
  readonly sequence: number;
  readonly message: Message;
}

/** Holds on to nothing. */
const RELEASED: Kept = { sequence: 0, message: { pieces: [], bytes: 0, releases: [] } };

export interface RenewableTransportOptions {
  /** The connection is gone and the session may go on over another: `adopt` gives it one, or the stream is destroyed. */
  onBroken(error: AppError): void;
  windowBytes?: number;
}

export class RenewableTransport implements FrameTransport {
  readonly #options: RenewableTransportOptions;
  readonly #windowBytes: number;
  #stream: SessionStream | null = null;
  #carrier: Carrier | null = null;
  #window: Kept[] = [];
  #windowHead = 0;
  #keptBytes = 0;
  #sent = 0;
  #received = 0;
  #unacknowledgedBytes = 0;
  #isCarrierFull = false;
  #isStreamWaiting = false;
  #hasEnded = false;
  /** False where the peer keeps nothing for us: then the first break is the end. */
  #isNumbered = true;
  #isOver = false;

  constructor(options: RenewableTransportOptions) {
    this.#options = options;
    this.#windowBytes = options.windowBytes ?? REPLAY_WINDOW_BYTES;
  }

  /** Number of the last batch that came. */
  get received(): number {
    return this.#received;
  }

  /** Bytes that the peer has not acknowledged. */
  get keptBytes(): number {
    return this.#keptBytes;
  }

  get isParked(): boolean {
    return this.#carrier === null;
  }

  bind(stream: SessionStream): void {
    this.#stream = stream;
  }

  /** The peer does not do renewal. */
  forgo(): void {
    this.#isNumbered = false;
    this.#release(this.#sent, false);
  }

  /** Goes on over this carrier, after what the peer lacks. Throws PROTOCOL_VIOLATION when the peer lacks what it once had. */
  adopt(carrier: Carrier, peerReceived: number): void {
    const former = this.#carrier;
    this.#carrier = null;
    former?.drop();
    this.#acknowledged(peerReceived);
    const [eldest] = this.#window.slice(this.#windowHead, this.#windowHead + 1);
    const missing = (eldest?.sequence ?? this.#sent + 1) - 1 - peerReceived;
    if (missing > 0) {
      throw new AppError('PROTOCOL_VIOLATION', `the peer lost ${missing} batches that it had acknowledged`);
    }
    this.#carrier = carrier;
    this.#isCarrierFull = false;
    this.#unacknowledgedBytes = 0;
    for (const { message } of this.#window.slice(this.#windowHead)) {
      if (!carrier.writeMessage(message)) this.#isCarrierFull = true;
    }
    if (this.#hasEnded) carrier.end();
    carrier.attach(this.#ownerOf(carrier));
    this.#isStreamWaiting = this.#isFull;
    this.#stream?.transportRenewed(this.#isStreamWaiting);
  }

  write(batch: readonly Frame[]): boolean {
    if (!this.#isNumbered) return this.#carrier?.write(batch) ?? true;
    this.#sent += 1;
    const message = encodeMessage(batch, { sequence: this.#sent, acknowledged: this.#received });
    this.#keep(this.#sent, message, batch);
    this.#unacknowledgedBytes = 0;
    if (this.#carrier !== null && !this.#carrier.writeMessage(message)) this.#isCarrierFull = true;
    this.#isStreamWaiting = this.#isFull;
    return !this.#isStreamWaiting;
  }

  carry(order: BulkOrder): boolean {
    const carrier = this.#carrier;
    if (
      !this.#isNumbered ||
      this.#isFull ||
      !order.limit(Math.ceil((this.#windowBytes - this.#keptBytes) / MOST_FRAME_BYTES))
    )
      return false;
    order.sequence = this.#sent + 1;
    order.acknowledged = this.#received;
    if (carrier?.carry?.(order) !== true) return false;
    for (let frame = 0; frame < order.frames; frame++) {
      const { message, release } = order.messageOf(frame);
      const releases = release === undefined ? [] : [release];
      this.#sent += 1;
      this.#window.push({ sequence: this.#sent, message: { pieces: [message], bytes: message.length, releases } });
      this.#keptBytes += message.length + BATCH_OVERHEAD_BYTES;
    }
    if (order.frames > 0) this.#unacknowledgedBytes = 0;
    if (order.isFull) this.#isCarrierFull = true;
    order.isFull = this.#isFull;
    this.#isStreamWaiting = order.isFull;
    return true;
  }

  end(): void {
    this.#hasEnded = true;
    this.#carrier?.end();
  }

  /** Cuts for good; the peer is told, where there is still a way, so that it keeps nothing for us. */
  destroy(error: AppError | null): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#release(this.#sent, false);
    const carrier = this.#carrier;
    this.#carrier = null;
    if (carrier === null) return;
    if (!this.#isNumbered) {
      carrier.destroy(error);
      return;
    }
    const reason = error ?? new AppError('CANCELLED', 'the peer has left');
    const head = ErrorDetail.encode(toErrorDetail(reason)).finish();
    const lastWord = makeFrame(0, FrameKind.FRAME_KIND_SESSION_ERROR, head);
    carrier.depart(encodeMessage([lastWord], { sequence: 0, acknowledged: this.#received }), reason);
  }

  /** The carrier is of no more use. True: the session waits for another. */
  renew(error: AppError): boolean {
    const carrier = this.#carrier;
    if (!this.#isNumbered || this.#isOver || this.#stream?.isRenewable !== true) return false;
    if (carrier === null) return true;
    this.#carrier = null;
    this.#isStreamWaiting = true;
    carrier.drop();
    this.#stream.transportParked();
    this.#options.onBroken(error);
    return true;
  }

  get #isFull(): boolean {
    return this.#carrier === null || this.#isCarrierFull || this.#keptBytes >= this.#windowBytes;
  }

  /** What a carrier that has been left still says is nobody's business. */
  #ownerOf(carrier: Carrier): CarrierOwner {
    const whileOurs = (act: () => void) => {
      if (this.#carrier === carrier) act();
    };
    return {
      receive: (batch, lease) => this.#carrier === carrier && this.#receive(batch, lease),
      offer: (delivery) => this.#carrier === carrier && this.#offer(delivery),
      delivered: (delivery) => this.#delivered(delivery),
      transportDrained: () => whileOurs(() => this.#carrierDrained()),
      peerEnded: () => whileOurs(() => this.#peerEnded(carrier)),
      transportEnded: (error) => whileOurs(() => this.#ended(error)),
      refused: (error) => whileOurs(() => this.#stream?.transportEnded(error)),
      failed: (error) => whileOurs(() => this.#stream?.fail(error)),
    };
  }

  #carrierDrained(): void {
    this.#isCarrierFull = false;
    if (this.#isNumbered) this.#wakeStream();
    else this.#stream?.transportDrained();
  }

  #peerEnded(carrier: Carrier): void {
    if (this.renew(new AppError('CANCELLED', 'the peer ended its side'))) return;
    this.#stream?.peerEnded();
    // A peer that hangs up without a word may leave its calls and connections open for ever.
    if (this.#stream?.isClosed === true) carrier.destroy(null);
  }

  #ended(error: AppError | null): void {
    const reason = error ?? new AppError('CANCELLED', 'the connection was closed');
    if (!this.renew(reason)) this.#stream?.transportEnded(error);
  }

  #receive(batch: BatchBytes, lease: Lease | undefined): boolean {
    if (!this.#isNumbered) return this.#stream?.receive(batch, lease) ?? false;
    try {
      const { frames, sequence, acknowledged, bytes } = decodeNumberedBatch(batch);
      this.#acknowledged(acknowledged);
      if (sequence === 0) assertLastWord(frames);
      else {
        if (sequence !== this.#received + 1) {
          throw new AppError('PROTOCOL_VIOLATION', `batch ${sequence} where ${this.#received + 1} is due`);
        }
        this.#received = sequence;
        this.#unacknowledgedBytes += bytes + BATCH_OVERHEAD_BYTES;
      }
      const isUsedUp = this.#stream?.receiveFrames(() => frames, lease) ?? false;
      if (this.#unacknowledgedBytes >= ACKNOWLEDGE_BYTES) this.#acknowledge();
      return isUsedUp;
    } catch (thrown) {
      this.#stream?.fail(AppError.from(thrown, 'BUG'));
      return false;
    }
  }

  #offer(delivery: BulkDelivery): boolean {
    if (!this.#isNumbered) return false;
    delivery.sequence = this.#received + 1;
    return this.#stream?.offer(delivery) === true;
  }

  #delivered(delivery: BulkDelivery): void {
    try {
      this.#acknowledged(delivery.acknowledged);
      this.#received += delivery.frames;
      this.#unacknowledgedBytes += delivery.messageBytes + BATCH_OVERHEAD_BYTES * delivery.frames;
      this.#stream?.delivered(delivery);
      if (this.#unacknowledgedBytes >= ACKNOWLEDGE_BYTES) this.#acknowledge();
    } catch (thrown) {
      this.#stream?.fail(AppError.from(thrown, 'BUG'));
    }
  }

  /** Without a batch of ours that would bring it. */
  #acknowledge(): void {
    this.#unacknowledgedBytes = 0;
    if (this.#carrier === null || this.#hasEnded) return;
    this.#carrier.writeMessage(encodeMessage([], { sequence: 0, acknowledged: this.#received }));
  }

  #acknowledged(sequence: number): void {
    if (sequence > this.#sent) {
      throw new AppError('PROTOCOL_VIOLATION', `batch ${sequence} is acknowledged and only ${this.#sent} were sent`);
    }
    this.#release(sequence, true);
    this.#wakeStream();
  }

  #wakeStream(): void {
    if (!this.#isStreamWaiting || this.#isFull) return;
    this.#isStreamWaiting = false;
    this.#stream?.transportDrained();
  }

  #keep(sequence: number, message: Message, batch: readonly Frame[]): void {
    this.#window.push({ sequence, message: keptOf(message, batch) });
    this.#keptBytes += message.bytes + BATCH_OVERHEAD_BYTES;
  }

  /** What is not acknowledged may still lie in a carrier. */
  #release(upTo: number, isAcknowledged: boolean): void {
    for (;;) {
      const kept = this.#window[this.#windowHead];
      if (kept === undefined || kept.sequence > upTo) break;
      this.#keptBytes -= kept.message.bytes + BATCH_OVERHEAD_BYTES;
      this.#window[this.#windowHead] = RELEASED;
      this.#windowHead += 1;
      if (isAcknowledged) for (const release of kept.message.releases) release();
    }
    if (this.#windowHead < this.#window.length && this.#windowHead < 1024) return;
    this.#window = this.#window.slice(this.#windowHead);
    this.#windowHead = 0;
  }
}

/** As it may be kept for long: what would keep much more alive than itself is copied. */
function keptOf(message: Message, batch: readonly Frame[]): Message {
  const { pieces, bytes, releases } = message;
  let own: Buffer[] | null = null;
  for (let index = 0; index < pieces.length; index++) {
    const piece = pieces[index] as Buffer;
    const mostBytes = Math.max(Buffer.poolSize, piece.length * MAX_BACKING_RATIO);
    if (piece.buffer.byteLength <= mostBytes || isGivenBack(piece, batch)) continue;
    own ??= [...pieces];
    own[index] = Buffer.from(piece);
  }
  return own === null ? message : { pieces: own, bytes, releases };
}

/** Its memory waits for this very message: the parts of it are kept and given back in the order in which they came. */
function isGivenBack(piece: Uint8Array, batch: readonly Frame[]): boolean {
  return batch.some(
    (frame) => frame.release !== undefined && dataPieces(frame).some(({ buffer }) => buffer === piece.buffer),
  );
}

function assertLastWord(frames: readonly Frame[]): void {
  for (const { id, kind } of frames) {
    if (id === 0 && kind === FrameKind.FRAME_KIND_SESSION_ERROR) continue;
    throw new AppError('PROTOCOL_VIOLATION', `a frame of kind ${kind} in a batch without a number`);
  }
}
