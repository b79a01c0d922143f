// Connections that ended while the ring was full, so that nobody saw it: their copies would stay for good. After a loss the
// target's kernel is asked which connections there still are: soon, and then less and less often.

import { fromSocketAddress, toMapped } from '#proto/socket-address.ts';
import type { OlderConnection } from '#runtime/older-connections.ts';
import type { FlowAddresses } from './events.ts';

const FIRST_MS = 1_000;
const MOST_MS = 60_000;

export class LostEnds {
  #nextMs = Number.POSITIVE_INFINITY;
  #pauseMs = FIRST_MS;

  /** Packets were lost just now. */
  suspect(nowMs: number): void {
    this.#pauseMs = FIRST_MS;
    this.#nextMs = nowMs + FIRST_MS;
  }

  isDue(nowMs: number): boolean {
    if (nowMs < this.#nextMs) return false;
    this.#pauseMs = Math.min(this.#pauseMs * 2, MOST_MS);
    this.#nextMs = nowMs + this.#pauseMs;
    return true;
  }
}

/** Those of the flows that the kernel has no connection for. */
export function endedFlows(
  flows: Iterable<readonly [number, FlowAddresses]>,
  connections: readonly OlderConnection[],
): number[] {
  const known = new Set(connections.map(({ peer }) => keyOf(peer.ip, peer.port)));
  const ended: number[] = [];
  for (const [flow, { peer }] of flows) {
    const address = fromSocketAddress(peer);
    if (address?.kind === 'internet' && !known.has(keyOf(address.ip, address.port))) ended.push(flow);
  }
  return ended;
}

function keyOf(ip: Uint8Array, port: number): string {
  return `${Buffer.from(toMapped(ip)).toString('hex')}:${port}`;
}
