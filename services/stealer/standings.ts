// Which of a port's subscriptions are in force, and which wait. Decided when one is asked for: by what is in force then, and
// never by what comes later, unless that says override.

import { ERRNO } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import type { Subscription } from './subscription.ts';

export type Addition = Readonly<{
  /** For the user. */
  notes: string[];
  /** Had their place, and have lost it to the one that was added. */
  lost: Subscription[];
}>;

export class Standings {
  readonly #inForce: Subscription[] = [];
  readonly #waiting: Subscription[] = [];

  /** In the order in which requests are offered to them. */
  get inForce(): readonly Subscription[] {
    return this.#inForce;
  }

  get waiting(): readonly Subscription[] {
    return this.#waiting;
  }

  get isEmpty(): boolean {
    return this.#inForce.length === 0;
  }

  /** @throws AppError LIMIT_REACHED as `add` would */
  assertMayHave(subscription: Subscription): void {
    if (subscription.isReturning || subscription.isOverride || subscription.isContinue) return;
    const rivals = this.#inForce.filter((other) => other.conflictsWith(subscription));
    if (rivals.length > 0) throw refused(subscription, rivals);
  }

  /** @throws AppError LIMIT_REACHED naming who holds the port, since when and with what */
  add(subscription: Subscription): Addition {
    const rivals = this.#inForce.filter((other) => other.conflictsWith(subscription));
    const held = heldBy(rivals);
    if (rivals.length === 0) {
      insert(this.#inForce, subscription);
      return { notes: [], lost: [] };
    }
    if (subscription.isReturning) return this.#addReturning(subscription, rivals);
    if (subscription.isOverride) {
      // In their place: the one that waits for them goes on waiting.
      subscription.rank = rivals[0]?.rank ?? subscription.rank;
      for (const rival of rivals) take(this.#inForce, rival);
      insert(this.#inForce, subscription);
      this.#promote();
      return { notes: [`taken over: ${held}`], lost: rivals };
    }
    if (!subscription.isContinue) throw refused(subscription, rivals);
    insert(this.#waiting, subscription);
    return { notes: [`it has no effect while ${held}`], lost: [] };
  }

  remove(subscription: Subscription): void {
    if (take(this.#waiting, subscription)) return;
    take(this.#inForce, subscription);
    this.#promote();
  }

  /** Its stealer has gone, and others may have come back before it: who was first is first again. */
  #addReturning(subscription: Subscription, rivals: readonly Subscription[]): Addition {
    if (rivals.some(({ rank }) => rank < subscription.rank)) {
      insert(this.#waiting, subscription);
      return { notes: [], lost: [] };
    }
    const lost: Subscription[] = [];
    for (const rival of rivals) {
      take(this.#inForce, rival);
      if (rival.isContinue) insert(this.#waiting, rival);
      else lost.push(rival);
    }
    insert(this.#inForce, subscription);
    this.#promote();
    return { notes: [], lost };
  }

  #promote(): void {
    for (const one of [...this.#waiting]) {
      if (this.#inForce.some((other) => other.conflictsWith(one))) continue;
      take(this.#waiting, one);
      insert(this.#inForce, one);
    }
  }
}

function heldBy(rivals: readonly Subscription[]): string {
  return rivals.map((rival) => rival.describe()).join('; ');
}

function refused({ port }: Subscription, rivals: readonly Subscription[]): AppError {
  const said = `port ${port} cannot be stolen: ${heldBy(rivals)}`;
  return new AppError('LIMIT_REACHED', said, { errno: ERRNO.EADDRINUSE });
}

function insert(list: Subscription[], subscription: Subscription): void {
  const at = list.findIndex(({ rank }) => rank > subscription.rank);
  list.splice(at === -1 ? list.length : at, 0, subscription);
}

function take(list: Subscription[], subscription: Subscription): boolean {
  const at = list.indexOf(subscription);
  if (at !== -1) list.splice(at, 1);
  return at !== -1;
}
