// One end of a session: frames queued, batched and sent with credit; batches received, checked and handed on. Knows no
// transport (dial.ts and services/runtime/rpc.ts bring gRPC) and no meaning of a request.
//
// Buffers: `send` queues up to MAX_BUFFERED_BYTES, beyond which the session fails with LIMIT_REACHED; who produces on its
// own accord awaits `drained()`. What has been received and not yet handed on is bounded by the session credit.

import { Batches, FLUSH_BYTES } from './batches.ts';
import { BulkWay } from './bulk-way.ts';
import { creditOf, ReceiveCredit, SESSION_CREDIT_BYTES, SESSION_GROWTH } from './credits.ts';
import { decodeHead } from './decode-head.ts';
import { DrainWaiters } from './drain-waiters.ts';
import { AppError, fromErrorDetail, toErrorDetail } from './errors.ts';
import { FairQueue } from './fair-queue.ts';
import type { BatchBytes, Frame } from './frame.ts';
import { assertFrameLimits, dataBytes, decodeBatch, makeFrame } from './frame.ts';
import { ErrorDetail } from './gen/v1/error.ts';
import { FrameKind } from './gen/v1/frame.ts';
import { GrantPause } from './grant-pause.ts';
import { LIVENESS_TIMES, Liveness } from './liveness.ts';
import type { Lease } from './receive-blocks.ts';
import { pongTo, RoundTrips } from './round-trips.ts';
import { SendWindow } from './send-window.ts';
import { goneError, type SessionHandlers, type SessionStreamOptions, silenceError } from './session-options.ts';
import type { BulkDelivery } from './sockets/bulk-delivery.ts';
import type { BulkOrder } from './sockets/bulk-order.ts';

/** 256 answers with full heads and the session credit's worth of data; more is a sender that never waits. */
const MAX_BUFFERED_BYTES = 40 * 1024 * 1024;
/** Frames about the stream itself that wait: a peer that asks and does not read makes more of them, ours never do. */
const MAX_URGENT_FRAMES = 1_000;

export { decodeHead, type SessionHandlers, type SessionStreamOptions };

export class SessionStream {
  readonly #options: SessionStreamOptions;
  readonly #now: () => number;
  readonly #sendWindow: SendWindow;
  readonly #receiveCredit: ReceiveCredit;
  readonly #liveness: Liveness;
  readonly #roundTrips = new RoundTrips(() => this.#now());
  readonly #timer: NodeJS.Timeout;
  /** CREDIT, PING and PONG overtake: were they to wait behind data, two sides without credit would wait for ever. */
  #urgent: Frame[] = [];
  readonly #queue = new FairQueue();
  readonly #bulk: BulkWay;
  readonly #batches: Batches;
  readonly #pause = new GrantPause(() => this.#flush());
  #flushHandle: NodeJS.Immediate | null = null;
  #isTransportFull = false;
  #isReceiving = false;
  /** There is no connection at the moment; until there is one, nobody's silence means anything. */
  #isParked = false;
  #mayPeerEnd = false;
  #hasAgreedToClose = false;
  /** asked: SESSION_SUSPEND waits to be written; held: it is, and nothing follows it. */
  #silence: 'none' | 'asked' | 'held' = 'none';
  #state: 'open' | 'ending' | 'ended' | 'closed' = 'open';
  readonly #drainWaiters = new DrainWaiters();

  constructor(options: SessionStreamOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    const creditBytes = options.creditBytes ?? SESSION_CREDIT_BYTES;
    this.#sendWindow = new SendWindow(creditBytes);
    const growth = options.creditBytes === undefined ? SESSION_GROWTH : undefined;
    this.#receiveCredit = new ReceiveCredit(creditBytes, growth);
    this.#bulk = new BulkWay(options.transport, this.#queue, this.#sendWindow, this.#receiveCredit);
    this.#batches = new Batches(this.#queue, this.#sendWindow, this.#receiveCredit, this.#roundTrips, this.#now);
    const times = options.liveness ?? LIVENESS_TIMES;
    this.#liveness = new Liveness(this.#now(), times);
    this.#timer = setInterval(() => this.#checkLiveness(), times.checkEveryMs);
    this.#timer.unref();
  }

