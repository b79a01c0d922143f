// How much a sender may have on its way while somebody has questions beside bulk: what fits the distance, because a question
// waits behind all of it. Nobody to ask, and bulk may have the whole credit. Pure.
//
// One measurement at a time: a mark is set on what is sent, and when the peer has granted it again, the bytes that were
// granted meanwhile are the rate and the time is a round trip. Only a mark with little before it tells the distance and not our
// own queue. The least of them holds for a while; then what is on its way goes down to the floor until another is there. So a
// distance that grows is noticed, and twice the product lets the rate grow by as much each round.

/** More than one step of grants, or a sender would wait for a receiver that waits for it. */
const FLOOR_BYTES = 320 * 1024;
/** What counts as a question. */
export const SMALL_BYTES = 4 * 1024;
/** For how long after a question another is expected. One is none: the head before a body, what a read left over. */
const ASKING_MS = 1_000;
/** With less on its way there is nothing to wait behind. */
const BULK_BYTES = FLOOR_BYTES / 2;
/** For how long a distance is believed. */
const DISTANCE_MS = 30_000;
/** A mark that takes longer measures a pause of the sender. */
const MARK_MS = 2_000;
/** Of rates, of which the highest holds. */
const ROUNDS = 10;

interface Mark {
  readonly sentBytes: number;
  readonly grantedBytes: number;
  readonly atMs: number;
  readonly tellsDistance: boolean;
}

export class InFlight {
  readonly #capBytes: number;
  #sentBytes = 0;
  #grantedBytes = 0;
  #mark: Mark | null = null;
  #askedMs = Number.NEGATIVE_INFINITY;
  #smallMs = Number.NEGATIVE_INFINITY;
  #roundTripMs = 0;
  #roundTripAtMs = Number.NEGATIVE_INFINITY;
  /** Bytes a millisecond. */
  #rates: number[] = [];

  constructor(capBytes: number) {
    this.#capBytes = capBytes;
  }

  /** Sent, and not granted again. */
  get bytes(): number {
    return this.#sentBytes - this.#grantedBytes;
  }

  /** Of one frame's data. `isAlone`: its connection had nothing waiting. */
  sent(bytes: number, isAlone: boolean, nowMs: number): void {
    if (isAlone && bytes > 0 && bytes <= SMALL_BYTES && this.bytes >= BULK_BYTES) this.#noteQuestion(nowMs);
    if (this.#mark !== null && nowMs - this.#mark.atMs > MARK_MS) this.#mark = null;
    const tellsDistance = this.bytes <= FLOOR_BYTES;
    this.#sentBytes += bytes;
    if (bytes <= SMALL_BYTES) return;
    this.#mark ??= { sentBytes: this.#sentBytes, grantedBytes: this.#grantedBytes, atMs: nowMs, tellsDistance };
  }

  granted(bytes: number, nowMs: number): void {
    this.#grantedBytes += bytes;
    const mark = this.#mark;
    if (mark === null || this.#grantedBytes < mark.sentBytes) return;
    this.#mark = null;
    const elapsedMs = Math.max(nowMs - mark.atMs, 0.001);
    if (elapsedMs > MARK_MS) return;
    this.#rates.push((this.#grantedBytes - mark.grantedBytes) / elapsedMs);
    if (this.#rates.length > ROUNDS) this.#rates.shift();
    if (mark.tellsDistance && (elapsedMs <= this.#roundTripMs || !this.#isDistanceKnown(nowMs))) {
      this.#roundTripMs = elapsedMs;
      this.#roundTripAtMs = nowMs;
    }
  }

  limitBytes(nowMs: number): number {
    if (nowMs - this.#askedMs > ASKING_MS) return this.#capBytes;
    if (!this.#isDistanceKnown(nowMs)) return Math.min(FLOOR_BYTES, this.#capBytes);
    const fitting = 2 * Math.max(...this.#rates) * this.#roundTripMs;
    return Math.min(Math.max(fitting, FLOOR_BYTES), this.#capBytes);
  }

  /** The way is another one. */
  forgetDistance(): void {
    this.#mark = null;
    this.#rates = [];
    this.#roundTripAtMs = Number.NEGATIVE_INFINITY;
  }

  #noteQuestion(nowMs: number): void {
    if (nowMs - this.#smallMs <= ASKING_MS) this.#askedMs = nowMs;
    this.#smallMs = nowMs;
  }

  #isDistanceKnown(nowMs: number): boolean {
    return nowMs - this.#roundTripAtMs <= DISTANCE_MS;
  }
}
