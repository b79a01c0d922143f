// A connected stream by its descriptor: read into memory that its owner names, written from where the bytes lie. What the
// kernel does not take waits here, and its owner, who knows how much that is, stops.
//
// It ends by one of: `close` or `reset` of its owner; a failure, which is told once. Then the descriptor is closed.

import { errnoName } from '../errno.ts';
import { AppError } from '../errors.ts';
import { Lease } from '../receive-blocks.ts';
import { PIECES_PER_WRITE, SOCKET_ENDS, SOCKET_READABLE, SOCKET_WRITABLE } from './addon.ts';
import { BulkDelivery } from './bulk-delivery.ts';
import { BulkOrder } from './bulk-order.ts';
import { BULK_READ_BYTES } from './read-buffers.ts';
import { type PoolMember, type SocketPool, socketPool } from './socket-pool.ts';

/** Who keeps the descriptor open until `close`, which nobody but the stream calls: a number that is free is soon another's. */
export interface Descriptor {
  readonly fd: number;
  /** By RST, where there is one, if `isReset`. */
  close(isReset: boolean): void;
}

/** Nobody else closes it. */
export function ownDescriptor(fd: number): Descriptor {
  return { fd, close: (isReset) => socketPool().native.close(fd, isReset) };
}

export interface StreamHandlers {
  /** Memory to read into: of any size but none. */
  room(): Uint8Array;
  /** Before a read: true where the order has carried what is there, or waits for room, paused; else it is read into `room`. */
  carry?(order: BulkOrder): boolean;
  /** Before a read: true where what was there to be read has been, in the handler's own memory. */
  deliver?(delivery: BulkDelivery): boolean;
  /** So many bytes lie at the start of it. */
  onBytes(count: number, room: Uint8Array): void;
  /** The peer's direction has ended. */
  onReadEnd(): void;
  /** So many bytes that had waited are the kernel's now. */
  onTaken(bytes: number): void;
  /** CONNECTION_FAILED with the kernel's errno: it is closed, nothing comes after it. */
  onFailed(error: AppError): void;
}

/** Reads of one socket before it is another's turn. With four a question beside bulk took 4.4 ms, with one 1.4; bulk is the same. */
const READS_PER_TURN = 1;
const EAGAIN = 11;
/** What waits and is less is copied: it would keep a block of memory that is many times as large. */
const HELD_BYTES = 32 * 1024;
/** Of all sockets: readers that stop may be many. Those beyond have copies. */
const MAX_HOLDS = 8;

let holds = 0;
const bulkOrder = new BulkOrder();
const bulkDelivery = new BulkDelivery();

function holdOf(lease: Lease | undefined): (() => void) | null {
  if (lease === undefined || holds >= MAX_HOLDS) return null;
  const end = lease.hold();
  holds += 1;
  return () => {
    holds -= 1;
    end();
  };
}

export class StreamSocket implements PoolMember {
  readonly #pool: SocketPool;
  readonly #descriptor: Descriptor;
  readonly #handlers: StreamHandlers;
  readonly #id: number;
  /** -1 once it is closed. */
  #fd: number;
  #isReading = false;
  /** Something may be there to be read. */
  #isReadable = false;
  /** Not to be taken for read out before the end has been read. */
  #hasEnd = false;
  #hasReadEnd = false;
  #isInRead = false;
  #waiting: Uint8Array[] = [];
  /** To be called when that which waits at the same place has been taken. */
  #holds: ((() => void) | null)[] = [];
  /** Of the first that waits. */
  #skip = 0;
  #waitingBytes = 0;
  #isEnding = false;
  #isClosed = false;

