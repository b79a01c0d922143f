// One thing that happens when time has passed, unless something else comes before. Keeps no process alive.

export class Deadline {
  #timer: NodeJS.Timeout | undefined;

  get isSet(): boolean {
    return this.#timer !== undefined;
  }

  /** In place of what was set before. */
  start(ms: number, act: () => void): void {
    this.stop();
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      act();
    }, ms);
    this.#timer.unref();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
