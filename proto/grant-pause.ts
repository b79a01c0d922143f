// Bulk is granted again with each batch that comes, and a message of nothing but that costs both ends a tenth of the bytes' own
// way. So grants alone wait for those of the next batches: of most of a megabyte, and for a millisecond or two at most, since
// a sender may have stopped for want of them.

import { creditFrame } from './credits.ts';
import type { Frame } from './frame.ts';
import { FrameKind } from './gen/v1/frame.ts';

/** Of a queue: more than a grant for each of some connections. */
const GRANTS_BYTES = 64;
/** That were made since the last were sent: one connection's and the session's of 768 KiB, less than what either begins with. */
export const MOST_GRANTS = 6;
const PAUSE_MS = 1;

export class GrantPause {
  readonly #flush: () => void;
  #grants = 0;
  #sessionBytes = 0;
  #hasOther = false;
  #isPaused = false;
  #timer: NodeJS.Timeout | null = null;

  /** `flush` sends what waits, and says so by `sent`. */
  constructor(flush: () => void) {
    this.#flush = flush;
  }

  /** It waits to be sent. */
  noted({ kind }: Frame): void {
    if (kind === FrameKind.FRAME_KIND_CREDIT) this.#grants += 1;
    else this.#hasOther = true;
  }

  /** The session's own wait here, to be sent as one. True where there is one. */
  granted(bytes: number): boolean {
    if (bytes === 0) return false;
    this.#grants += 1;
    this.#sessionBytes += bytes;
    return true;
  }

  /** The session's own before the frames that are to be sent first. */
  takeBefore(frames: Frame[]): Frame[] {
    if (this.#sessionBytes > 0) frames.unshift(creditFrame(0, this.#sessionBytes));
    this.#sessionBytes = 0;
    return frames;
  }

  sent(): void {
    this.#grants = 0;
    this.#hasOther = false;
    this.#isPaused = false;
  }

  /** After grants were made: true where all that is there may wait. */
  mayWait(queuedBytes: number): boolean {
    if (this.#grants === 0 || this.#hasOther || this.#grants >= MOST_GRANTS || queuedBytes > GRANTS_BYTES) return false;
    if (this.#isPaused) return true;
    this.#isPaused = true;
    if (this.#timer === null) this.#timer = setTimeout(() => this.#end(), PAUSE_MS);
    else this.#timer.refresh();
    return true;
  }

  #end(): void {
    if (this.#isPaused) this.#flush();
  }
}
