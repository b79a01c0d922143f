// The header blocks of a client: put together, read along with the target's header table, and known again. Where nobody wants one
// request after the other they are read natively (native/request_head.h), and the table goes there and comes back.

import { ErrorCode, FrameType, SAFE_FRAME_BYTES, Setting } from '#runtime/http2/frame.ts';
import type { FramePiece } from '#runtime/http2/frame-reader.ts';
import { HeaderFramesReader } from '#runtime/http2/header-frames.ts';
import { type HeaderBlock, HpackDecoder } from '#runtime/http2/hpack-decoder.ts';
import type { NativeStreams } from '../native/index.ts';
import type { RestingStreams } from './endpoint.ts';
import type { Headers } from './http2-held.ts';
import { KnownBlocks, REPEATED } from './http2-known.ts';

/** Nobody looks into a block that is passed on as it is. */
const UNREAD: HeaderBlock = { fields: [], tableSizes: [] };
/** Requests in a row that nobody wants, from which on it is tried to have them read natively, however little that brought. */
const MOST_UNWANTED = 256;
/** What one turn of the event loop may read of blocks before it is another connection's: unpacked, and for each of them so much more. */
const MAX_TURN_BYTES = 1024 * 1024;
const BLOCK_COST_BYTES = 4 * 1024;

export type ReadBlock = Headers & Readonly<{ isKnown: boolean }>;
/** What makes it no HTTP/2, and its bytes. */
export type BlockFault = Readonly<{ code: number; unread: Buffer }>;

export class ClientBlocks {
  readonly #frames = new HeaderFramesReader();
  readonly #hpack = new HpackDecoder();
  readonly #known: KnownBlocks;
  #turnBytes = 0;
  #nextTurn: NodeJS.Immediate | undefined;
  /** Requests in a row that nobody wanted, and of how many more of them are expected. */
  #unwanted = 0;
  #expectedFrom = 1;
  /** Of what the target has ever allowed. */
  #maxFrameBytes = SAFE_FRAME_BYTES;
  /** The highest stream that the client has begun. */
  highestId = 0;

  constructor(standing: () => unknown) {
    this.#known = new KnownBlocks(standing);
  }

  /** True while only CONTINUATION may come. */
  get isOpen(): boolean {
    return this.#frames.isOpen;
  }

  /** A promise is a fault of a client's (RFC 9113 section 8.4), so it is here as well. */
  isTheirs({ head: { type } }: FramePiece): boolean {
    const hasBlock = type === FrameType.headers || type === FrameType.continuation || type === FrameType.pushPromise;
    return hasBlock || this.isOpen;
  }

  /** This turn has had its share. */
  get isTurnOver(): boolean {
    return this.#turnBytes > MAX_TURN_BYTES;
  }

  /** @param goOn when the others have had their turn */
  endTurn(goOn: () => void): void {
    if (!this.isTurnOver) this.#turnBytes = 0;
    else
      this.#nextTurn ??= setImmediate(() => {
        this.#nextTurn = undefined;
        this.#turnBytes = 0;
        goOn();
      });
  }

  close(): void {
    clearImmediate(this.#nextTurn);
  }

  /** Nobody is expected to want the next ones. */
  get isPassing(): boolean {
    return this.#known.isRepeating || this.#unwanted >= this.#expectedFrom;
  }

  /** For somebody who reads them natively, until `goOn`. */
  resting(): Omit<RestingStreams, 'open'> {
    return { highest: this.highestId, blocks: this.#known.blocks, table: () => this.#hpack.pack() };
  }

  /** Somebody has read them for a while. What brings little is tried less often. */
  goOn({ highest, table }: NativeStreams): void {
    const passed = (highest - this.highestId) / 2;
    this.#expectedFrom = passed < this.#expectedFrom ? Math.min(this.#expectedFrom * 2, MOST_UNWANTED) : REPEATED;
    this.#unwanted = 0;
    this.highestId = highest;
    if (table === null) return;
    this.#hpack.goOn(table);
    this.#known.forget();
  }

  /** The target's SETTINGS. */
  onSettings(values: ReadonlyMap<number, number>): void {
    this.#hpack.allowTable(values.get(Setting.headerTableSize) ?? 0);
    this.#maxFrameBytes = Math.max(this.#maxFrameBytes, values.get(Setting.maxFrameSize) ?? 0);
  }

  /** @param mayBeKnown what nobody wanted before goes to the target as it came. @returns undefined when more frames belong to it */
  add(piece: FramePiece, mayBeKnown: boolean): ReadBlock | BlockFault | undefined {
    const whole = this.#frames.add(piece);
    if (piece.head.length > this.#maxFrameBytes) {
      return { code: ErrorCode.frameSizeError, unread: whole instanceof Object ? whole.bytes : this.#frames.rest() };
    }
    if (whole === undefined) return undefined;
    if (whole === 'doubtful') return { code: ErrorCode.protocolError, unread: this.#frames.rest() };
    const isRequest = whole.streamId > this.highestId && whole.streamId % 2 === 1;
    if (mayBeKnown && isRequest && this.#known.has(whole.block)) return { whole, decoded: UNREAD, isKnown: true };
    const decoded = this.#hpack.decode(whole.block);
    this.#turnBytes += BLOCK_COST_BYTES + this.#hpack.fieldBytes;
    if (this.#hpack.hasChanged) this.#known.forget();
    if (decoded === undefined) return { code: ErrorCode.compressionError, unread: whole.bytes };
    if (whole.streamId % 2 === 0) return { code: ErrorCode.protocolError, unread: whole.bytes };
    return { whole, decoded, isKnown: false };
  }

  /** Of the request that was read last. */
  onDecided({ whole, isKnown }: ReadBlock, isWanted: boolean): void {
    this.#unwanted = isWanted ? 0 : this.#unwanted + 1;
    if (!isWanted && !isKnown && !this.#hpack.hasChanged) this.#known.learn(whole.block);
  }
}
