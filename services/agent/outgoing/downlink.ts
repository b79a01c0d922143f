// The way to the client that all connections of a session share: while it is full, bulk is not read from its peers, and
// goes on by turns when there is room again.
//
// Buffers: what waits is in the session's stream, FULL_BYTES and one read of each connection that was resumed. Datagrams
// cannot pause: they wait up to MAX_WAITING_BYTES of all that waits, and are lost beyond.

import type { Frame } from '#proto/frame.ts';
import type { BulkOrder } from '#proto/sockets/bulk-order.ts';

/** The session's stream to the client: SessionStream is one. */
export interface OutgoingLink {
  /** Of frames that wait to be sent. */
  readonly bufferedBytes: number;
  send(frame: Frame): void;
  /** Without it bulk is read and sent. */
  carry?(order: BulkOrder): boolean;
  /** Resolves when little of what was sent still waits. */
  drained(): Promise<void>;
}

/** Above what keeps the stream busy, far below what the stream takes before it gives the session up. */
const FULL_BYTES = 512 * 1024;
/** How far connections with little to say go beyond it. */
const SPARE_BYTES = 256 * 1024;
/** Some turns of streams that pause, and a second of datagrams. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024;
/** Connections that go on per turn of the loop: each may bring a full read buffer before it can be paused again. */
const RESUMED_PER_TURN = 8;

export class Downlink {
  readonly #link: OutgoingLink;
  readonly #waiting = new Set<() => void>();
  #isResuming = false;

  constructor(link: OutgoingLink) {
    this.#link = link;
  }

  get isFull(): boolean {
    return this.#link.bufferedBytes >= FULL_BYTES;
  }

  /** Not even what is small goes on. */
  get isStuffed(): boolean {
    return this.#link.bufferedBytes >= FULL_BYTES + SPARE_BYTES;
  }

  /** Whether what cannot pause may still wait. While streams fill the way it must, or names would not be found. */
  get mayWait(): boolean {
    return this.#link.bufferedBytes < MAX_WAITING_BYTES;
  }

  send(frame: Frame): void {
    this.#link.send(frame);
  }

  carry(order: BulkOrder): boolean {
    return this.#link.carry?.(order) === true;
  }

  /** Calls `resume` once, in the order of asking, when there is room. */
  whenWritable(resume: () => void): void {
    this.#waiting.add(resume);
    this.#scheduleResume();
  }

  forget(resume: () => void): void {
    this.#waiting.delete(resume);
  }

  #scheduleResume(): void {
    if (this.#isResuming || this.#waiting.size === 0) return;
    this.#isResuming = true;
    const resumeLater = () =>
      setImmediate(() => {
        this.#isResuming = false;
        this.#resumeSome();
        this.#scheduleResume();
      });
    this.#link.drained().then(resumeLater, resumeLater);
  }

  #resumeSome(): void {
    let count = 0;
    for (const resume of this.#waiting) {
      if (this.isFull || count === RESUMED_PER_TURN) return;
      this.#waiting.delete(resume);
      resume();
      count += 1;
    }
  }
}
