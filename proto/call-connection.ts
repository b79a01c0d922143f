// One HTTP/2 connection of calls. Node's http2 says who calls what and how it ends; DATA, which is nearly all of the bytes,
// goes past it: read where it lies, written from where it lies, with windows kept here. Costs a third of what it does in
// there (docs/benchmarks.md); on the wire it is the same.
//
// Buffers: a block of memory where bulk comes, more while somebody holds on to what lies there (receive-blocks.ts); what waits to be written is MessageWriter's to bound; DATA that nobody has
// claimed yet is within the window, because none of it is granted again before.

import type { Duplex } from 'node:stream';
import { type CallState, newCall, type OnPayload, stepOf } from './call-state.ts';
import { ControlDuplex } from './control-duplex.ts';
import type { DataWay } from './grpc-message.ts';
import { grownWindowBytes, MAX_HTTP2_FRAME_BYTES, windowBytes } from './grpc-tuning.ts';
import {
  ACK,
  END_STREAM,
  FRAME_HEAD_BYTES,
  type FrameHead,
  FrameWalk,
  frameHead,
  HTTP2_DATA,
  HTTP2_HEADERS,
  HTTP2_RST_STREAM,
  HTTP2_SETTINGS,
  HTTP2_WINDOW_UPDATE,
  PADDED,
  PREFACE_BYTES,
  readFrameHead,
  readSettings,
  windowUpdate,
} from './http2-frames.ts';
import { type RawSocket, rawSocket } from './raw-socket.ts';
import { ReceivedBytes } from './received-bytes.ts';
import type { BulkDelivery, BulkTaker } from './sockets/bulk-delivery.ts';
import { type BulkOrder, MOST_FRAME_BYTES } from './sockets/bulk-order.ts';

/** Of HTTP/2, before anybody has said anything. */
const DEFAULT_WINDOW_BYTES = 65_535;
const DEFAULT_FRAME_BYTES = 16_384;
const MAX_WINDOW_BYTES = 2 ** 31 - 1;
/** Calls whose DATA goes past node; those beyond are node's alone, which refuses them. */
const MAX_CALLS = 16;
/** More than DATA is ever left waiting: answers to a peer that asks and does not read. */
const MAX_WAITING_BYTES = 1280 * 1024;

export class CallConnection implements DataWay {
  /** What node:http2 has for a socket. */
  readonly duplex: ControlDuplex;
  readonly #socket: Duplex;
  readonly #isClient: boolean;
  readonly #windowBytes: number;
  readonly #grownBytes: number;
  readonly #walk: FrameWalk;
  readonly #calls = new Map<number, CallState>();
  readonly #received = new ReceivedBytes();
  #raw: RawSocket | null = null;
  #early: Uint8Array[] = [];
  #prefaceBytes: number;
  /** What comes is no HTTP/2: node says so. */
  #isPassedOn = false;
  /** DATA waits for who claims it, and all behind it. */
  #isStalled = false;
  #isParsing = false;
  #isClosed = false;
  /** The one whose DATA is offered before it is read. */
  #offered: CallState | null = null;
  #sendBytes = DEFAULT_WINDOW_BYTES;
  #initialSendBytes = DEFAULT_WINDOW_BYTES;
  #maxFrameBytes = DEFAULT_FRAME_BYTES;
  #ungrantedBytes = 0;
  #writtenBytes = 0;

