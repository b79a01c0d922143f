// Whether the peer of a session stream still runs. Both sides send a PING when they have sent nothing for a while, so that
// silence means loss. Counted in frames rather than HTTP/2 pings: a slow link that is busy with data is not dead.

/** Own silence after which a PING goes out. */
export const PING_AFTER_MS = 4_000;
/** Silence of the peer after which it is lost; with the check interval, noticed within 15 s. */
export const LOST_AFTER_MS = 12_500;
export const CHECK_EVERY_MS = 1_000;
/** A check this late means that we stood still (a stopped process, a suspended laptop), not the peer. */
const OWN_PAUSE_MS = 4_000;
/** Silence that a peer has announced lasts at most so long: what it holds, others may want. */
const SUSPENDED_LOST_AFTER_MS = 3_600_000;

/**
 * Of a place on a stolen port: who has been silent for so long loses it, and the target answers what it would have. Longer than a
 * stealer that stands still is waited for by its own agent (services/agent/service-watch.ts), and than any pause of a process on a
 * busy machine should be.
 */
export const LEASE_MS = 5_000;
/** Three times in the life of a lease. */
export const LEASE_REFRESH_MS = 1_600;

export interface LivenessTimes {
  readonly pingAfterMs: number;
  readonly lostAfterMs: number;
  readonly checkEveryMs: number;
  readonly ownPauseMs: number;
  readonly suspendedLostAfterMs: number;
}

export const LIVENESS_TIMES: LivenessTimes = {
  pingAfterMs: PING_AFTER_MS,
  lostAfterMs: LOST_AFTER_MS,
  checkEveryMs: CHECK_EVERY_MS,
  ownPauseMs: OWN_PAUSE_MS,
  suspendedLostAfterMs: SUSPENDED_LOST_AFTER_MS,
};

/** The usual proportions for another patience. */
export function livenessTimes(lostAfterMs: number): LivenessTimes {
  const scaled = (ms: number) => Math.max(1, Math.round((ms * lostAfterMs) / LOST_AFTER_MS));
  return {
    ...LIVENESS_TIMES,
    lostAfterMs,
    pingAfterMs: scaled(PING_AFTER_MS),
    checkEveryMs: scaled(CHECK_EVERY_MS),
    ownPauseMs: scaled(OWN_PAUSE_MS),
  };
}

/** Between those who have places and who gives them, at both ends. */
export const LEASE_TIMES: LivenessTimes = livenessTimes(LEASE_MS);

export class Liveness {
  readonly #times: LivenessTimes;
  #sentMs: number;
  #receivedMs: number;
  #checkedMs: number;
  #isSuspended = false;

  constructor(nowMs: number, times: LivenessTimes = LIVENESS_TIMES) {
    this.#times = times;
    this.#sentMs = nowMs;
    this.#receivedMs = nowMs;
    this.#checkedMs = nowMs;
  }

  sent(nowMs: number): void {
    this.#sentMs = nowMs;
  }

  received(nowMs: number): void {
    this.#receivedMs = nowMs;
    this.#isSuspended = false;
  }

  get receivedMs(): number {
    return this.#receivedMs;
  }

  /** The peer has announced its silence; what it sends next ends it. */
  suspended(): void {
    this.#isSuspended = true;
  }

  /** Called every `checkEveryMs`. After a pause of our own the peer gets its full time anew: its bytes may be waiting. */
  check(nowMs: number): 'alive' | 'ping' | 'lost' | 'overslept' {
    if (nowMs - this.#checkedMs > this.#times.ownPauseMs) this.#receivedMs = nowMs;
    this.#checkedMs = nowMs;
    const silentMs = nowMs - this.#receivedMs;
    if (this.#isSuspended && silentMs >= this.#times.suspendedLostAfterMs) return 'overslept';
    if (!this.#isSuspended && silentMs >= this.#times.lostAfterMs) return 'lost';
    return nowMs - this.#sentMs >= this.#times.pingAfterMs ? 'ping' : 'alive';
  }
}
