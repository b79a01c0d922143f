// Answers of name servers, kept for as long as they hold. What is given out has its times counted down. Pure but for the
// clock it is given.

import { type Address, addressText } from '#proto/socket-address.ts';
import { ageBy, answerFor, type DnsAnswer, type DnsQuery } from './dns-message.ts';

/** More names than a program uses; oldest use goes first. */
const MAX_ENTRIES = 4_096;
const MAX_BYTES = 4 * 1024 * 1024;
/** An entry's share of objects, beside its message and its key. */
const ENTRY_BYTES = 200;
/** AXFR, IXFR and ANY are asked for to see what there is. */
const UNKEPT_TYPES: readonly number[] = [251, 252, 255];

interface Entry {
  readonly message: Buffer;
  readonly ttlOffsets: readonly number[];
  readonly storedMs: number;
  readonly endMs: number;
  readonly bytes: number;
}

/** Of questions that get the same answer; null for one whose answer is its own. */
export function keyOf(server: Address, query: DnsQuery): string | null {
  if (!query.isPlain || UNKEPT_TYPES.includes(query.type)) return null;
  const { isRecursionDesired, isCheckingDisabled, isAuthenticDesired, edns } = query;
  const bits = [isRecursionDesired, isCheckingDisabled, isAuthenticDesired, edns?.isDnssecOk ?? false].map(Number);
  const size = edns?.payloadBytes ?? 0;
  return `${addressText(server)} ${bits.join('')} ${size} ${query.type} ${query.class} ${query.name}`;
}

export class DnsCache {
  readonly #entries = new Map<string, Entry>();
  readonly #now: () => number;
  #bytes = 0;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  get entries(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  store(key: string, message: Uint8Array, answer: DnsAnswer): void {
    if (answer.isTruncated || answer.ttlSeconds === 0) return;
    this.#remove(key);
    const nowMs = this.#now();
    const bytes = message.length + key.length + ENTRY_BYTES;
    this.#entries.set(key, {
      message: Buffer.from(message),
      ttlOffsets: answer.ttlOffsets,
      storedMs: nowMs,
      endMs: nowMs + answer.ttlSeconds * 1000,
      bytes,
    });
    this.#bytes += bytes;
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= MAX_ENTRIES && this.#bytes <= MAX_BYTES) return;
      this.#remove(oldest);
    }
  }

  /** For this asker: his id, his spelling, and what is left of the times. */
  find(key: string, query: Uint8Array, { questionEnd }: DnsQuery): Buffer | null {
    const entry = this.#entries.get(key);
    if (entry === undefined) return null;
    const nowMs = this.#now();
    this.#entries.delete(key);
    if (nowMs >= entry.endMs) {
      this.#bytes -= entry.bytes;
      return null;
    }
    this.#entries.set(key, entry);
    const answer = answerFor(entry.message, query, questionEnd);
    ageBy(answer, entry.ttlOffsets, Math.floor((nowMs - entry.storedMs) / 1000));
    return answer;
  }

  #remove(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#bytes -= entry.bytes;
  }
}