  /** Reads nothing before `resume`. */
  constructor(descriptor: Descriptor, handlers: StreamHandlers, pool = socketPool()) {
    this.#pool = pool;
    this.#descriptor = descriptor;
    this.#handlers = handlers;
    this.#fd = descriptor.fd;
    this.#id = pool.add(this.#fd, this);
    if (this.#id < 0) this.#failSoon('epoll', this.#id);
  }

  /** Bytes that the kernel has not taken. */
  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  resume(): void {
    if (this.#isReading || this.#isClosed || this.#hasReadEnd) return;
    this.#isReading = true;
    if (this.#isReadable && !this.#isInRead) this.#pool.turnSoon(this);
  }

  pause(): void {
    this.#isReading = false;
  }

  /**
   * In order after what was written before. Returns the bytes that the kernel took at once; `onTaken` tells of the others. They
   * stay where they are until then, or are copied, if `isBorrowed`: then the memory is the caller's again when this returns.
   * With a lease of that memory much of it stays under a hold instead.
   */
  write(pieces: readonly Uint8Array[], isBorrowed = false, lease?: Lease): number {
    if (this.#isClosed || this.#isEnding) return 0;
    let taken = 0;
    if (this.#waitingBytes === 0) {
      taken = this.#writeNow(pieces);
      if (taken < 0) {
        this.#failSoon('write', taken);
        return 0;
      }
    }
    let skip = taken;
    for (let index = 0; index < pieces.length; index++) {
      const piece = pieces[index] as Uint8Array;
      if (skip >= piece.length) {
        skip -= piece.length;
        continue;
      }
      const rest = skip === 0 ? piece : piece.subarray(skip);
      skip = 0;
      this.#wait(rest, isBorrowed, lease);
    }
    return taken;
  }

  /** Nothing waits: an order may carry bulk to it. */
  get isIdle(): boolean {
    return this.#waitingBytes === 0 && !this.#isClosed && !this.#isEnding;
  }

  /** To it, from another: only while it is idle. */
  carry(order: BulkOrder): void {
    const rest = order.carry(this.#pool.native, this.#fd);
    if (order.hasSeenOthers) this.#pool.lookSoon();
    if (order.errno !== 0) this.#failSoon('write', -order.errno);
    else if (rest !== null) {
      order.isFull = true;
      this.#wait(rest, false, undefined);
    }
  }

  /** Bulk may be delivered to it: only while nothing waits. */
  offer(delivery: BulkDelivery): boolean {
    if (!this.isIdle) return false;
    delivery.to = this.#fd;
    return true;
  }

  /** Of what was, the bytes that the kernel has; `onTaken` tells of the others. */
  delivered(delivery: BulkDelivery): number {
    const { bytes, rest, block } = delivery;
    if (delivery.errno !== 0) {
      this.#failSoon('write', -delivery.errno);
      return 0;
    }
    if (rest === null || block === null) return bytes;
    const lease = new Lease();
    lease.add(block);
    this.#wait(rest, true, lease);
    lease.end();
    return bytes - rest.length;
  }

  #wait(rest: Uint8Array, isBorrowed: boolean, lease: Lease | undefined): void {
    this.#waitingBytes += rest.length;
    const endHold = isBorrowed && rest.length >= HELD_BYTES ? holdOf(lease) : null;
    this.#waiting.push(isBorrowed && endHold === null ? Buffer.from(rest) : rest);
    this.#holds.push(endHold);
  }

  /** All, or until the kernel takes no more: only then it tells when it does again. */
  #writeNow(pieces: readonly Uint8Array[]): number {
    const { native } = this.#pool;
    let taken = native.write(this.#fd, pieces, 0);
    for (let more = taken; more > 0 && pieces.length > PIECES_PER_WRITE; taken += more) {
      more = Math.max(0, native.write(this.#fd, pieces, taken));
    }
    return taken;
  }

  /** Our direction ends when all is written. */
  end(): void {
    if (this.#isClosed || this.#isEnding) return;
    this.#isEnding = true;
    if (this.#waitingBytes === 0) this.#pool.native.end(this.#fd);
  }

  /** What waits is dropped. */
  close(): void {
    this.#release(false);
  }

  reset(): void {
    this.#release(true);
  }

  // ---- from the pool

  onReady(mask: number): void {
    if ((mask & SOCKET_WRITABLE) !== 0 && this.#waitingBytes > 0) this.#writeWaiting();
    if ((mask & SOCKET_ENDS) !== 0) this.#hasEnd = true;
    if ((mask & SOCKET_READABLE) === 0) return;
    this.#isReadable = true;
    this.#read();
  }

  onTurn(): void {
    this.#read();
  }

  #read(): void {
    if (this.#isInRead) return;
    this.#isInRead = true;
    for (let reads = 0; reads < READS_PER_TURN && this.#isReading && this.#isReadable && !this.#isClosed; reads++) {
      if (this.#isCarried() || this.#isDelivered()) continue;
      const room = this.#handlers.room();
      const count = this.#pool.native.read(this.#fd, room, 0, room.length);
      this.#noteRead(count, room.length);
      if (count > 0) this.#handlers.onBytes(count, room);
      else this.#endRead(count);
    }
    this.#isInRead = false;
    if (this.#isReadable && this.#isReading && !this.#isClosed) this.#pool.turnSoon(this);
  }

  #isCarried(): boolean {
    const order = bulkOrder;
    order.begin(this.#fd, this.#id);
    if (this.#handlers.carry?.(order) !== true) return false;
    if (this.#isClosed || order.isWaiting) return true;
    const { readyMask, lastRead } = order;
    if ((readyMask & SOCKET_ENDS) !== 0) this.#hasEnd = true;
    this.#noteRead(lastRead, BULK_READ_BYTES);
    if ((readyMask & SOCKET_WRITABLE) !== 0 && this.#waitingBytes > 0) this.#writeWaiting();
    if (lastRead <= 0 && !this.#isClosed) this.#endRead(lastRead);
    return true;
  }

  #isDelivered(): boolean {
    const { deliver } = this.#handlers;
    if (deliver === undefined) return false;
    const delivery = bulkDelivery;
    delivery.begin(this.#pool.native, this.#fd, this.#id);
    if (!this.#handlers.deliver?.(delivery)) return false;
    const { readyMask, lastRead, askedBytes, hasSeenOthers } = delivery;
    if (hasSeenOthers) this.#pool.lookSoon();
    if (this.#isClosed) return true;
    if ((readyMask & SOCKET_ENDS) !== 0) this.#hasEnd = true;
    // Nothing less says so: that more had come may have been told meanwhile, to whoever looked for others.
    if (askedBytes > 0 && lastRead <= 0) this.#isReadable = false;
    if ((readyMask & SOCKET_WRITABLE) !== 0 && this.#waitingBytes > 0) this.#writeWaiting();
    if (askedBytes > 0 && lastRead <= 0 && !this.#isClosed) this.#endRead(lastRead);
    return true;
  }

  /** What comes after a short read is told anew; an end that was told already is not. */
  #noteRead(count: number, mostBytes: number): void {
    if (count <= 0 || (count < mostBytes && !this.#hasEnd)) this.#isReadable = false;
  }

  #endRead(count: number): void {
    if (count === 0) {
      this.#isReading = false;
      this.#hasReadEnd = true;
      this.#handlers.onReadEnd();
    } else if (count !== -EAGAIN) this.#fail('read', count);
  }

  #writeWaiting(): void {
    let sum = 0;
    while (this.#waitingBytes > 0) {
      const taken = this.#pool.native.write(this.#fd, this.#waiting, this.#skip);
      if (taken < 0) {
        this.#fail('write', taken);
        return;
      }
      if (taken === 0) break;
      sum += taken;
      this.#waitingBytes -= taken;
      this.#drop(taken);
    }
    if (this.#waitingBytes === 0 && this.#isEnding) this.#pool.native.end(this.#fd);
    if (sum > 0) this.#handlers.onTaken(sum);
  }

  #drop(taken: number): void {
    let skip = this.#skip + taken;
    let count = 0;
    for (const piece of this.#waiting) {
      if (piece.length > skip) break;
      skip -= piece.length;
      count += 1;
    }
    if (count > 0) {
      this.#waiting.splice(0, count);
      for (const endHold of this.#holds.splice(0, count)) endHold?.();
    }
    this.#skip = skip;
  }

  /** Not within a call of its owner's. */
  #failSoon(what: string, negative: number): void {
    queueMicrotask(() => this.#fail(what, negative));
  }

  #fail(what: string, negative: number): void {
    if (this.#isClosed) return;
    this.#release(false);
    const error = new AppError('CONNECTION_FAILED', `${what}: ${errnoName(-negative)}`, { errno: -negative });
    this.#handlers.onFailed(error);
  }

  #release(isReset: boolean): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#waiting = [];
    this.#waitingBytes = 0;
    for (const endHold of this.#holds.splice(0)) endHold?.();
    if (this.#id >= 0) this.#pool.remove(this.#id, this.#fd);
    this.#fd = -1;
    this.#descriptor.close(isReset);
  }
}