  constructor(socket: Duplex, address: string, side: 'client' | 'server') {
    this.#socket = socket;
    this.#isClient = side === 'client';
    this.#windowBytes = windowBytes(address);
    this.#grownBytes = grownWindowBytes(address);
    this.#prefaceBytes = this.#isClient ? 0 : PREFACE_BYTES;
    this.#walk = new FrameWalk(this.#isClient ? PREFACE_BYTES : 0, (head) => this.#onWritten(head));
    this.duplex = new ControlDuplex({
      write: (chunk) => this.#writeControl(chunk),
      end: () => this.#raw?.end(),
      close: () => this.#close(),
      resume: () => this.#resume(),
    });
    socket.on('error', (error) => this.#failed(error));
    if ('connecting' in socket && socket.connecting === true) socket.once('connect', () => this.#begin());
    else this.#begin();
  }

  get waitingBytes(): number {
    return this.#raw?.waitingBytes ?? 0;
  }

  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  get takenBytes(): number {
    return this.#writtenBytes - this.waitingBytes;
  }

  /** The DATA of a call goes to `onPayload` from here on, with what came before; bulk is offered to `taker` before it is read. */
  claim(id: number, onPayload: OnPayload, taker: BulkTaker | null = null): void {
    const call = this.#callOf(id);
    if (call === null) return;
    call.onPayload = onPayload;
    call.taker = taker;
    if (taker !== null) this.#offered = call;
    for (const payload of call.held.splice(0)) onPayload(payload);
    this.#granted(call, 0);
    if (call.hasEnd) this.#passEnd(id);
    this.#resume();
  }

  /** node has done with the call. */
  forget(id: number): void {
    this.#calls.delete(id);
  }

  onRoom(id: number, flush: () => void): void {
    const call = this.#callOf(id);
    if (call !== null) call.writer = flush;
  }

  roomFor(id: number): number {
    const call = this.#calls.get(id);
    if (call === undefined || !call.isOpen || this.#raw === null || !this.#walk.isBetween) return 0;
    return Math.max(0, Math.min(call.sendBytes, this.#sendBytes, this.#maxFrameBytes));
  }

  writeData(id: number, pieces: readonly Uint8Array[], bytes: number): void {
    const call = this.#calls.get(id);
    if (call === undefined) return;
    this.#wrote(call, bytes);
    const all: Uint8Array[] = [frameHead(bytes, HTTP2_DATA, 0, id)];
    for (let index = 0; index < pieces.length; index++) all.push(pieces[index] as Uint8Array);
    this.#raw?.write(all);
  }

  carry(id: number, order: BulkOrder): boolean {
    const call = this.#calls.get(id);
    if (call === undefined || this.#raw?.isIdle !== true || this.roomFor(id) < MOST_FRAME_BYTES) return false;
    if (!order.limit(Math.min(call.sendBytes, this.#sendBytes) / MOST_FRAME_BYTES)) return false;
    order.call = id;
    this.#raw.carry?.(order);
    for (let frame = 0; frame < order.frames; frame++) this.#wrote(call, order.messageBytesOf(frame));
    return true;
  }

  #wrote(call: CallState, bytes: number): void {
    call.sendBytes -= bytes;
    this.#sendBytes -= bytes;
    this.#writtenBytes += FRAME_HEAD_BYTES + bytes;
  }

  #write(pieces: readonly Uint8Array[]): void {
    for (const { length } of pieces) this.#writtenBytes += length;
    this.#raw?.write(pieces);
  }

  #begin(): void {
    if (this.#isClosed) return;
    this.#raw = rawSocket(this.#socket, {
      room: () => this.#received.room(),
      deliver: (delivery) => this.#deliver(delivery),
      onBytes: (count) => this.#onBytes(count),
      onReadEnd: () => this.duplex.push(null),
      onTaken: () => this.#flushAll(),
      onFailed: (error) => this.#failed(error),
    });
    if (this.#early.length > 0) this.#write(this.#early);
    this.#early = [];
    this.#raw.resume();
    this.#flushAll();
  }

  #resume(): void {
    this.#isStalled = false;
    this.#parse();
    if (!this.#isStalled && !this.duplex.isFull) this.#raw?.resume();
  }

  #flushAll(): void {
    for (const call of this.#calls.values()) call.writer?.();
  }

  #failed(error: Error): void {
    if (!this.#isClosed) this.duplex.destroy(error);
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#calls.clear();
    this.#early = [];
    if (this.#raw === null) this.#socket.destroy();
    else this.#raw.close();
  }

  #callOf(id: number): CallState | null {
    const known = this.#calls.get(id);
    if (known !== undefined) return known;
    if (this.#isClosed || this.#calls.size >= MAX_CALLS) return null;
    const call = newCall(id, this.#initialSendBytes, this.#windowBytes);
    this.#calls.set(id, call);
    return call;
  }

  // ---- what node writes

  #writeControl(chunk: Buffer): void {
    if (this.#isClosed) return;
    this.#walk.pass(chunk);
    if (this.#raw === null) this.#early.push(chunk);
    else this.#write([chunk]);
    if (this.waitingBytes > MAX_WAITING_BYTES) this.#failed(new Error('the peer asks and does not read'));
    if (!this.#walk.isBetween) return;
    for (const call of this.#calls.values()) this.#granted(call, stepOf(call, this.#windowBytes));
    this.#flushAll();
  }

  #onWritten({ type, id }: FrameHead): void {
    if (type === HTTP2_RST_STREAM) this.#calls.delete(id);
    else if (type === HTTP2_HEADERS) {
      const call = this.#isClient ? this.#callOf(id) : this.#calls.get(id);
      if (call !== undefined && call !== null) call.isOpen = true;
    }
  }

  // ---- what the peer writes

  #onBytes(count: number): void {
    this.#received.added(count);
    this.#parse();
  }

  /** Bulk for one connection goes there without a look at it; whatever else came is parsed. */
  #deliver(delivery: BulkDelivery): boolean {
    const call = this.#offered;
    const received = this.#received;
    if (call === null || call.taker === null || call.hasEnd || this.#calls.get(call.id) !== call) return false;
    if (this.#isParsing || this.#isStalled || this.#isPassedOn || this.#isClosed || !received.isFree) return false;
    if (!delivery.limit(call.windowBytes + DEFAULT_WINDOW_BYTES - call.ungrantedBytes)) return false;
    if (!call.taker.offer(delivery)) return false;
    delivery.call = call.id;
    if (!received.deliver(delivery)) return false;
    if (delivery.frames > 0) {
      const bytes = delivery.messageBytes;
      call.ungrantedBytes += bytes;
      this.#ungrantedBytes += bytes;
      this.#grow(call, bytes);
      call.taker.delivered(delivery);
      this.#granted(call, stepOf(call, this.#windowBytes));
    }
    this.#parse();
    return true;
  }

  #parse(): void {
    if (this.#isParsing) return;
    this.#isParsing = true;
    while (!this.#isClosed && !this.#isStalled && this.#parseOne());
    this.#isParsing = false;
    if (this.#isStalled || this.duplex.isFull) this.#raw?.pause();
  }

  /** False where more bytes are needed. */
  #parseOne(): boolean {
    const received = this.#received;
    const { length } = received;
    if (length === 0) return false;
    if (this.#isPassedOn) return this.#passOn(length);
    if (this.#prefaceBytes > 0) {
      const bytes = Math.min(length, this.#prefaceBytes);
      this.#prefaceBytes -= bytes;
      return this.#passOn(bytes);
    }
    if (length < FRAME_HEAD_BYTES) return false;
    const head = readFrameHead(received.bytes, received.start);
    const frameBytes = FRAME_HEAD_BYTES + head.length;
    if (head.length > MAX_HTTP2_FRAME_BYTES) {
      this.#isPassedOn = true;
      return true;
    }
    if (length < frameBytes) {
      received.needs(frameBytes);
      return false;
    }
    const call = this.#calls.get(head.id);
    if (head.type === HTTP2_DATA && call !== undefined) return this.#onData(head, call);
    if (!this.#isOwn(head, received.bytes.subarray(received.start + FRAME_HEAD_BYTES, received.start + frameBytes))) {
      return this.#passOn(frameBytes);
    }
    received.used(frameBytes);
    return true;
  }

  #passOn(bytes: number): boolean {
    const { start } = this.#received;
    const chunk = Buffer.from(this.#received.bytes.subarray(start, start + bytes));
    this.#received.used(bytes);
    this.duplex.push(chunk);
    return true;
  }

  /** True for what is not node's to see, because it knows nothing of the DATA that it is about. */
  #isOwn({ type, flags, id }: FrameHead, payload: Buffer): boolean {
    if (type === HTTP2_SETTINGS && (flags & ACK) === 0) {
      this.#onSettings(payload);
      return false;
    }
    if (type === HTTP2_HEADERS && !this.#isClient) this.#callOf(id);
    else if (type === HTTP2_RST_STREAM) this.#calls.delete(id);
    if (type !== HTTP2_WINDOW_UPDATE || payload.length !== 4) return false;
    const bytes = payload.readUInt32BE(0) & 0x7fff_ffff;
    const call = this.#calls.get(id);
    if (bytes === 0 || (id !== 0 && call === undefined)) return false;
    if (id === 0) this.#sendBytes += bytes;
    else if (call !== undefined) call.sendBytes += bytes;
    if (this.#sendBytes > MAX_WINDOW_BYTES || (call?.sendBytes ?? 0) > MAX_WINDOW_BYTES) {
      this.#failed(new Error('a window of more than HTTP/2 allows'));
    } else this.#flushAll();
    return true;
  }

  #onSettings(payload: Buffer): void {
    const { initialWindowBytes, maxFrameBytes } = readSettings(payload);
    if (maxFrameBytes !== undefined) this.#maxFrameBytes = Math.min(maxFrameBytes, MAX_HTTP2_FRAME_BYTES);
    if (initialWindowBytes === undefined) return;
    for (const call of this.#calls.values()) call.sendBytes += initialWindowBytes - this.#initialSendBytes;
    this.#initialSendBytes = initialWindowBytes;
    // What this makes possible is written after node has had the frame, and answered it.
    queueMicrotask(() => this.#flushAll());
  }

  #onData({ length, flags, id }: FrameHead, call: CallState): boolean {
    const { bytes, start } = this.#received;
    const padding = (flags & PADDED) === 0 || length === 0 ? 0 : 1 + (bytes[start + FRAME_HEAD_BYTES] as number);
    const from = start + FRAME_HEAD_BYTES + Math.min(1, padding);
    const payload = bytes.subarray(from, start + FRAME_HEAD_BYTES + length - Math.max(0, padding - 1));
    if (padding > length || call.hasEnd) {
      this.#isPassedOn = true;
      return true;
    }
    if (call.onPayload === null && this.#isClient) {
      this.#isStalled = true;
      return false;
    }
    call.ungrantedBytes += length;
    this.#ungrantedBytes += length;
    // More than was ever granted: a peer that keeps to no window keeps to nothing.
    if (call.ungrantedBytes > call.windowBytes + DEFAULT_WINDOW_BYTES) {
      this.#failed(new Error('more DATA than was granted'));
      return false;
    }
    if (call.onPayload === null) call.held.push(Buffer.from(payload));
    else this.#grow(call, length);
    const { block } = this.#received;
    block.hold();
    // What somebody keeps without a hold of his own is the collector's, and so is the block.
    if (call.onPayload === null || call.onPayload(payload, block)) block.release();
    this.#received.used(FRAME_HEAD_BYTES + length);
    this.#granted(call, stepOf(call, this.#windowBytes));
    if ((flags & END_STREAM) !== 0) {
      call.hasEnd = true;
      if (call.onPayload !== null) this.#passEnd(id);
    }
    return true;
  }

  /** Who nobody knows yet has the window that he began with: what he brings is held. */
  #grow(call: CallState, bytes: number): void {
    if (call.windowBytes >= this.#grownBytes) return;
    call.claimedBytes += bytes;
    if (call.claimedBytes < call.windowBytes || !this.#walk.isBetween) return;
    const more = this.#grownBytes - call.windowBytes;
    call.windowBytes = this.#grownBytes;
    this.#write([windowUpdate(0, more), windowUpdate(call.id, more)]);
  }

  /** Grants again what has been taken, where it is more than `most`. */
  #granted(call: CallState, most: number): void {
    if (this.#isClosed || call.onPayload === null || !this.#walk.isBetween) return;
    const frames: Buffer[] = [];
    if (this.#ungrantedBytes > most) {
      frames.push(windowUpdate(0, this.#ungrantedBytes));
      this.#ungrantedBytes = 0;
    }
    if (call.ungrantedBytes > most) {
      if (!call.hasEnd) frames.push(windowUpdate(call.id, call.ungrantedBytes));
      call.ungrantedBytes = 0;
    }
    if (frames.length > 0) this.#write(frames);
  }

  /** An end without bytes, for node. */
  #passEnd(id: number): void {
    this.duplex.push(frameHead(0, HTTP2_DATA, END_STREAM, id));
  }
}
