// The header blocks of a client: put together, read along with the target's header table, and known again.

import { ErrorCode } from '#runtime/http2/frame.ts';
import type { FramePiece } from '#runtime/http2/frame-reader.ts';
import { type HeaderFrames, HeaderFramesReader } from '#runtime/http2/header-frames.ts';
import { type HeaderBlock, HpackDecoder } from '#runtime/http2/hpack-decoder.ts';
import type { Headers } from './http2-held.ts';
import { KnownBlocks } from './http2-known.ts';

/** Nobody looks into a block that is passed on as it is. */
const UNREAD: HeaderBlock = { fields: [], tableSizes: [] };

export type ReadBlock = Headers & Readonly<{ isKnown: boolean }>;
/** What makes it no HTTP/2, and its bytes. */
export type BlockFault = Readonly<{ code: number; unread: Buffer }>;

export class ClientBlocks {
  readonly #frames = new HeaderFramesReader();
  readonly #hpack = new HpackDecoder();
  readonly #known: KnownBlocks;
  /** The highest stream that the client has begun. */
  highestId = 0;

  constructor(standing: () => unknown) {
    this.#known = new KnownBlocks(standing);
  }

  /** True while only CONTINUATION may come. */
  get isOpen(): boolean {
    return this.#frames.isOpen;
  }

  get known(): KnownBlocks {
    return this.#known;
  }

  allowTable(bytes: number): void {
    this.#hpack.allowTable(bytes);
  }

  /** @param mayBeKnown what nobody wanted before goes to the target as it came. @returns undefined when more frames belong to it */
  add(piece: FramePiece, mayBeKnown: boolean): ReadBlock | BlockFault | undefined {
    const whole = this.#frames.add(piece);
    if (whole === undefined) return undefined;
    if (whole === 'doubtful') return { code: ErrorCode.protocolError, unread: this.#frames.rest() };
    const isRequest = whole.streamId > this.highestId && whole.streamId % 2 === 1;
    if (mayBeKnown && isRequest && this.#known.has(whole.block)) return { whole, decoded: UNREAD, isKnown: true };
    const decoded = this.#hpack.decode(whole.block);
    if (this.#hpack.hasChanged) this.#known.forget();
    if (decoded === undefined) return { code: ErrorCode.compressionError, unread: whole.bytes };
    if (whole.streamId % 2 === 0) return { code: ErrorCode.protocolError, unread: whole.bytes };
    return { whole, decoded, isKnown: false };
  }

  /** Nobody wants the request that was read last. */
  learn({ block }: HeaderFrames): void {
    if (!this.#hpack.hasChanged) this.#known.learn(block);
  }
}
