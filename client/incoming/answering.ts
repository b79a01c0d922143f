// Whether the local process answers what comes to a port. Of one that does, the answer is waited for before the end of a mirrored
// HTTP/1 connection; of one that has never said a word, and had its time, it is not.

import type { PortName } from './tally.ts';

export class Answering {
  #hasAnswered = false;
  #hasLingered = false;

  /** It has read all there was, and kept silent. */
  get isMute(): boolean {
    return this.#hasLingered && !this.#hasAnswered;
  }

  answered(): void {
    this.#hasAnswered = true;
  }

  /** An answer was waited for as long as one is. */
  lingered(): void {
    this.#hasLingered = true;
  }
}

export class AnsweringPorts {
  readonly #ports = new Map<PortName, Answering>();

  of(port: PortName): Answering {
    const known = this.#ports.get(port) ?? new Answering();
    this.#ports.set(port, known);
    return known;
  }
}
