// Where the frames of one session go: to its stream, as long as that takes them. Copies that must wait are told when there
// is room again.

import type { Frame } from '#proto/frame.ts';
import type { SessionStream } from '#proto/session-stream.ts';

/** Above it nobody sends: the session's own credit or connection is the bottleneck. */
const BEHIND_BYTES = 512 * 1024;

export interface Waiting {
  pump(): void;
}

export class Outlet {
  readonly #stream: Pick<SessionStream, 'send' | 'drained' | 'bufferedBytes'>;
  #waiting = new Set<Waiting>();
  #isDraining = false;

  constructor(stream: Pick<SessionStream, 'send' | 'drained' | 'bufferedBytes'>) {
    this.#stream = stream;
  }

  get isBehind(): boolean {
    return this.#stream.bufferedBytes > BEHIND_BYTES;
  }

  send(frame: Frame): void {
    this.#stream.send(frame);
  }

  /** `pump` is called once there is room. */
  wait(waiting: Waiting): void {
    this.#waiting.add(waiting);
    if (this.#isDraining) return;
    this.#isDraining = true;
    void this.#stream.drained().then(() => this.#wake());
  }

  forget(waiting: Waiting): void {
    this.#waiting.delete(waiting);
  }

  #wake(): void {
    this.#isDraining = false;
    const waiting = this.#waiting;
    this.#waiting = new Set();
    // Each pumps until the stream is full again; who then still has something waits anew.
    for (const one of waiting) one.pump();
  }
}
