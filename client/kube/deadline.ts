// How long a call may take, which a login does not count against: a person types a code, or a plugin asks somebody else, within
// a time of its own.

export class Deadline {
  /** Aborted at the deadline, or with one of `others`. */
  readonly signal: AbortSignal;
  /** Aborted with one of `others` only. */
  readonly others: AbortSignal;
  readonly #late = new AbortController();
  readonly #ms: number;
  #timer: NodeJS.Timeout;

  constructor(ms: number, others: readonly AbortSignal[]) {
    this.#ms = ms;
    this.others = AbortSignal.any([...others]);
    this.signal = AbortSignal.any([this.#late.signal, ...others]);
    this.#timer = this.#start();
  }

  #start(): NodeJS.Timeout {
    return setTimeout(() => this.#late.abort(), this.#ms);
  }

  /** The whole time is there again after it. */
  async without<T>(act: (signal: AbortSignal) => Promise<T>): Promise<T> {
    clearTimeout(this.#timer);
    try {
      return await act(this.others);
    } finally {
      this.#timer = this.#start();
    }
  }

  /** Who is done waits no longer. */
  release(): void {
    clearTimeout(this.#timer);
  }
}
