// How long an agent that was made for somebody waits for him: for the first session, and for another after the last. It ends
// itself then, whatever became of who made it.

export interface LifetimeOptions {
  /** From the start to the first session; 0: for ever. */
  firstSessionMs: number;
  /** Without a session after there was one; 0: for ever. A session whose client is lost counts until it is given up. */
  idleMs: number;
  /** Called once, with the reason. */
  onEnd: (reason: string) => void;
}

export class Lifetime {
  readonly #options: LifetimeOptions;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: LifetimeOptions) {
    this.#options = options;
    this.#endAfter(options.firstSessionMs, 'no client came within');
  }

  /** Called at every change with the number of sessions there are. */
  sessionsAre(count: number): void {
    clearTimeout(this.#timer);
    if (count === 0) this.#endAfter(this.#options.idleMs, 'there was no session for');
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #endAfter(ms: number, what: string): void {
    if (ms === 0) return;
    this.#timer = setTimeout(() => this.#options.onEnd(`${what} ${ms} ms`), ms);
  }
}
