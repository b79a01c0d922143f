// Byte credits of the session stream: what a sender may still send, and when a receiver gives more. One pair serves the whole
// session (id 0), and one each connection that has its own.

import { decodeHead } from './decode-head.ts';
import { AppError } from './errors.ts';
import { type Frame, makeFrame, NO_BYTES, varintBytes, writeVarint } from './frame.ts';
import { Credit, FrameKind } from './gen/v1/frame.ts';

/** Bytes of `data` in flight per direction before a grant: under the 4 MiB HTTP/2 window, so that ours is the one that acts. */
export const SESSION_CREDIT_BYTES = 3 * 1024 * 1024;
/**
 * What a session's or a connection's credit grows to where bulk comes and is taken at once: 160 MB/s at 100 ms round trip.
 * How much of it a sender uses follows the distance (in-flight.ts).
 */
export const MOST_CREDIT_BYTES = 16 * 1024 * 1024;
/** What all connections of a session may have been given beyond their beginning, in each direction. */
const GROWN_CREDIT_BYTES = 32 * 1024 * 1024;
/** Of one connection: twice what 25 MB/s at 20 ms round trip keeps in flight. */
export const CONNECTION_CREDIT_BYTES = 1024 * 1024;
/** Receivers give in steps of this: often enough never to stall, seldom enough to cost nothing. */
export const GRANT_STEP_BYTES = 256 * 1024;

/** Of Credit.bytes. */
const TAG_BYTES = 0x08;

/** The sender's side: a budget that sending takes from and grants fill up. */
export class SendCredit {
  #availableBytes: number;
  #waiters: (() => void)[] = [];

  constructor(initialBytes: number) {
    this.#availableBytes = initialBytes;
  }

  get availableBytes(): number {
    return this.#availableBytes;
  }

