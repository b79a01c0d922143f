// Byte credits of the session stream: what a sender may still send, and when a receiver gives more. One pair serves the whole
// session (id 0), and one each connection that has its own.

import { decodeHead } from './decode-head.ts';
import { AppError } from './errors.ts';
import { type Frame, makeFrame, NO_BYTES, varintBytes, writeVarint } from './frame.ts';
import { Credit, FrameKind } from './gen/v1/frame.ts';

/** Bytes of `data` in flight per direction before a grant: under the 4 MiB HTTP/2 window, so that ours is the one that acts. */
export const SESSION_CREDIT_BYTES = 3 * 1024 * 1024;
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

/** The receiver's side: watches that the peer keeps within what it was given, and says when to give more. */
export class ReceiveCredit {
  #grantedBytes: number;
  #consumedBytes = 0;
  readonly #stepBytes: number;

  constructor(initialBytes: number) {
    this.#grantedBytes = initialBytes;
    this.#stepBytes = Math.max(1, Math.min(GRANT_STEP_BYTES, Math.floor(initialBytes / 2)));
  }

  /** At arrival. Throws PROTOCOL_VIOLATION when the peer sends more than it was granted. */
  received(bytes: number): void {
    if (bytes > this.#grantedBytes) {
      throw new AppError('PROTOCOL_VIOLATION', `${bytes} bytes of data where ${this.#grantedBytes} were granted`);
    }
    this.#grantedBytes -= bytes;
  }

  /** When the bytes have been handed on. Returns the bytes to grant now, 0 for not yet. */
  consumed(bytes: number): number {
    this.#consumedBytes += bytes;
    return this.#consumedBytes < this.#stepBytes ? 0 : this.#grant();
  }

  /** The bytes to grant where something goes to the peer anyway, so that no message is made for them: 0 for none yet. */
  due(): number {
    return this.#consumedBytes * 2 < this.#stepBytes ? 0 : this.#grant();
  }

  #grant(): number {
    const grant = this.#consumedBytes;
    this.#consumedBytes = 0;
    this.#grantedBytes += grant;
    return grant;
  }
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