  /** Of frames not yet given to the transport. */
  get bufferedBytes(): number {
    return this.#queue.bytes;
  }

  /** When the peer was last heard, as performance.now() has it. */
  get heardMs(): number {
    return this.#liveness.receivedMs;
  }

  get isClosed(): boolean {
    return this.#state === 'closed';
  }

  /** Without a connection, and waiting for another. */
  get isParked(): boolean {
    return this.#isParked;
  }

  /** Whether there is anything that another connection could go on with: nobody has said goodbye. */
  get isRenewable(): boolean {
    return this.#state !== 'closed' && !this.#hasAgreedToClose && !this.#mayPeerEnd;
  }

  /**
   * Queues a frame; order is kept, and head and data are not copied: leave them alone. Throws PROTOCOL_VIOLATION for a frame beyond the limits of frame.proto. After `end`, or
   * once the stream has closed, frames are dropped: `onClosed` has told, or will.
   */
  send(frame: Frame): void {
    if (this.#state !== 'open') return;
    assertFrameLimits(frame);
    if (frame.id === 0 && frame.kind === FrameKind.FRAME_KIND_SESSION_CLOSED) this.#hasAgreedToClose = true;
    if (this.#goesAtOnce(frame)) return;
    this.#pause.noted(frame);
    this.#queue.push(frame);
    if (this.#queue.bytes > MAX_BUFFERED_BYTES) {
      this.destroy(new AppError('LIMIT_REACHED', `${this.#queue.bytes} bytes wait for the ${this.#options.peer}`));
      return;
    }
    if (this.#isReceiving || (frame.kind === FrameKind.FRAME_KIND_CREDIT && this.#pause.mayWait(this.#queue.bytes)))
      return;
    if (this.#queue.bytes >= FLUSH_BYTES || this.#flushHandle === null) this.#flush();
    this.#scheduleFlush();
  }

  /** Bulk of one connection straight from its socket, as bulk-way.ts has it. */
  carry(order: BulkOrder): boolean {
    if (this.#state !== 'open' || this.#isReceiving) return false;
    if (this.#silence !== 'none' || this.#urgent.length > 0) return false;
    if (!this.#bulk.carry(order, this.#isTransportFull, this.#now())) return false;
    if (order.frames > 0) this.#liveness.sent(this.#now());
    if (order.isFull) this.#isTransportFull = true;
    return true;
  }

  /** Resolves when little is queued, or the stream has closed. */
  drained(): Promise<void> {
    return this.#drainWaiters.wait(this.#queue.bytes);
  }

  /** Round trip through the peer's event loop in milliseconds; never settles when the stream closes first. */
  ping(): Promise<number> {
    return new Promise((resolve) => this.#sendPing(resolve));
  }

  /**
   * Tells the peer that we are about to be stopped. Resolves when it knows; from then until `resume` nothing is sent. Never
   * settles when the stream closes first.
   */
  suspend(): Promise<void> {
    return new Promise((resolve) => {
      this.#silence = 'asked';
      this.#sendUrgent(this.#roundTrips.ask(() => resolve(), FrameKind.FRAME_KIND_SESSION_SUSPEND));
    });
  }

  /** We run again: what was held back goes out, and a PING that says so. */
  resume(): void {
    if (this.#silence === 'none') return;
    this.#silence = 'none';
    this.#sendPing(() => undefined);
  }

  /** Sends what is queued, then ends our direction. `onClosed` comes when the peer has ended too. */
  end(): void {
    if (this.#state !== 'open') return;
    this.#state = 'ending';
    this.#silence = 'none';
    this.#flush();
  }

  /** Tells the peer why (SESSION_ERROR), then closes here. What is queued and cannot be sent at once is lost. */
  fail(error: AppError): void {
    if (this.#state === 'closed') return;
    const head = ErrorDetail.encode(toErrorDetail(error)).finish();
    if (this.#state !== 'ended' && !this.#isTransportFull) {
      this.#options.transport.write([makeFrame(0, FrameKind.FRAME_KIND_SESSION_ERROR, head)]);
      this.#options.transport.end();
    } else if (this.#isTransportFull) this.#options.transport.destroy(error);
    this.#close(error);
  }

  /** Cuts the session now. */
  destroy(error: AppError | null = null): void {
    this.#options.transport.destroy(error);
    this.#close(error);
  }

  receive(batch: BatchBytes, lease?: Lease): boolean {
    return this.receiveFrames(() => decodeBatch(batch), lease);
  }

  /** None at all is a sign of life too. True as `OnMessage` has it. */
  receiveFrames(decode: () => readonly Frame[], lease?: Lease): boolean {
    if (this.#state === 'closed') return false;
    let isUsedUp = true;
    this.#receiving(() => {
      for (const frame of decode()) {
        if (this.isClosed) break;
        if (lease !== undefined) frame.lease = lease;
        this.#receiveFrame(frame);
        isUsedUp &&= frame.isUsedUp === true;
      }
    });
    return isUsedUp && !this.isClosed;
  }

  /** Bulk that comes may go straight to whoever had the last of it. */
  offer(delivery: BulkDelivery): boolean {
    return this.#state === 'open' && !this.#isReceiving && this.#bulk.offer(delivery);
  }

  /** As `receiveFrames`, of frames that are where they belong already. */
  delivered(delivery: BulkDelivery): void {
    if (this.#state === 'closed') return;
    this.#receiving(() => {
      this.#bulk.delivered(delivery);
      this.#consumed(delivery.bytes);
    });
  }

  transportDrained(): void {
    this.#isTransportFull = false;
    this.#flush();
  }

  /** The connection is gone and the transport waits for another: frames wait too. */
  transportParked(): void {
    this.#isParked = true;
    this.#isTransportFull = true;
    this.#options.onParked?.(true);
  }

  transportRenewed(isFull: boolean): void {
    this.#isParked = false;
    this.#isTransportFull = isFull;
    this.#sendWindow.renewed();
    this.#liveness.received(this.#now());
    this.#flush();
    this.#options.onParked?.(false);
  }

  /** Leaves the connection for another that is better; nothing where the transport has no other. */
  reconnect(reason: string): void {
    this.#options.transport.renew?.(new AppError(this.#options.lostCode, reason));
  }

  /** The peer will send nothing more. In order after it has asked to close; it still reads our answers then. */
  peerEnded(): void {
    if (!this.#mayPeerEnd) this.transportEnded(null);
  }

  /** The transport is gone; null when it ended without a fault. */
  transportEnded(error: AppError | null): void {
    if (this.#hasAgreedToClose) {
      this.#close(null);
      return;
    }
    this.#close(error ?? goneError(this.#options));
  }

  #receiving(act: () => void): void {
    this.#liveness.received(this.#now());
    this.#isReceiving = true;
    try {
      act();
    } catch (thrown) {
      this.fail(AppError.from(thrown, 'BUG'));
    }
    this.#isReceiving = false;
    // Answers and credits of one batch leave together, and at once; credits alone, where there are some, with the next.
    if (!this.#pause.mayWait(this.#queue.bytes)) this.#flush();
    this.#bulk.wake(this.#isTransportFull);
  }

  #receiveFrame(frame: Frame): void {
    const bytes = dataBytes(frame);
    this.#receiveCredit.received(bytes);
    if (frame.id === 0 && this.#isOwn(frame)) return;
    const handed = this.#options.onFrame(frame);
    this.#bulk.noted(frame);
    if (handed === undefined) this.#consumed(bytes);
    handed?.then(
      () => this.#consumed(bytes),
      (thrown: unknown) => this.fail(AppError.from(thrown, 'BUG')),
    );
  }

  #isOwn(frame: Frame): boolean {
    switch (frame.kind) {
      case FrameKind.FRAME_KIND_CREDIT:
        frame.isUsedUp = true;
        this.#sendWindow.grant(creditOf(frame), this.#now());
        return true;
      case FrameKind.FRAME_KIND_SESSION_SUSPEND:
        this.#liveness.suspended();
        this.#sendUrgent(makeFrame(0, FrameKind.FRAME_KIND_PONG));
        return true;
      case FrameKind.FRAME_KIND_PING:
        this.#sendUrgent(pongTo(frame));
        this.#consumed(dataBytes(frame));
        return true;
      case FrameKind.FRAME_KIND_PONG:
        this.#consumed(dataBytes(frame));
        this.#roundTrips.answered();
        return true;
      case FrameKind.FRAME_KIND_SESSION_ERROR:
        this.destroy(fromErrorDetail(decodeHead(ErrorDetail.decode, frame.head)));
        return true;
      case FrameKind.FRAME_KIND_SESSION_CLOSE:
        this.#mayPeerEnd = true;
        return false;
      case FrameKind.FRAME_KIND_SESSION_CLOSED:
        this.#hasAgreedToClose = true;
        return false;
      default:
        return false;
    }
  }

  #sendPing(resolve: (roundTripMs: number) => void): void {
    this.#sendUrgent(this.#roundTrips.ask(resolve));
  }

  #consumed(bytes: number): void {
    const grantBytes = bytes === 0 ? 0 : this.#receiveCredit.consumed(bytes, true, this.#now());
    if (this.#pause.granted(grantBytes) && !this.#isReceiving) this.#scheduleFlush();
  }

  #sendUrgent(frame: Frame): void {
    if (this.#state === 'closed' || this.#state === 'ended') return;
    this.#urgent.push(frame);
    this.#pause.noted(frame);
    if (this.#urgent.length > MAX_URGENT_FRAMES) {
      const asked = `the ${this.#options.peer} asks and does not read: ${this.#urgent.length} answers wait for it`;
      this.destroy(new AppError('LIMIT_REACHED', asked));
      return;
    }
    if (!this.#isReceiving) this.#scheduleFlush();
  }

  #scheduleFlush(): void {
    this.#flushHandle ??= setImmediate(() => {
      this.#flushHandle = null;
      this.#flush();
    });
  }

  #flush(): void {
    this.#pause.sent();
    if (this.#state === 'closed' || this.#state === 'ended') return;
    while (!this.#isTransportFull && this.#silence !== 'held') {
      const frames = this.#batches.take(this.#takeUrgent());
      if (frames.length === 0) break;
      this.#liveness.sent(this.#now());
      if (!this.#options.transport.write(frames)) this.#isTransportFull = true;
      if (this.#silence === 'asked') this.#silence = 'held';
    }
    this.#drainWaiters.wake(this.#queue.bytes);
    this.#bulk.wake(this.#isTransportFull);
    if (this.#state === 'ending' && this.#queue.bytes === 0) {
      this.#state = 'ended';
      this.#options.transport.end();
    }
  }

  /** Bulk that finds nobody before it, and whose turn it would be whatever comes in this turn of the loop. */
  #goesAtOnce(frame: Frame): boolean {
    const bytes = dataBytes(frame);
    if (bytes < FLUSH_BYTES || this.#queue.bytes > 0 || this.#urgent.length > 0) return false;
    if (this.#isReceiving || this.#isTransportFull || this.#silence !== 'none') return false;
    if (!this.#sendWindow.take(bytes, false, this.#now())) return false;
    this.#liveness.sent(this.#now());
    if (!this.#options.transport.write(this.#batches.with([frame], 0))) this.#isTransportFull = true;
    return true;
  }

  #takeUrgent(): Frame[] {
    const frames = this.#pause.takeBefore(this.#urgent);
    this.#urgent = [];
    return frames;
  }

  #checkLiveness(): void {
    if (this.#isParked) return;
    const verdict = this.#liveness.check(this.#now());
    if (verdict === 'ping') this.#sendPing(() => undefined);
    if (verdict !== 'overslept' && verdict !== 'lost') return;
    const silent = silenceError(verdict, this.#options);
    // Not cut: a peer that goes on after all reads why.
    if (verdict === 'overslept') this.fail(silent);
    else if (this.#options.transport.renew?.(silent) !== true) this.destroy(silent);
  }

  #close(error: AppError | null): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    clearInterval(this.#timer);
    if (this.#flushHandle !== null) clearImmediate(this.#flushHandle);
    this.#queue.clear();
    this.#urgent = [];
    this.#bulk.close();
    this.#drainWaiters.wake(0);
    this.#options.onClosed(error);
  }
}
