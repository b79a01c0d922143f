// The conversation between the supervisor and the client: numbers, frames and the decoder that cuts them out of a
// stream. Twin of layer/wire.h, which is the specification; both are held together by proto/vectors. What bodies hold is
// in wire-body.ts; which message has which body is in wire-client.ts (our side), wire-supervisor.ts (the other),
// wire-net.ts (connections, both sides) and wire-incoming.ts (those that arrive, both sides).

export const WIRE_VERSION = 1;
export const WIRE_HEADER_BYTES = 16;
export const WIRE_BODY_MAX = 2 << 20;
/** A result that is no errno: the path the supervisor asked about is local. */
export const WIRE_LOCAL = -4096;

export const WireKind = {
  HELLO: 1,
  STARTED: 2,
  LOG: 3,
  CANCEL: 4,
  FAILED: 5,
  ENDED: 7,
  SETUP: 16,
  REPLY: 17,
  OPEN: 32,
  STAT: 33,
  ACCESS: 34,
  READLINK: 35,
  STATFS: 36,
  MKDIR: 37,
  RMDIR: 38,
  UNLINK: 39,
  RENAME: 40,
  SYMLINK: 41,
  LINK: 42,
  SETATTR: 43,
  DECIDE: 44,
  READ: 64,
  WRITE: 65,
  FSTAT: 66,
  FSETATTR: 67,
  FSYNC: 68,
  READDIR: 69,
  FSTATFS: 70,
  RELEASE: 71,
  READ_FOR: 72,
  CONNECT: 96,
  UDP_OPEN: 97,
  UDP_PEER: 98,
  FLOW_ADDRESS: 99,
  FLOW_DATA: 112,
  FLOW_CREDIT: 113,
  FLOW_HALF_CLOSE: 114,
  FLOW_RESET: 115,
  FLOW_DIALING: 116,
  BIND: 128,
  LISTEN: 129,
  LISTEN_CLOSED: 130,
  ARRIVAL: 136,
  ARRIVAL_KNOWN: 137,
  ARRIVAL_OVER: 138,
} as const;
export type WireKind = (typeof WireKind)[keyof typeof WireKind];

export const WireOpened = { HANDLE: 0, INLINE: 1, MAPPED: 2 } as const;

export const WireSet = {
  MODE: 1,
  UID: 2,
  GID: 4,
  SIZE: 8,
  ATIME: 16,
  MTIME: 32,
  ATIME_NOW: 64,
  MTIME_NOW: 128,
} as const;

export const WireFeature = {
  FILES_READ: 1,
  FILES_WRITE: 2,
  NETWORK: 4,
  DNS: 8,
  UNIX: 16,
  INCOMING: 32,
  HOST_NAME: 64,
} as const;

export const WireTransport = { TCP: 1, UDP: 2, UNIX_STREAM: 3, UNIX_SEQPACKET: 4 } as const;
export type WireTransport = (typeof WireTransport)[keyof typeof WireTransport];

/** What either side may send of a flow before the other grants more. */
export const WIRE_FLOW_CREDIT_BYTES = 1 << 20;

export const WireCan = { FUSE: 1, SYNC_WAKE_UP: 2, INJECT_ATOMIC: 4, PTRACE: 8 } as const;

export const WireLogLevel = { ERROR: 0, WARN: 1, INFO: 2, DEBUG: 3 } as const;

/** Twin of layer/rules.h. */
export const RuleOp = { ALWAYS: 0, EXACT: 1, DIR: 2, PREFIX: 3, SUFFIX: 4, CONTAINS: 5 } as const;
export type RuleOp = (typeof RuleOp)[keyof typeof RuleOp];

export const RuleVerdict = { LOCAL: 0, REMOTE_READS: 1, REMOTE: 2, NOT_FOUND: 3, ASK: 4, MAPPED: 5 } as const;
export type RuleVerdict = (typeof RuleVerdict)[keyof typeof RuleVerdict];

export const RuleFlag = { FOLD_CASE: 1, RELATIVE: 2, READS_ONLY: 4 } as const;

const KNOWN_KINDS: ReadonlySet<number> = new Set(Object.values(WireKind));

