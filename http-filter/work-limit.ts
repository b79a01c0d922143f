// How much work a filter may do on one request. Counted in steps, not in time: the same request has the same answer on a busy
// machine, and one user's query cannot stop a target that many use.

/** Steps of one filter on one request; some 5 to 10 ms where each is spent. */
export const MAX_STEPS = 100_000;

/** A query that is not done by then matches nothing. */
export class WorkLimitReached extends Error {}

export class WorkLimit {
  #left: number;

  constructor(steps: number = MAX_STEPS) {
    this.#left = steps;
  }

  /** @throws WorkLimitReached */
  spend(steps: number): void {
    this.#left -= steps;
    if (this.#left < 0) throw new WorkLimitReached('the filter took more steps than it may');
  }

  /** For work that grows with a text's length. */
  spendOnText(length: number): void {
    this.spend(1 + (length >> 5));
  }
}
