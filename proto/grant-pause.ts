// Bulk is granted again with each batch that comes, and a message of nothing but that costs both ends a tenth of the bytes' own
// way. So grants alone wait for those of the next batch, if it is here already: for one batch, and for two turns of the event
// loop at most, since a sender may have stopped for want of them.

import type { Frame } from './frame.ts';
import { FrameKind } from './gen/v1/frame.ts';

/** Of a queue: more than some grants. */
const GRANTS_BYTES = 64;

export class GrantPause {
  readonly #flush: () => void;
  #hasGrants = false;
  #hasOther = false;
  #isPaused = false;
  readonly #turn = () => setImmediate(this.#end);
  readonly #end = () => {
    if (this.#isPaused) this.#flush();
  };

  /** `flush` sends what waits, and says so by `sent`. */
  constructor(flush: () => void) {
    this.#flush = flush;
  }

  /** It waits to be sent. */
  noted({ kind }: Frame): void {
    if (kind === FrameKind.FRAME_KIND_CREDIT) this.#hasGrants = true;
    else this.#hasOther = true;
  }

  sent(): void {
    this.#hasGrants = false;
    this.#hasOther = false;
    this.#isPaused = false;
  }

  /** After a batch has come, whose answers are all there: true where they may wait. */
  mayWait(queuedBytes: number): boolean {
    if (!this.#hasGrants || this.#hasOther || this.#isPaused || queuedBytes > GRANTS_BYTES) return false;
    this.#isPaused = true;
    // A turn reads either before or after this one: behind the next it has been read in any case.
    setImmediate(this.#turn);
    return true;
  }
}
