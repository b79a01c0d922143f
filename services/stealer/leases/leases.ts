// Leases of the places at stolen ports, of all targets that this stealer holds. A claim is decided in its turn at the port: by what
// stands there, and by writing that decision into the bucket as what follows the last one. Who comes back with the place he had
// waits for nothing: it was decided.

import type { Logger } from 'pino';
import { AppError } from '#proto/errors.ts';
import type { Standing } from '#proto/gen/v1/incoming.ts';
import { LEASE_MS } from '#proto/liveness.ts';
import { placeKey, portKey } from '#proto/subjects.ts';
import type { Bus } from '#runtime/bus.ts';
import type { Subscription } from '../subscription.ts';
import { CLAIM_MS, LeaseBucket } from './lease-bucket.ts';
import { standingIn } from './lease-facts.ts';

/** Of places that were lost by silence, remembered for when their owner is back. */
const MAX_LOST = 1_024;

/** What a port of a target has to say to a claim. */
export interface ClaimedPort {
  readonly port: number;
  /** @throws AppError LIMIT_REACHED when the subscription may not have a place */
  assertMayHave(subscription: Subscription): void;
}

export class Leases {
  readonly #bucket: LeaseBucket;
  /** Places that a stealer before this one had given; empty once their time is over. */
  readonly #former = new Map<string, Standing>();
  #hasBus = false;

  constructor(logger: Logger) {
    this.#bucket = new LeaseBucket(logger);
  }

  async useBus(bus: Bus): Promise<void> {
    this.#hasBus = true;
    for (const { key, value } of await this.#bucket.useBus(bus)) {
      const standing = standingIn(value);
      if (standing !== null) this.#former.set(key, standing);
    }
    if (this.#former.size > 0) setTimeout(() => this.#former.clear(), LEASE_MS).unref();
  }

  /** The place that a session of this agent had with the stealer before this one, while its lease runs. */
  formerPlace(namespaceKey: string, port: number, sessionId: string, id: number): Standing | undefined {
    return this.#former.get(placeKey(nameOf(namespaceKey), port, sessionId, id));
  }

  of(namespaceKey: string): TargetLeases {
    return new TargetLeases(this.#hasBus ? this.#bucket : null, nameOf(namespaceKey));
  }

  close(): void {
    this.#bucket.close();
  }
}

export class TargetLeases {
  /** Null where there is no bus to write them to. */
  readonly #bucket: LeaseBucket | null;
  readonly #target: string;
  readonly #turns = new Map<number, Promise<unknown>>();
  readonly #places = new Map<Subscription, 'holds' | 'waits'>();
  readonly #lost = new Set<string>();

  constructor(bucket: LeaseBucket | null, target: string) {
    this.#bucket = bucket;
    this.#target = target;
  }

  /**
   * Decides one claim after the other.
   *
   * @param apply gives it its place, when all is said
   * @throws AppError LIMIT_REACHED as the port says, CANCELLED for who has left meanwhile
   */
  async claim<T extends { notes: string[] }>(
    subscription: Subscription,
    port: ClaimedPort,
    apply: () => T,
  ): Promise<T> {
    if (this.#bucket === null || subscription.isReturning) return apply();
    const before = this.#turns.get(port.port);
    const turn = this.#inTurn(this.#bucket, before, performance.now() + CLAIM_MS, subscription, port, apply);
    const settled = turn.then(
      () => undefined,
      () => undefined,
    );
    this.#turns.set(port.port, settled);
    void settled.then(() => {
      if (this.#turns.get(port.port) === settled) this.#turns.delete(port.port);
    });
    return turn;
  }

  async #inTurn<T extends { notes: string[] }>(
    bucket: LeaseBucket,
    before: Promise<unknown> | undefined,
    untilMs: number,
    subscription: Subscription,
    port: ClaimedPort,
    apply: () => T,
  ): Promise<T> {
    await before;
    const said = JSON.stringify({ last: subscription.owner.sessionId, since: subscription.since });
    const lease = { value: () => said, heardMs: () => this.#heardMs(port.port) };
    const judge = () => port.assertMayHave(subscription);
    // Not to be tried against what refuses it anyway.
    judge();
    const absence = await bucket.decide(portKey(this.#target, port.port), untilMs, lease, judge);
    const applied = this.#applied(subscription, apply);
    if (absence !== null) {
      applied.notes.push(`who holds the target has decided alone, without a lease in NATS: ${absence}`);
    }
    return applied;
  }

  /** @throws AppError when it came to nothing: where nobody else has a place, nothing is written any more */
  #applied<T>(subscription: Subscription, apply: () => T): T {
    try {
      if (!subscription.owner.has(subscription)) throw new AppError('CANCELLED', 'the session is closed');
      return apply();
    } catch (thrown) {
      const { port } = subscription;
      if (![...this.#places.keys()].some((one) => one.port === port)) this.#bucket?.drop(portKey(this.#target, port));
      throw thrown;
    }
  }

  /** What stands at a port by now. */
  stands(port: number, inForce: readonly Subscription[], waiting: readonly Subscription[]): void {
    if (this.#bucket === null) return;
    const now = new Map<Subscription, 'holds' | 'waits'>();
    for (const one of waiting) now.set(one, 'waits');
    for (const one of inForce) now.set(one, 'holds');
    for (const one of [...this.#places.keys()]) {
      if (one.port !== port || now.has(one)) continue;
      this.#places.delete(one);
      this.#bucket.drop(this.#keyOf(one));
    }
    for (const [one, place] of now) {
      if (this.#places.get(one) === place) continue;
      this.#places.set(one, place);
      this.#bucket.keep(this.#keyOf(one), { value: () => one.leaseText(place), heardMs: () => one.owner.heardMs });
    }
    if (now.size === 0) this.#bucket.drop(portKey(this.#target, port));
  }

  /** Its owner was silent for the time of a lease. */
  lose(subscription: Subscription): void {
    if (this.#lost.size >= MAX_LOST) this.#lost.clear();
    this.#lost.add(this.#keyOf(subscription));
  }

  /** Whether it was lost by silence: then it is no place to come back to. */
  takeLost(sessionId: string, port: number, id: number): boolean {
    return this.#lost.delete(placeKey(this.#target, port, sessionId, id));
  }

  #keyOf({ port, id, owner }: Subscription): string {
    return placeKey(this.#target, port, owner.sessionId, id);
  }

  #heardMs(port: number): number {
    let heardMs = 0;
    for (const one of this.#places.keys()) if (one.port === port) heardMs = Math.max(heardMs, one.owner.heardMs);
    return heardMs;
  }
}

/** Of a namespace, as a part of a key. */
const nameOf = (namespaceKey: string): string => namespaceKey.replaceAll(/[^0-9A-Za-z]/g, '-');
