// What a subscription has brought and what it has lost, by reason; the same numbers for LOSSES as they come and for the sum
// at the end.

import { Counters, type Loss, type LossReason } from '#proto/gen/v1/incoming.ts';

interface Lost {
  connections: number;
  bytes: number;
  packets: number;
}

export class Counts {
  connections = 0;
  bytes = 0;
  datagrams = 0;
  requests = 0;
  notMatched = 0;
  notSampled = 0;
  readonly #total = new Map<LossReason, Lost>();
  #recent = new Map<LossReason, Lost>();

  get hasRecent(): boolean {
    return this.#recent.size > 0;
  }

  lost(reason: LossReason, { connections = 0, bytes = 0, packets = 0 }: Partial<Lost>): void {
    for (const map of [this.#total, this.#recent]) {
      const sum = map.get(reason) ?? { connections: 0, bytes: 0, packets: 0 };
      sum.connections += connections;
      sum.bytes += bytes;
      sum.packets += packets;
      map.set(reason, sum);
    }
  }

  /** Lost since the last call. */
  takeRecent(): Uint8Array {
    const losses = asLosses(this.#recent);
    this.#recent = new Map();
    return Counters.encode({ ...NONE, losses }).finish();
  }

  encode(): Uint8Array {
    return Counters.encode({
      connections: BigInt(this.connections),
      bytes: BigInt(this.bytes),
      datagrams: BigInt(this.datagrams),
      requests: BigInt(this.requests),
      notMatched: BigInt(this.notMatched),
      notSampled: BigInt(this.notSampled),
      losses: asLosses(this.#total),
    }).finish();
  }
}

const NONE = { connections: 0n, bytes: 0n, datagrams: 0n, requests: 0n, notMatched: 0n, notSampled: 0n };

function asLosses(map: Map<LossReason, Lost>): Loss[] {
  return [...map].map(([reason, { connections, bytes, packets }]) => ({
    reason,
    connections: BigInt(connections),
    bytes: BigInt(bytes),
    packets: BigInt(packets),
  }));
}
