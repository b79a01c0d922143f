// Whether the local process answers what comes to a port. Of one that does, the answer is waited for before the end of a mirrored
// HTTP/1 connection; of one that has never said a word, and had its time, it is not, for no connection of the port.

import type { PortName } from './tally.ts';

export class Answering {
  #hasAnswered = false;
  #hasLingered = false;
  /** Ends that wait for its answers. */
  readonly #waiting = new Set<() => void>();

  /** It has read all there was, and kept silent. */
  get isMute(): boolean {
    return this.#hasLingered && !this.#hasAnswered;
  }

  answered(): void {
    this.#hasAnswered = true;
  }

  /** @param act is called when it turns out to be mute */
  wait(act: () => void): void {
    this.#waiting.add(act);
  }

  waitNoMore(act: () => void): void {
    this.#waiting.delete(act);
  }

  /** An answer was waited for as long as one is. */
  lingered(): void {
    this.#hasLingered = true;
    if (!this.isMute) return;
    for (const act of [...this.#waiting]) act();
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
