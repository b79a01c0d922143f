import { expect, test } from 'vitest';
import { GRANT_STEP_BYTES, MOST_CREDIT_BYTES, ReceiveCredit, SESSION_CREDIT_BYTES } from './credits.ts';
import { InFlight } from './in-flight.ts';

const KIB = 1024;
const FRAME_BYTES = 64 * KIB;
const FLOOR_BYTES = 320 * KIB;

/** A link with a rate, a distance and one sender of bulk, in simulated time; grants come in the receiver's steps. */
class Link {
  readonly inFlight: InFlight;
  readonly #receiver: ReceiveCredit;
  /** What the sender may still send. */
  #creditBytes = SESSION_CREDIT_BYTES;
  rate: number;
  roundTripMs: number;
  nowMs = 0;
  delivered = 0;
  #freeAtMs = 0;
  #arrivals: { atMs: number; bytes: number }[] = [];
  #grants: { atMs: number; bytes: number }[] = [];
  #pongs: { atMs: number; roundTripMs: number }[] = [];

  constructor(bytesPerMs: number, roundTripMs: number, mostBytes = SESSION_CREDIT_BYTES) {
    this.inFlight = new InFlight(SESSION_CREDIT_BYTES, mostBytes);
    this.#receiver = new ReceiveCredit(SESSION_CREDIT_BYTES, { mostBytes });
    this.rate = bytesPerMs;
    this.roundTripMs = roundTripMs;
  }

  /** Bytes per millisecond that arrived. `asks`: somebody else has a question every 50 ms. */
  run(ms: number, asks: boolean): number {
    const before = this.delivered;
    const untilMs = this.nowMs + ms;
    const stepMs = 0.05;
    let nextAskMs = this.nowMs;
    for (; this.nowMs < untilMs; this.nowMs += stepMs) {
      if (asks && this.nowMs >= nextAskMs) {
        this.#send(64, true);
        nextAskMs += 50;
      }
      this.#arrive();
      while (this.inFlight.bytes < this.inFlight.limitBytes(this.nowMs) && this.#fitsCredit())
        this.#send(FRAME_BYTES, false);
    }
    return (this.delivered - before) / ms;
  }

  #fitsCredit(): boolean {
    return FRAME_BYTES <= this.#creditBytes;
  }

  #send(bytes: number, isAlone: boolean): void {
    this.inFlight.sent(bytes, isAlone, this.nowMs);
    this.#creditBytes -= bytes;
    const begunAtMs = Math.max(this.#freeAtMs, this.nowMs);
    if (this.inFlight.takePing(this.nowMs)) {
      const atMs = begunAtMs + this.roundTripMs;
      this.#pongs.push({ atMs, roundTripMs: atMs - this.nowMs });
    }
    this.#freeAtMs = begunAtMs + bytes / this.rate;
    this.#arrivals.push({ atMs: this.#freeAtMs + this.roundTripMs / 2, bytes });
  }

