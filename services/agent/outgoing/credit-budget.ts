// How much credit a new connection of a session gets, so that all of them together have a bound. Pure.

import { CONNECTION_CREDIT_BYTES, SESSION_CREDIT_BYTES } from '#proto/credits.ts';

/** A connection alone fills the session's stream; four may, and more than that share it anyway. */
const BULK_BUDGET_BYTES = 4 * SESSION_CREDIT_BYTES;
const FULL_CREDIT_BUDGET_BYTES = 32 * CONNECTION_CREDIT_BYTES;
/** For those beyond: 4,096 of them hold at most 256 MiB, and only when every peer has stopped reading. */
export const SMALL_CREDIT_BYTES = 64 * 1024;

export class CreditBudget {
  #committedBytes = 0;

  /** Bytes to grant to a stream; given back by `release`. */
  commitStream(): number {
    return this.#fits(SESSION_CREDIT_BYTES, BULK_BUDGET_BYTES) ? this.#take(SESSION_CREDIT_BYTES) : this.commit();
  }

  /** To another kind of socket, at least `leastBytes`. */
  commit(leastBytes = SMALL_CREDIT_BYTES): number {
    const isFullSpeed = this.#fits(CONNECTION_CREDIT_BYTES, FULL_CREDIT_BUDGET_BYTES);
    return this.#take(isFullSpeed ? CONNECTION_CREDIT_BYTES : leastBytes);
  }

  release(bytes: number): void {
    this.#committedBytes -= bytes;
  }

  #fits(bytes: number, budgetBytes: number): boolean {
    return this.#committedBytes + bytes <= budgetBytes;
  }

  #take(bytes: number): number {
    this.#committedBytes += bytes;
    return bytes;
  }
}
