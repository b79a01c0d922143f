// Who produces on his own accord, and waits until little of what he has sent is queued.

/** Enough to keep the transport busy while the producer wakes up. */
const DRAINED_BYTES = 128 * 1024;

export class DrainWaiters {
  #waiters: (() => void)[] = [];

  /** Resolves when so little is queued, or nothing is waited for any more. */
  wait(queuedBytes: number): Promise<void> {
    if (queuedBytes <= DRAINED_BYTES) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  wake(queuedBytes: number): void {
    if (queuedBytes > DRAINED_BYTES || this.#waiters.length === 0) return;
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const resolve of waiters) resolve();
  }
}