/** The peer broke the protocol; the link cannot be used any more. The only error that bytes of a peer can cause. */
export class WireError extends Error {
  override readonly name = 'WireError';
  readonly code = 'PROTOCOL_VIOLATION';
}

export interface WireFrame {
  readonly kind: WireKind;
  readonly id: bigint;
  /** May share memory with the chunk it arrived in. */
  readonly body: Buffer;
}

/**
 * A frame as the pieces to write in order; bulk data is not copied. Throws RangeError when the body is longer than
 * WIRE_BODY_MAX: that is a fault of ours, not of the peer.
 */
export function encodeFrame(kind: WireKind, id: bigint, ...parts: Uint8Array[]): Buffer[] {
  let bytes = 0;
  for (const part of parts) bytes += part.length;
  if (bytes > WIRE_BODY_MAX) throw new RangeError(`wire body of ${bytes} bytes exceeds ${WIRE_BODY_MAX}`);
  const header = Buffer.allocUnsafe(WIRE_HEADER_BYTES);
  header.writeUInt32LE(bytes, 0);
  header.writeUInt16LE(kind, 4);
  header.writeUInt16LE(0, 6);
  header.writeBigUInt64LE(id, 8);
  const frame: Buffer[] = [header];
  for (const part of parts) {
    if (part.length > 0) frame.push(Buffer.from(part.buffer, part.byteOffset, part.length));
  }
  return frame;
}

/**
 * Cuts frames out of chunks of any size. A body that arrives in one chunk is not copied, any other is copied once.
 * Memory: one partial body, at most WIRE_BODY_MAX, allocated when its header is whole and found acceptable.
 */
export class WireDecoder {
  readonly #header = Buffer.alloc(WIRE_HEADER_BYTES);
  #headerBytes = 0;
  #body: Buffer | undefined;
  #bodyBytes = 0;
  #error: WireError | undefined;

  /** The frames that this chunk completes. Throws WireError on a violation, and on every push after it. */
  push(chunk: Buffer): WireFrame[] {
    if (this.#error) throw this.#error;
    const frames: WireFrame[] = [];
    let at = 0;
    while (at < chunk.length) {
      if (this.#body) {
        at += this.#fillBody(this.#body, chunk, at, frames);
        continue;
      }
      const copied = chunk.copy(this.#header, this.#headerBytes, at, at + WIRE_HEADER_BYTES - this.#headerBytes);
      at += copied;
      this.#headerBytes += copied;
      if (this.#headerBytes < WIRE_HEADER_BYTES) break;
      at += this.#beginBody(chunk, at, frames);
    }
    return frames;
  }

  /** True between frames: a stream that ends elsewhere was cut off. */
  get isAtBoundary(): boolean {
    return !this.#error && !this.#body && this.#headerBytes === 0;
  }

  #fillBody(body: Buffer, chunk: Buffer, at: number, frames: WireFrame[]): number {
    const copied = chunk.copy(body, this.#bodyBytes, at);
    this.#bodyBytes += copied;
    if (this.#bodyBytes === body.length) this.#finish(body, frames);
    return copied;
  }

  #beginBody(chunk: Buffer, at: number, frames: WireFrame[]): number {
    const length = this.#checkHeader();
    if (chunk.length - at >= length) {
      this.#finish(chunk.subarray(at, at + length), frames);
      return length;
    }
    this.#body = Buffer.allocUnsafe(length);
    this.#bodyBytes = 0;
    return 0;
  }

  #checkHeader(): number {
    const length = this.#header.readUInt32LE(0);
    const kind = this.#header.readUInt16LE(4);
    const flags = this.#header.readUInt16LE(6);
    if (length > WIRE_BODY_MAX) this.#fail(`body of ${length} bytes exceeds ${WIRE_BODY_MAX}`);
    if (!KNOWN_KINDS.has(kind)) this.#fail(`unknown kind ${kind}`);
    if (flags !== 0) this.#fail(`unknown flags ${flags}`);
    return length;
  }

  #finish(body: Buffer, frames: WireFrame[]): void {
    const kind = this.#header.readUInt16LE(4) as WireKind;
    frames.push({ kind, id: this.#header.readBigUInt64LE(8), body });
    this.#headerBytes = 0;
    this.#body = undefined;
  }

  #fail(message: string): never {
    this.#error = new WireError(message);
    throw this.#error;
  }
}
