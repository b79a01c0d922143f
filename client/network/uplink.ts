// The one way to the agent that all connections share: while it is full they keep what they have to send, and take turns
// when there is room again.

import type { NetworkSession } from '../session.ts';

/** Above what keeps the stream busy; far below what the stream takes before it gives the session up. */
const FULL_BYTES = 512 * 1024;
/** Connections that go on per turn: each may bring a whole credit. */
const RESUMED_PER_TURN = 8;

export class Uplink {
  readonly #session: NetworkSession;
  readonly #waiting = new Set<() => void>();
  #isResuming = false;

  constructor(session: NetworkSession) {
    this.#session = session;
  }

  get isFull(): boolean {
    return this.#session.bufferedBytes >= FULL_BYTES;
  }

  /** Not even what is small goes on. */
  get isStuffed(): boolean {
    return this.#session.bufferedBytes >= 2 * FULL_BYTES;
  }

  /** Calls `resume` once, in the order of asking, when there is room. */
  whenWritable(resume: () => void): void {
    this.#waiting.add(resume);
    if (!this.#isResuming) void this.#resumeAll();
  }

  forget(resume: () => void): void {
    this.#waiting.delete(resume);
  }

  async #resumeAll(): Promise<void> {
    this.#isResuming = true;
    while (this.#waiting.size > 0) {
      await this.#session.drained();
      let count = 0;
      for (const resume of this.#waiting) {
        if (count === RESUMED_PER_TURN || this.isFull) break;
        this.#waiting.delete(resume);
        resume();
        count += 1;
      }
    }
    this.#isResuming = false;
  }
}