  #arrive(): void {
    while ((this.#arrivals[0]?.atMs ?? Number.POSITIVE_INFINITY) <= this.nowMs) {
      const { bytes } = this.#arrivals.shift() as { bytes: number };
      this.delivered += bytes;
      this.#receiver.received(bytes);
      const grant = this.#receiver.consumed(bytes, true, this.nowMs);
      if (grant > 0) this.#grants.push({ atMs: this.nowMs + this.roundTripMs / 2, bytes: grant });
    }
    while ((this.#grants[0]?.atMs ?? Number.POSITIVE_INFINITY) <= this.nowMs) {
      const { bytes } = this.#grants.shift() as { bytes: number };
      this.#creditBytes += bytes;
      this.inFlight.granted(bytes, this.nowMs);
    }
    while ((this.#pongs[0]?.atMs ?? Number.POSITIVE_INFINITY) <= this.nowMs) {
      this.inFlight.measured((this.#pongs.shift() as { roundTripMs: number }).roundTripMs, this.nowMs);
    }
  }
}

test('nobody asks: bulk has the whole credit, from the first byte and for ever', () => {
  const link = new Link(400_000, 0.2);
  expect(link.inFlight.limitBytes(0)).toBe(SESSION_CREDIT_BYTES);
  link.run(500, false);
  expect(link.inFlight.limitBytes(link.nowMs)).toBe(SESSION_CREDIT_BYTES);
});

test.each([
  ['near and fast', 400_000, 0.2],
  ['near and slow', 1_000, 0.2],
  ['at 20 ms and slow', 1_000, 20],
])('somebody asks, %s: little is on its way, and the rate is as it was', (_, rate, roundTripMs) => {
  const link = new Link(rate, roundTripMs);
  link.run(300, false);
  link.run(rate === 1_000 ? 6_000 : 300, true);
  const carried = link.run(2_000, true);
  expect(link.inFlight.bytes).toBeLessThan(800 * KIB);
  expect(carried).toBeGreaterThan(0.9 * rate);
});

test.each([20, 100])('somebody asks at %d ms: bulk keeps what the distance wants', (roundTripMs) => {
  const rate = SESSION_CREDIT_BYTES / (roundTripMs * 1.5);
  const link = new Link(rate, roundTripMs);
  link.run(2_000, false);
  link.run(20 * roundTripMs, true);
  expect(link.run(4_000, true)).toBeGreaterThan(0.97 * rate);
});

test.each([
  [20, 200_000],
  [100, 80_000],
])('nobody asks at %d ms: what is on its way grows until it fits, and no further', (roundTripMs, rate) => {
  const link = new Link(rate, roundTripMs, MOST_CREDIT_BYTES);
  const product = rate * roundTripMs;
  link.run(30 * roundTripMs, false);
  expect(link.run(2_000, false)).toBeGreaterThan(0.95 * rate);
  expect(link.inFlight.limitBytes(link.nowMs)).toBeGreaterThan(product);
  expect(link.inFlight.limitBytes(link.nowMs)).toBeLessThan(2.3 * product);
});

test('nobody asks, further than any credit reaches: the most is the most', () => {
  const link = new Link(1_000_000, 200, MOST_CREDIT_BYTES);
  link.run(10_000, false);
  expect(link.inFlight.limitBytes(link.nowMs)).toBe(MOST_CREDIT_BYTES);
  expect(link.inFlight.bytes).toBeLessThanOrEqual(MOST_CREDIT_BYTES);
});

test('nobody asks, near or slow: it stays what it began with, and comes back to it when the way gets slow', () => {
  const near = new Link(400_000, 0.2, MOST_CREDIT_BYTES);
  near.run(1_000, false);
  expect(near.inFlight.limitBytes(near.nowMs)).toBe(SESSION_CREDIT_BYTES);
  const far = new Link(80_000, 100, MOST_CREDIT_BYTES);
  far.run(5_000, false);
  expect(far.inFlight.limitBytes(far.nowMs)).toBeGreaterThan(2 * SESSION_CREDIT_BYTES);
  far.rate = 4_000;
  far.run(30_000, false);
  expect(far.inFlight.limitBytes(far.nowMs)).toBe(SESSION_CREDIT_BYTES);
}, 20_000);

test('the limit does not swing: after the first rounds it stays within a quarter of itself', () => {
  const link = new Link(20_000, 20);
  link.run(2_000, true);
  const limits = Array.from({ length: 100 }, () => {
    link.run(50, true);
    return link.inFlight.limitBytes(link.nowMs);
  });
  expect(Math.max(...limits)).toBeLessThan(1.25 * Math.min(...limits));
});

test('a distance that grows is found again', () => {
  const link = new Link(20_000, 1);
  link.run(3_000, true);
  link.roundTripMs = 100;
  link.run(40_000, true);
  expect(link.run(5_000, true)).toBeGreaterThan(0.9 * Math.min(link.rate, SESSION_CREDIT_BYTES / 120));
}, 20_000);

test('what is small before bulk, or once beside it, is no question: bulk has the whole credit', () => {
  const inFlight = new InFlight(SESSION_CREDIT_BYTES);
  for (let head = 0; head < 3; head++) inFlight.sent(64, true, head);
  for (let frame = 0; frame < 8; frame++) inFlight.sent(FRAME_BYTES, false, 3);
  inFlight.sent(64, true, 4);
  inFlight.sent(64, true, 1_100);
  expect(inFlight.limitBytes(1_101)).toBe(SESSION_CREDIT_BYTES);
  inFlight.sent(64, true, 1_200);
  expect(inFlight.limitBytes(1_201)).toBe(FLOOR_BYTES);
});

test('another way is measured anew', () => {
  const link = new Link(20_000, 50);
  link.run(3_000, true);
  expect(link.inFlight.limitBytes(link.nowMs)).toBeGreaterThan(FLOOR_BYTES);
  link.inFlight.forgetDistance();
  expect(link.inFlight.limitBytes(link.nowMs)).toBe(FLOOR_BYTES);
});

test('a sender that pauses does not take the pause for a distance', () => {
  const inFlight = new InFlight(SESSION_CREDIT_BYTES);
  inFlight.sent(FRAME_BYTES, false, 0);
  inFlight.granted(FRAME_BYTES, 60_000);
  for (let frame = 0; frame < 4; frame++) inFlight.sent(FRAME_BYTES, false, 60_000);
  for (let question = 0; question < 2; question++) inFlight.sent(64, true, 60_000);
  expect(inFlight.limitBytes(60_001)).toBe(FLOOR_BYTES);
});

test('the floor is above one step of grants: neither end waits for the other', () => {
  expect(FLOOR_BYTES).toBeGreaterThan(GRANT_STEP_BYTES);
});
