// What a lease says: of a place at a stolen port who has it, since when, with which filter and in which order; of a port, whom the
// last decision was about.

import type { Standing } from '#proto/gen/v1/incoming.ts';

export interface PlaceFacts {
  readonly session: string;
  /** RFC 3339. */
  readonly since: string;
  /** In words: `everything`, `requests with header "^x-user: alice$"`. */
  readonly what: string;
  readonly mode: 'steal';
  readonly place: 'holds' | 'waits';
  /** Decimal: they are beyond what a number of JSON can say. */
  readonly sinceNs: string;
  readonly rank: string;
}

export function placeText(facts: PlaceFacts): string {
  return JSON.stringify(facts);
}

/** Null for what no stealer wrote. */
export function standingIn(value: Uint8Array): Standing | null {
  try {
    const { sinceNs, rank } = Object(JSON.parse(Buffer.from(value).toString('utf8'))) as Record<string, unknown>;
    if (!isMoment(sinceNs) || !isMoment(rank)) return null;
    return { sinceNs: BigInt(sinceNs), rank: BigInt(rank) };
  } catch {
    return null;
  }
}

/** An unsigned number of 64 bits. */
function isMoment(text: unknown): text is string {
  return typeof text === 'string' && /^[0-9]{1,20}$/.test(text) && BigInt(text) < 1n << 64n;
}
