// Whether a frame's data may go now: within the peer's credit, with a reserve of it for who has something small to say, and
// while somebody has questions within what fits the distance.

import { SESSION_CREDIT_BYTES, SendCredit } from './credits.ts';
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
    this.#inFlight = new InFlight(creditBytes);
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

  /** Throws PROTOCOL_VIOLATION as `SendCredit` does. */
  grant(bytes: number, nowMs: number): void {
    this.#credit.grant(bytes);
    this.#inFlight.granted(bytes, nowMs);
  }

  /** The connection is another one. */
  renewed(): void {
    this.#inFlight.forgetDistance();
  }
}