  /** True and taken, or false and nothing changed. All or nothing, because a frame is not split. */
  take(bytes: number): boolean {
    if (bytes > this.#availableBytes) return false;
    this.#availableBytes -= bytes;
    return true;
  }

  /** Resolves after the next grant; the caller then tries `take` again. */
  wait(): Promise<void> {
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  /** A peer that grants more than 2^53 bytes in sum is not honest: PROTOCOL_VIOLATION. */
  grant(bytes: number): void {
    if (!Number.isSafeInteger(this.#availableBytes + bytes)) {
      throw new AppError('PROTOCOL_VIOLATION', `credit of ${bytes} bytes overflows`);
    }
    this.#availableBytes += bytes;
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const resolve of waiters) resolve();
  }
}

/** Where receivers take from what they give beyond the beginning, so that all of them together have a bound. */
export class CreditRoom {
  #leftBytes: number;

  constructor(bytes = GROWN_CREDIT_BYTES) {
    this.#leftBytes = bytes;
  }

  take(bytes: number): boolean {
    if (bytes > this.#leftBytes) return false;
    this.#leftBytes -= bytes;
    return true;
  }

  giveBack(bytes: number): void {
    this.#leftBytes += bytes;
  }
}

export interface Growth {
  readonly mostBytes: number;
  readonly room?: CreditRoom;
}

/** Of a session's own credit: what comes is handed on, and waits under the credit of its connection. */
export const SESSION_GROWTH: Growth = { mostBytes: MOST_CREDIT_BYTES };
/** Who does not bring a whole window within this has more than he needs. */
const GROWN_FOR_MS = 5_000;

/**
 * The receiver's side: watches that the peer keeps within what it was given, and says when to give more. What is given and not
 * handed on yet is one window. It doubles each time that a whole one was taken at once, and goes back to its beginning, by
 * what is not given again, when the taker falls behind or little comes.
 */
export class ReceiveCredit {
  readonly #initialBytes: number;
  readonly #growth: Growth | undefined;
  #windowBytes: number;
  #grantedBytes: number;
  #consumedBytes = 0;
  #stepBytes: number;
  /** Since the window was looked at last. */
  #promptBytes = 0;
  #lookedAtMs: number | null = null;
  #isShrinking = false;
  #isClosed = false;

  constructor(initialBytes: number, growth?: Growth) {
    this.#initialBytes = initialBytes;
    this.#growth = growth;
    this.#windowBytes = initialBytes;
    this.#grantedBytes = initialBytes;
    this.#stepBytes = stepOf(initialBytes);
  }

  /** What the peer may have sent that has not been handed on. */
  get windowBytes(): number {
    return this.#windowBytes;
  }

  /** What the peer may send. */
  get grantedBytes(): number {
    return this.#grantedBytes;
  }

  /** At arrival. Throws PROTOCOL_VIOLATION when the peer sends more than it was granted. */
  received(bytes: number): void {
    if (bytes > this.#grantedBytes) {
      throw new AppError('PROTOCOL_VIOLATION', `${bytes} bytes of data where ${this.#grantedBytes} were granted`);
    }
    this.#grantedBytes -= bytes;
  }

  /** When the bytes have been handed on. `isPrompt`: nothing much waits behind them. Returns the bytes to grant now, 0 for not yet. */
  consumed(bytes: number, isPrompt = true, nowMs = performance.now()): number {
    this.#consumedBytes += bytes;
    if (this.#growth !== undefined && !this.#isClosed) this.#fit(this.#growth, bytes, isPrompt, nowMs);
    return this.#consumedBytes < this.#stepBytes ? 0 : this.#grant();
  }

  /** The bytes to grant where something goes to the peer anyway, so that no message is made for them: 0 for none yet. */
  due(): number {
    return this.isDue ? this.#grant() : 0;
  }

  get isDue(): boolean {
    return this.#consumedBytes * 2 >= this.#stepBytes;
  }

  /** Nothing more comes: what was taken from the room is others'. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#growth?.room?.giveBack(this.#windowBytes - this.#initialBytes);
  }

  #fit(growth: Growth, bytes: number, isPrompt: boolean, nowMs: number): void {
    this.#promptBytes += bytes;
    this.#lookedAtMs ??= nowMs;
    if (!isPrompt) this.#isShrinking = true;
    else if (this.#promptBytes >= this.#windowBytes) {
      this.#isShrinking = false;
      this.#looked(nowMs);
      this.#grow(growth);
    } else if (nowMs - this.#lookedAtMs > GROWN_FOR_MS) {
      this.#isShrinking = true;
      this.#looked(nowMs);
    }
    if (!this.#isShrinking) return;
    if (!isPrompt) this.#looked(nowMs);
    const bytesBack = Math.min(this.#windowBytes - this.#initialBytes, this.#consumedBytes);
    this.#consumedBytes -= bytesBack;
    this.#resize(-bytesBack);
    growth.room?.giveBack(bytesBack);
  }

  #looked(nowMs: number): void {
    this.#promptBytes = 0;
    this.#lookedAtMs = nowMs;
  }

  #grow({ mostBytes, room }: Growth): void {
    const bytes = Math.min(this.#windowBytes, mostBytes - this.#windowBytes);
    if (bytes <= 0 || room?.take(bytes) === false) return;
    this.#consumedBytes += bytes;
    this.#resize(bytes);
  }

  #resize(bytes: number): void {
    this.#windowBytes += bytes;
    this.#stepBytes = stepOf(this.#windowBytes);
  }

  #grant(): number {
    const grant = this.#consumedBytes;
    this.#consumedBytes = 0;
    this.#grantedBytes += grant;
    return grant;
  }
}

function stepOf(windowBytes: number): number {
  return Math.max(1, Math.min(GRANT_STEP_BYTES, Math.floor(windowBytes / 2)));
}

/** @param id of a connection, or 0 for the session */
export function creditFrame(id: number, bytes: number): Frame {
  return makeFrame(id, FrameKind.FRAME_KIND_CREDIT, encodeCredit(bytes));
}

/** As the generated code writes it; by hand, because bulk has two of them for each step. */
function encodeCredit(bytes: number): Uint8Array {
  if (bytes === 0) return NO_BYTES;
  const head = new Uint8Array(1 + varintBytes(bytes));
  head[0] = TAG_BYTES;
  writeVarint(head, 1, bytes);
  return head;
}

/** What a CREDIT grants. Throws PROTOCOL_VIOLATION for a head that cannot be read. */
export function creditOf({ head }: Frame): number {
  let bytes = 0;
  // Up to 2^28 as we write it, and whatever else as the generated code reads it.
  for (let at = 1; head[0] === TAG_BYTES && at < head.length && at < 5; at += 1) {
    const byte = head[at] as number;
    bytes |= (byte & 0x7f) << (7 * (at - 1));
    if (byte < 0x80 && at + 1 === head.length) return bytes;
    if (byte < 0x80) break;
  }
  return decodeHead(Credit.decode, head).bytes;
}
