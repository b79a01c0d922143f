// Whether the peer of a session stream still runs. Both sides send a PING when they have sent nothing for a while, so that
// silence means loss. Counted in frames rather than HTTP/2 pings: a slow link that is busy with data is not dead.

/** Own silence after which a PING goes out. */
export const PING_AFTER_MS = 4_000;
/** Silence of the peer after which it is lost; with the check interval, noticed within 15 s. */
export const LOST_AFTER_MS = 12_500;
export const CHECK_EVERY_MS = 1_000;
/** A check this late means that we stood still (a stopped process, a suspended laptop), not the peer. */
const OWN_PAUSE_MS = 4_000;

export class Liveness {
  #sentMs: number;
  #receivedMs: number;
  #checkedMs: number;

  constructor(nowMs: number) {
    this.#sentMs = nowMs;
    this.#receivedMs = nowMs;
    this.#checkedMs = nowMs;
  }

  sent(nowMs: number): void {
    this.#sentMs = nowMs;
  }

  received(nowMs: number): void {
    this.#receivedMs = nowMs;
  }

  /** Called every CHECK_EVERY_MS. After a pause of our own the peer gets its full time anew: its bytes may be waiting. */
  check(nowMs: number): 'alive' | 'ping' | 'lost' {
    if (nowMs - this.#checkedMs > OWN_PAUSE_MS) this.#receivedMs = nowMs;
    this.#checkedMs = nowMs;
    if (nowMs - this.#receivedMs >= LOST_AFTER_MS) return 'lost';
    return nowMs - this.#sentMs >= PING_AFTER_MS ? 'ping' : 'alive';
  }
}
