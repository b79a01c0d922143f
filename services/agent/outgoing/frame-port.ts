// Frames between the main thread and the worker in the target's namespace: a MessagePort that carries batches of the
// session stream's own codec, moved and not copied. One port per session.
//
// Buffers: with a window, at most that much is on its way and unread; the rest waits here, and `isFull` asks producers to
// pause. What cannot pause, datagrams, may wait up to MAX_WAITING_BYTES, and is lost beyond. Without a window the sender is
// bounded by the credits of the connections.

import type { MessagePort } from 'node:worker_threads';
import { decodeBatch, encodeBatch, type Frame, makeFrame } from '#proto/frame.ts';
import { Credit, FrameKind } from '#proto/gen/v1/frame.ts';
import { decodeHead } from '#proto/session-stream.ts';

/** What a batch is filled up to; the limit of the codec is above it. */
const BATCH_BYTES = 64 * 1024;
/** Sent before the loop turns when this much waits: a message costs as much as copying 64 KiB, so several go in one. */
const FLUSH_BYTES = 256 * 1024;
/** What a frame without data counts in the window: its share of objects and heads. */
const FRAME_COST_BYTES = 64;
/** Of all that waits, beyond which a datagram does not join: some turns of streams that pause, and a second of datagrams. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024;
/** What may overtake, and how far beyond the window all of it goes. */
const SMALL_BYTES = 4 * 1024;
const SPARE_BYTES = 256 * 1024;
/** Producers resumed per turn of the loop: each may bring a full read buffer before it can be paused again. */
const RESUMED_PER_TURN = 8;

export interface FramePortOptions {
  readonly port: MessagePort;
  /** Bytes that may be on their way to the other thread; null for no bound here. */
  readonly windowBytes: number | null;
  /** Frames of one batch. Views into a buffer that is ours to keep. */
  onFrames(frames: Frame[], costBytes: number): void;
  onClosed(): void;
}

export class FramePort {
  readonly #options: FramePortOptions;
  readonly #hasWindow: boolean;
  #availableBytes: number;
  /** Encoded when they are sent: their data may be in a buffer that is read into again. */
  #urgent: Buffer[] = [];
  #queue: Buffer[] = [];
  #queueCosts: number[] = [];
  #queueIds: number[] = [];
  /** How many frames of an id are in the queue. */
  readonly #queuedOf = new Map<number, number>();
  #queueHead = 0;
  #queuedBytes = 0;
  #flushHandle: NodeJS.Immediate | null = null;
  #resumeHandle: NodeJS.Immediate | null = null;
  #paused = new Set<() => void>();
  #isClosed = false;

