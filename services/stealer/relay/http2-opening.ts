// What comes before and between the frames of a client: the preface, and sizes of its header table that the target has yet to
// be told.

import type { FilteredRequest } from '#http-filter/http-filter.ts';
import { FrameType, PREFACE, readSettings, Setting } from '#runtime/http2/frame.ts';
import type { Decision } from './decision.ts';
import type { Endpoint } from './endpoint.ts';

export type Http2RelayOptions = Readonly<{
  client: Endpoint;
  origin: Endpoint;
  decide: (request: FilteredRequest) => Decision;
  /** Changes whenever the decision of the same request may be another one. */
  standing: () => unknown;
  /** A request that is decided as one before it that nobody wanted. */
  onKnown: () => undefined;
  /** Of the pool: counts those that it lets pass, until something else is said of it. */
  screen: number;
  onClosed: () => void;
}>;

/** DATA goes on in pieces, and so does what nobody knows. */
export const isWhole = (type: number): boolean => type !== FrameType.data && type <= FrameType.continuation;

export class PrefaceReader {
  #length = 0;

  /** @returns the part of the chunk that is in the preface's place, and whether it is as it should be */
  take(chunk: Buffer): Readonly<{ bytes: Buffer; isRight: boolean }> {
    const missing = PREFACE.subarray(this.#length);
    const bytes = chunk.subarray(0, missing.length);
    this.#length += bytes.length;
    return { bytes, isRight: bytes.equals(missing.subarray(0, bytes.length)) };
  }
}

/** Of several sizes the least and the last count (RFC 7541 section 4.2). */
export class TableSizes {
  #sizes: number[] = [];

  note(sizes: readonly number[]): void {
    if (sizes.length === 0) return;
    const all = [...this.#sizes, ...sizes];
    const [least, last] = [Math.min(...all), all.at(-1) as number];
    this.#sizes = least < last ? [least, last] : [last];
  }

  take(): readonly number[] {
    const sizes = this.#sizes;
    if (sizes.length > 0) this.#sizes = [];
    return sizes;
  }
}

/** More of them without an acknowledgement is no client that waits for any. */
const MAX_UNACKNOWLEDGED = 100;

/** SETTINGS of a client that have not been acknowledged: what they say of windows holds from then on. */
export class ClientSettings {
  readonly #onWindow: (bytes: number) => void;
  readonly #windows: Array<number | undefined> = [];

  constructor(onWindow: (bytes: number) => void) {
    this.#onWindow = onWindow;
  }

  get isFlooded(): boolean {
    return this.#windows.length > MAX_UNACKNOWLEDGED;
  }

  /** @param bytes a whole SETTINGS frame */
  add(bytes: Buffer): void {
    this.#windows.push(readSettings(bytes).get(Setting.initialWindowSize));
  }

  /** The eldest were. */
  onAcknowledged(): void {
    const window = this.#windows.shift();
    if (window !== undefined) this.#onWindow(window);
  }

  /** @param send sends one acknowledgement */
  acknowledge(send: () => void): void {
    while (this.#windows.length > 0) {
      send();
      this.onAcknowledged();
    }
  }
}
