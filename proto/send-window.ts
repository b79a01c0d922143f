// Whether a frame's data may go now: within the peer's credit, with a reserve of it for who has something small to say, and
// within what fits the distance (in-flight.ts).

import { MOST_CREDIT_BYTES, SESSION_CREDIT_BYTES, SendCredit } from './credits.ts';
import { InFlight, SMALL_BYTES } from './in-flight.ts';

/** Credit that bulk leaves for who has something small to say now and then. */
const RESERVE_BYTES = 64 * 1024;

export class SendWindow {
  readonly #credit: SendCredit;
  readonly #reserveBytes: number;
  readonly #inFlight: InFlight;

  constructor(creditBytes: number) {
    this.#credit = new SendCredit(creditBytes);
    this.#reserveBytes = creditBytes < SESSION_CREDIT_BYTES ? 0 : RESERVE_BYTES;
    const mostBytes = creditBytes < SESSION_CREDIT_BYTES ? creditBytes : Math.max(creditBytes, MOST_CREDIT_BYTES);
    this.#inFlight = new InFlight(creditBytes, mostBytes);
  }

  /** True and taken, or false and nothing changed. `isAlone`: whoever sends it had nothing waiting. */
  take(bytes: number, isAlone: boolean, nowMs: number): boolean {
    if (bytes === 0) return true;
    if (!isAlone && bytes + this.#reserveBytes > this.#credit.availableBytes) return false;
    const isBulk = !isAlone || bytes > SMALL_BYTES;
    if (isBulk && this.#inFlight.bytes >= this.#inFlight.limitBytes(nowMs)) return false;
    if (!this.#credit.take(bytes)) return false;
    this.#inFlight.sent(bytes, isAlone, nowMs);
    return true;
  }

  /** How many frames of so much bulk may go now. */
  framesOf(bytes: number, nowMs: number): number {
    const fitting = this.#inFlight.limitBytes(nowMs) - this.#inFlight.bytes;
    return Math.min(Math.floor((this.#credit.availableBytes - this.#reserveBytes) / bytes), Math.ceil(fitting / bytes));
  }

  /** Bulk within what `framesOf` said. */
  carried(bytes: number, nowMs: number): void {
    this.#credit.take(bytes);
    this.#inFlight.sent(bytes, false, nowMs);
  }

  get isPingDue(): boolean {
    return this.#inFlight.isPingDue;
  }

  /** Throws PROTOCOL_VIOLATION as `SendCredit` does. */
  grant(bytes: number, nowMs: number): void {
    this.#credit.grant(bytes);
    this.#inFlight.granted(bytes, nowMs);
  }

  /** True once for each time that the distance is to be measured: a PING goes ahead of what was just taken. */
  takePing(nowMs: number): boolean {
    return this.#inFlight.takePing(nowMs);
  }

  /** What that PING took. */
  measured(roundTripMs: number, nowMs: number): void {
    this.#inFlight.measured(roundTripMs, nowMs);
  }

  /** The connection is another one. */
  renewed(): void {
    this.#inFlight.forgetDistance();
  }
}
