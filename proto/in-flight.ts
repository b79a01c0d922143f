// How much a sender may have on its way: what fits the distance. Twice the product of rate and round trip, so that the rate can
// grow by as much each round; at least what it begins with, but while somebody has questions beside bulk only the floor,
// because a question waits behind all of it. Pure.
//
// The rate: a mark is set on what is sent, one at a time, and when the peer has granted it again, what was granted meanwhile
// is it. The round trip is a PING's that goes ahead of bulk when little is on its way, because it tells the distance and not
// our own queue or the slow start behind it; the least of them holds for a while. With questions, what is on its way then goes
// down to the floor until another is there, so a distance that grows is noticed.

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
/** Between two PINGs. */
const PING_MS = 250;
/** A mark that takes longer measures a pause of the sender. */
const MARK_MS = 2_000;
/** Of rates, of which the highest holds. */
const ROUNDS = 10;

interface Mark {
  readonly sentBytes: number;
  readonly grantedBytes: number;
  readonly atMs: number;
}

export class InFlight {
  readonly #initialBytes: number;
  readonly #mostBytes: number;
  #sentBytes = 0;
  #grantedBytes = 0;
  #mark: Mark | null = null;
  #askedMs = Number.NEGATIVE_INFINITY;
  #smallMs = Number.NEGATIVE_INFINITY;
  #isPingDue = false;
  #pingAtMs = Number.NEGATIVE_INFINITY;
  #roundTripMs = 0;
  #roundTripAtMs = Number.NEGATIVE_INFINITY;
  /** Bytes a millisecond. */
  #rates: number[] = [];

  constructor(initialBytes: number, mostBytes = initialBytes) {
    this.#initialBytes = initialBytes;
    this.#mostBytes = mostBytes;
  }

  /** Sent, and not granted again. */
  get bytes(): number {
    return this.#sentBytes - this.#grantedBytes;
  }

  get isPingDue(): boolean {
    return this.#isPingDue;
  }

  /** Of one frame's data. `isAlone`: its connection had nothing waiting. */
  sent(bytes: number, isAlone: boolean, nowMs: number): void {
    if (isAlone && bytes > 0 && bytes <= SMALL_BYTES && this.bytes >= BULK_BYTES) this.#noteQuestion(nowMs);
    if (this.#mark !== null && nowMs - this.#mark.atMs > MARK_MS) this.#mark = null;
    const tellsDistance = this.bytes <= FLOOR_BYTES;
    this.#sentBytes += bytes;
    if (bytes <= SMALL_BYTES) return;
    this.#isPingDue ||= tellsDistance && nowMs - this.#pingAtMs > PING_MS;
    this.#mark ??= { sentBytes: this.#sentBytes, grantedBytes: this.#grantedBytes, atMs: nowMs };
  }

  /** Whether a PING is to go ahead of what was just sent; once. */
  takePing(nowMs: number): boolean {
    if (!this.#isPingDue) return false;
    this.#isPingDue = false;
    this.#pingAtMs = nowMs;
    return true;
  }

  /** Of that PING. */
  measured(roundTripMs: number, nowMs: number): void {
    // A pause of either end is no distance.
    if (roundTripMs > MARK_MS || (roundTripMs > this.#roundTripMs && this.#isDistanceKnown(nowMs))) return;
    this.#roundTripMs = roundTripMs;
    this.#roundTripAtMs = nowMs;
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
  }

  limitBytes(nowMs: number): number {
    const isAsked = nowMs - this.#askedMs <= ASKING_MS;
    const leastBytes = isAsked ? Math.min(FLOOR_BYTES, this.#initialBytes) : this.#initialBytes;
    if (this.#rates.length === 0 || (isAsked && !this.#isDistanceKnown(nowMs))) return leastBytes;
    const fitting = 2 * Math.max(...this.#rates) * this.#roundTripMs;
    return Math.min(Math.max(fitting, leastBytes), this.#mostBytes);
  }

  /** The way is another one. */
  forgetDistance(): void {
    this.#mark = null;
    this.#rates = [];
    this.#roundTripMs = 0;
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