  constructor(options: FramePortOptions) {
    this.#options = options;
    this.#hasWindow = options.windowBytes !== null;
    this.#availableBytes = options.windowBytes ?? Number.POSITIVE_INFINITY;
    options.port.on('message', (batches: Uint8Array[]) => {
      for (const batch of batches) this.#receive(batch);
    });
    options.port.on('close', () => this.#onClosed());
  }

  /** Something is waiting that the window does not let through: producers pause, and come back by `whenWritable`. */
  get isFull(): boolean {
    return this.#availableBytes <= 0;
  }

  /** Not even what is small goes on. */
  get isStuffed(): boolean {
    return this.#availableBytes <= -SPARE_BYTES;
  }

  /** Whether what cannot pause may still wait. While streams fill the window it must, or names would not be found. */
  get mayWait(): boolean {
    const frames = this.#queue.length - this.#queueHead;
    return this.#queuedBytes + frames * FRAME_COST_BYTES < MAX_WAITING_BYTES;
  }

  /** Calls `resume` once, in the order of asking, when there is room. */
  whenWritable(resume: () => void): void {
    this.#paused.add(resume);
    if (!this.isFull) this.#scheduleResume();
  }

  forget(resume: () => void): void {
    this.#paused.delete(resume);
  }

  /**
   * Order is kept, but CREDIT overtakes: behind data, two sides without credit would wait for ever. So does what is small, of
   * a connection that has nothing waiting: bulk of others is not to hold it up.
   */
  send(frame: Frame): void {
    if (this.#isClosed) return;
    const encoded = encodeBatch([frame]);
    if (frame.kind === FrameKind.FRAME_KIND_CREDIT) this.#urgent.push(encoded);
    else if (this.#overtakes(frame)) {
      this.#urgent.push(encoded);
      this.#availableBytes -= costOf(frame);
    } else {
      this.#queueIds.push(frame.id);
      this.#queuedOf.set(frame.id, (this.#queuedOf.get(frame.id) ?? 0) + 1);
      this.#queue.push(encoded);
      this.#queueCosts.push(costOf(frame));
      this.#queuedBytes += encoded.length;
    }
    if (this.#queuedBytes >= FLUSH_BYTES) this.#flush();
    else this.#scheduleFlush();
  }

  /** The receiver of a window has handed on so many bytes of cost. */
  grant(costBytes: number): void {
    if (costBytes === 0) return;
    this.send(makeFrame(0, FrameKind.FRAME_KIND_CREDIT, Credit.encode({ bytes: costBytes }).finish()));
  }

  /** Sends what the window lets through, then closes; `onClosed` follows on both sides. */
  close(): void {
    if (this.#isClosed) return;
    this.#flush();
    this.#isClosed = true;
    this.#options.port.close();
  }

  #overtakes(frame: Frame): boolean {
    if (!this.#hasWindow || frame.id === 0 || frame.data.length > SMALL_BYTES || this.isStuffed) return false;
    return this.#queueHead < this.#queue.length && !this.#queuedOf.has(frame.id);
  }

  #forget(id: number): void {
    const count = (this.#queuedOf.get(id) ?? 0) - 1;
    if (count > 0) this.#queuedOf.set(id, count);
    else this.#queuedOf.delete(id);
  }

  #receive(batch: Uint8Array): void {
    const frames = decodeBatch(batch);
    let costBytes = 0;
    let own = 0;
    for (const frame of frames) {
      if (frame.id === 0 && frame.kind === FrameKind.FRAME_KIND_CREDIT) {
        own += decodeHead(Credit.decode, frame.head).bytes;
      } else if (frame.kind !== FrameKind.FRAME_KIND_CREDIT) costBytes += costOf(frame);
    }
    if (own > 0) this.#onGrant(own);
    this.#options.onFrames(frames, costBytes);
  }

  #onGrant(bytes: number): void {
    this.#availableBytes += bytes;
    this.#flush();
    if (!this.isFull) this.#scheduleResume();
  }

  #scheduleFlush(): void {
    this.#flushHandle ??= setImmediate(() => {
      this.#flushHandle = null;
      this.#flush();
    });
  }

  #scheduleResume(): void {
    if (this.#paused.size === 0) return;
    this.#resumeHandle ??= setImmediate(() => {
      this.#resumeHandle = null;
      this.#resumeSome();
    });
  }

  #resumeSome(): void {
    let count = 0;
    for (const resume of this.#paused) {
      if (this.isFull || count === RESUMED_PER_TURN) break;
      this.#paused.delete(resume);
      resume();
      count += 1;
    }
    if (!this.isFull) this.#scheduleResume();
  }

  #flush(): void {
    const batches: Buffer[] = [];
    for (let parts = this.#takeBatch(); parts.length > 0; parts = this.#takeBatch()) batches.push(toOwned(parts));
    if (batches.length === 0) return;
    const moved = batches.map((batch) => batch.buffer as ArrayBuffer);
    this.#options.port.postMessage(batches, moved);
  }

  #takeBatch(): Buffer[] {
    let bytes = 0;
    let count = 0;
    for (; count < this.#urgent.length; count += 1) {
      const { length } = this.#urgent[count] as Buffer;
      if (count > 0 && bytes + length > BATCH_BYTES) break;
      bytes += length;
    }
    const parts = this.#urgent.splice(0, count);
    if (this.#urgent.length > 0) return parts;
    while (this.#queueHead < this.#queue.length && this.#availableBytes > 0) {
      const part = this.#queue[this.#queueHead] as Buffer;
      if (parts.length > 0 && bytes + part.length > BATCH_BYTES) break;
      parts.push(part);
      bytes += part.length;
      this.#queuedBytes -= part.length;
      if (this.#hasWindow) this.#availableBytes -= this.#queueCosts[this.#queueHead] as number;
      this.#forget(this.#queueIds[this.#queueHead] as number);
      this.#queueHead += 1;
    }
    if (this.#queueHead === this.#queue.length || this.#queueHead > 1024) {
      this.#queue = this.#queue.slice(this.#queueHead);
      this.#queueCosts = this.#queueCosts.slice(this.#queueHead);
      this.#queueIds = this.#queueIds.slice(this.#queueHead);
      this.#queueHead = 0;
    }
    return parts;
  }

  #onClosed(): void {
    this.#isClosed = true;
    if (this.#flushHandle !== null) clearImmediate(this.#flushHandle);
    if (this.#resumeHandle !== null) clearImmediate(this.#resumeHandle);
    this.#paused.clear();
    this.#queue = [];
    this.#queueCosts = [];
    this.#queueIds = [];
    this.#queuedOf.clear();
    this.#urgent = [];
    this.#options.onClosed();
  }
}

function costOf(frame: Frame): number {
  return frame.data.length + FRAME_COST_BYTES;
}

/** A buffer that can be moved to another thread: Node's small buffers are pieces of a shared one. */
function toOwned(parts: Buffer[]): Buffer {
  const [only] = parts;
  if (parts.length === 1 && only !== undefined && only.byteLength === only.buffer.byteLength) return only;
  let bytes = 0;
  for (const part of parts) bytes += part.length;
  const owned = Buffer.allocUnsafeSlow(bytes);
  let at = 0;
  for (const part of parts) {
    owned.set(part, at);
    at += part.length;
  }
  return owned;
}
