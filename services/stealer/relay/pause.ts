// Whether an endpoint is read: told to it only when that changes.

import type { Endpoint } from './endpoint.ts';

export class Pause {
  readonly #endpoint: Pick<Endpoint, 'pause' | 'resume'>;
  #isPaused = false;

  constructor(endpoint: Pick<Endpoint, 'pause' | 'resume'>) {
    this.#endpoint = endpoint;
  }

  set(isPaused: boolean): void {
    if (this.#isPaused === isPaused) return;
    this.#isPaused = isPaused;
    if (isPaused) this.#endpoint.pause();
    else this.#endpoint.resume();
  }
}
