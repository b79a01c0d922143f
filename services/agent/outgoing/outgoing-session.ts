// One session's connections as the main thread knows them: their ids, so that each gets its end whatever happens to the
// thread that holds them.

import type { MessagePort } from 'node:worker_threads';
import type { Logger } from 'pino';
import { AppError } from '#proto/errors.ts';
import { type Frame, makeFrame } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { TargetHandle, type TargetIdentity } from '#runtime/target-handle.ts';
import { resetFrame } from './connection.ts';
import { FramePort } from './frame-port.ts';

/** The session's stream to the client: SessionStream is one. */
export interface OutgoingLink {
  send(frame: Frame): void;
  /** Resolves when little of what was sent still waits. */
  drained(): Promise<void>;
}

export interface OutgoingSessionOptions {
  readonly target: TargetIdentity;
  readonly link: OutgoingLink;
  readonly logger: Logger;
  attach(handle: TargetHandle): MessagePort;
  /** Resolves when the thread is gone, if this session was its last. */
  detach(handle: TargetHandle): Promise<void>;
  onClosed(): void;
}

/** Which ends of a connection have ended in order. */
interface OpenId {
  hasClientEnded: boolean;
  hasPeerEnded: boolean;
}

/** More than the worker takes to finish; then the port is cut. */
const CLOSE_DEADLINE_MS = 3_000;

export class OutgoingSession {
  readonly #options: OutgoingSessionOptions;
  readonly #open = new Map<number, OpenId>();
  #handle: TargetHandle | null = null;
  #port: FramePort | null = null;
  #portClosed: (() => void) | null = null;
  #state: 'open' | 'closing' | 'closed' = 'open';
  /** Set once the target has ended: there is no network to return to. */
  #ended: AppError | null = null;
  #closed: Promise<void> | null = null;

  constructor(options: OutgoingSessionOptions) {
    this.#options = options;
  }

  /** Connections the client has not seen the end of. */
  get connections(): number {
    return this.#open.size;
  }

  /**
   * CONNECT, DATA, HALF_CLOSE, RESET or CREDIT of a connection. Never waits: what a connection may bring is bounded by its
   * own credit. Throws PROTOCOL_VIOLATION for an id that cannot be.
   */
  handle(frame: Frame): void {
    if (this.#state !== 'open') return;
    if (frame.kind === FrameKind.FRAME_KIND_CONNECT) this.#connect(frame);
    else if (this.#open.has(frame.id)) {
      this.#noteEnd(frame, 'hasClientEnded');
      this.#port?.send(frame);
    }
  }

  /** Lets connections send what they were given, for a moment, then ends them. Resolves when all is released. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /** For the pool of threads: ours has ended by itself. */
  workerEnded(error: AppError): void {
    this.#port = null;
    this.#portClosed?.();
    this.#resetAll(error);
    this.#releaseHandle();
  }

  #connect(frame: Frame): void {
    const { id } = frame;
    if (id % 2 === 0) throw new AppError('PROTOCOL_VIOLATION', `connection ${id} was not opened by the client`);
    if (this.#open.has(id)) throw new AppError('PROTOCOL_VIOLATION', `connection ${id} is already open`);
    try {
      this.#ensurePort().send(frame);
      this.#open.set(id, { hasClientEnded: false, hasPeerEnded: false });
    } catch (thrown) {
      this.#options.link.send(resetFrame(id, AppError.from(thrown, 'BUG')));
    }
  }

  #ensurePort(): FramePort {
    if (this.#port !== null) return this.#port;
    if (this.#ended !== null) throw this.#ended;
    this.#handle ??= TargetHandle.open(this.#options.target, () => this.#onTargetEnded());
    const port: FramePort = new FramePort({
      port: this.#options.attach(this.#handle),
      windowBytes: null,
      onFrames: (frames, costBytes) => this.#onFrames(port, frames, costBytes),
      onClosed: () => this.#portClosed?.(),
    });
    this.#port = port;
    return port;
  }

  #onFrames(port: FramePort, frames: Frame[], costBytes: number): void {
    for (const frame of frames) {
      if (frame.id === 0) this.#onOwnFrame(frame);
      else if (this.#open.has(frame.id)) {
        this.#noteEnd(frame, 'hasPeerEnded');
        this.#options.link.send(frame);
      }
    }
    this.#options.link.drained().then(
      () => port.grant(costBytes),
      // The stream has closed; the session is about to.
      () => undefined,
    );
  }

  #onOwnFrame(frame: Frame): void {
    if (frame.kind !== FrameKind.FRAME_KIND_SESSION_CLOSED) return;
    const lostDatagrams = Buffer.from(frame.head).readUInt32LE();
    if (lostDatagrams > 0) this.#options.logger.info({ lostDatagrams }, 'datagrams lost');
  }

  /** An id is free after RESET, or after HALF_CLOSE both ways (frame.proto). */
  #noteEnd(frame: Frame, end: keyof OpenId): void {
    if (frame.kind === FrameKind.FRAME_KIND_RESET) {
      this.#open.delete(frame.id);
      return;
    }
    if (frame.kind !== FrameKind.FRAME_KIND_HALF_CLOSE) return;
    const open = this.#open.get(frame.id);
    if (open === undefined) return;
    open[end] = true;
    if (open.hasClientEnded && open.hasPeerEnded) this.#open.delete(frame.id);
  }

  #onTargetEnded(): void {
    if (this.#state !== 'open') return;
    this.#ended = new AppError('TARGET_GONE', `process ${this.#options.target.pid} has ended`, { errno: 100 });
    this.#resetAll(this.#ended);
    this.#cutPort();
    this.#detach().catch(() => undefined);
  }

  #resetAll(cause: AppError): void {
    const error = new AppError(cause.code, cause.message, {
      errno: cause.code === 'NOT_PERMITTED' ? cause.errno : 104,
    });
    const ids = [...this.#open.keys()];
    this.#open.clear();
    for (const id of ids) this.#options.link.send(resetFrame(id, error));
  }

  async #close(): Promise<void> {
    this.#state = 'closing';
    const port = this.#port;
    if (port !== null) {
      const closed = new Promise<void>((resolve) => {
        this.#portClosed = resolve;
      });
      const timer = setTimeout(() => port.close(), CLOSE_DEADLINE_MS);
      port.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_CLOSE));
      await closed;
      clearTimeout(timer);
    }
    this.#state = 'closed';
    this.#open.clear();
    await this.#detach();
    this.#options.onClosed();
  }

  #cutPort(): void {
    this.#port?.close();
    this.#port = null;
  }

  async #detach(): Promise<void> {
    const handle = this.#handle;
    this.#handle = null;
    this.#port = null;
    if (handle === null) return;
    await this.#options.detach(handle);
    handle.close();
  }

  #releaseHandle(): void {
    this.#handle?.close();
    this.#handle = null;
  }
}
