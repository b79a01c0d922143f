// What the capture ring had no room for, as its subscriptions are told: packets and beginnings of connections as the kernel
// counts them, of known connections the bytes that their gaps tell of. And where connections began or ended unseen, in the end
// the bytes that no gap could tell of. Beside that, the requests that the kernel has left out because nobody wants them.

import { LossReason } from '#proto/gen/v1/incoming.ts';
import type { Subscription } from './subscription.ts';

/** Since ever; the kernel's, up to a mark. */
export interface LostInRing {
  readonly packets: number;
  readonly connections: number;
  readonly bytes: number;
  /** No loss. */
  readonly leftOut: number;
}

interface Told {
  packets: number;
  leftOut: number;
  connections: number;
  /** As they were when it began. */
  readonly before: { readonly unseen: number; readonly bytes: number };
}

const RING_FULL = LossReason.LOSS_REASON_RING_FULL;

/** Of one port. */
export class RingLosses {
  readonly #told = new Map<Subscription, Told>();
  #lost: LostInRing = { packets: 0, connections: 0, bytes: 0, leftOut: 0 };
  /** That gaps told of. */
  #gapBytes = 0;
  #lostEnds = 0;

  begin(subscription: Subscription, lost: LostInRing): void {
    this.count(lost);
    const { packets, connections, leftOut } = lost;
    this.#told.set(subscription, {
      packets,
      connections,
      leftOut,
      before: { unseen: this.#unseen, bytes: this.#untoldBytes },
    });
  }

  gap(bytes: number, reason: number): void {
    if (reason === RING_FULL) this.#gapBytes += bytes;
  }

  /** A connection is over, and nobody has seen how. */
  loseEnd(): void {
    this.#lostEnds += 1;
  }

  count(lost: LostInRing): void {
    this.#lost = lost;
    for (const [subscription, told] of this.#told) {
      subscription.counts.notMatched += lost.leftOut - told.leftOut;
      told.leftOut = lost.leftOut;
      const packets = lost.packets - told.packets;
      const connections = Math.max(0, lost.connections - told.connections);
      if (packets <= 0) continue;
      told.packets += packets;
      told.connections += connections;
      subscription.counts.lost(RING_FULL, { packets, connections });
    }
  }

  /** Every connection of it has ended: there will be no more gaps. */
  end(subscription: Subscription): void {
    const told = this.#told.get(subscription);
    this.#told.delete(subscription);
    // Of connections that were seen from their beginning to their end gaps tell everything; what was sent twice is no loss.
    if (told === undefined || this.#unseen === told.before.unseen) return;
    const bytes = this.#untoldBytes - told.before.bytes;
    if (bytes > 0) subscription.counts.lost(RING_FULL, { bytes });
  }

  get #unseen(): number {
    return this.#lost.connections + this.#lostEnds;
  }

  get #untoldBytes(): number {
    return this.#lost.bytes - this.#gapBytes;
  }
}
