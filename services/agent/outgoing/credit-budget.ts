// How much credit a new connection of a session gets, so that all of them together have a bound. Pure.

import { CONNECTION_CREDIT_BYTES } from '#proto/credits.ts';

/** 32 connections at full speed; more than that share what the session's stream carries anyway. */
const FULL_CREDIT_BUDGET_BYTES = 32 * CONNECTION_CREDIT_BYTES;
/** For those beyond: 4,096 of them hold at most 256 MiB, and only when every peer has stopped reading. */
export const SMALL_CREDIT_BYTES = 64 * 1024;

export class CreditBudget {
  #committedBytes = 0;

  /** Bytes to grant, at least `leastBytes`; given back by `release`. */
  commit(leastBytes = SMALL_CREDIT_BYTES): number {
    const isFullSpeed = this.#committedBytes + CONNECTION_CREDIT_BYTES <= FULL_CREDIT_BUDGET_BYTES;
    const bytes = isFullSpeed ? CONNECTION_CREDIT_BYTES : leastBytes;
    this.#committedBytes += bytes;
    return bytes;
  }

  release(bytes: number): void {
    this.#committedBytes -= bytes;
  }
}
