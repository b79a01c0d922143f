// What one session steals: a port, with a filter or without, and what has come of it.

import { compileHttpFilter, type RequestFilter } from '#http-filter/http-filter.ts';
import { AppError } from '#proto/errors.ts';
import type { Counters, HttpHandling, Subscribe, TlsFacts } from '#proto/gen/v1/incoming.ts';
import { ConflictPolicy, HttpFilter } from '#proto/gen/v1/incoming.ts';
import { Transport } from '#proto/gen/v1/network.ts';
import { INCOMING_CONNECTION_BYTES, INCOMING_LIMIT_BYTES, MIN_INCOMING_CONNECTION_BYTES } from '#proto/incoming.ts';
import { filterText } from './filter-text.ts';
import { placeText } from './leases/lease-facts.ts';
import type { TakenConnection } from './taken-connection.ts';
import { Identity } from './tls/identity.ts';

export interface SubscriptionOwner {
  /** For messages to others: never the token, never a name of the user's. */
  readonly sessionId: string;
  /** When it was last heard, as performance.now() has it. */
  readonly heardMs: number;
  /** Until it has been given back. */
  has(subscription: Subscription): boolean;
  /** A connection of the client's, for this subscription. */
  take(subscription: Subscription, peer: TakenPeer): TakenConnection;
  /** Somebody with `on_conflict: override` took the port. */
  lose(subscription: Subscription, by: string): void;
}

export type TakenPeer = Readonly<{
  peer: Buffer;
  peerPort: number;
  local: Buffer;
  localPort: number;
  /** What comes is requests, of which none is for the local process behind its FIN. */
  isForRequests?: boolean;
  /** Its bytes came in TLS, which was ended here. */
  tls: TlsFacts | null;
}>;

/** Certificates for one port. */
const MAX_IDENTITIES = 32;

let lastMoment = 0n;

/** Never the same twice, so that an order by it is one. */
function nextMoment(): bigint {
  const nowNs = BigInt(Date.now()) * 1_000_000n;
  lastMoment = nowNs > lastMoment ? nowNs : lastMoment + 1n;
  return lastMoment;
}

export class Subscription {
  readonly id: number;
  readonly owner: SubscriptionOwner;
  readonly port: number;
  readonly filter: RequestFilter | null;
  /** Who the stealer is in TLS on this port. */
  readonly identities: readonly Identity[];
  readonly onConflict: ConflictPolicy;
  readonly http: HttpHandling;
  readonly connectionBytes: number;
  /** Nanoseconds since the epoch. */
  readonly sinceNs: bigint;
  /** Who has the lower one comes first. */
  rank: bigint;
  /** It had its place before, with a stealer that is gone. */
  readonly isReturning: boolean;
  readonly counters: Counters;
  /** The filter's own encoding: two that are the same want the same requests. */
  readonly #filterBytes: Uint8Array;
  readonly #filterText: string;
  /** Bytes of all connections that may still be sent. */
  availableBytes: number;

  /** @throws AppError CONFIG_INVALID or UNSUPPORTED, naming what is wrong */
  constructor(id: number, owner: SubscriptionOwner, wanted: Subscribe) {
    if (wanted.transport !== Transport.TRANSPORT_TCP) {
      throw new AppError('UNSUPPORTED', `port ${wanted.port}: only TCP can be stolen`);
    }
    if (wanted.port < 1 || wanted.port > 65_535) throw new AppError('CONFIG_INVALID', `port ${wanted.port} is none`);
    this.id = id;
    this.owner = owner;
    this.port = wanted.port;
    this.filter = wanted.filter === undefined ? null : compileHttpFilter(wanted.filter);
    if (wanted.tls.length > MAX_IDENTITIES) {
      throw new AppError('LIMIT_REACHED', `port ${wanted.port}: more than ${MAX_IDENTITIES} certificates`);
    }
    this.identities = wanted.tls.map((one) => new Identity(wanted.port, one));
    this.#filterBytes = wanted.filter === undefined ? new Uint8Array() : HttpFilter.encode(wanted.filter).finish();
    this.onConflict = wanted.onConflict;
    this.http = wanted.http ?? { firstHeadMs: 0, idleMs: 0, namesOrigin: false, forbidsCaching: false };
    this.connectionBytes = Math.max(wanted.connectionBytes || INCOMING_CONNECTION_BYTES, MIN_INCOMING_CONNECTION_BYTES);
    this.availableBytes = Math.max(wanted.limitBytes || INCOMING_LIMIT_BYTES, this.connectionBytes);
    this.sinceNs = wanted.standing?.sinceNs ?? nextMoment();
    this.rank = wanted.standing?.rank ?? this.sinceNs;
    this.isReturning = wanted.standing !== undefined;
    this.#filterText = wanted.filter === undefined ? '' : filterText(wanted.filter);
    this.counters = {
      connections: 0n,
      bytes: 0n,
      datagrams: 0n,
      requests: 0n,
      notMatched: 0n,
      notSampled: 0n,
      losses: [],
    };
  }

  /** True when both cannot be served: one takes everything, or both take the same. */
  conflictsWith(other: Subscription): boolean {
    if (this.filter === null || other.filter === null) return true;
    return Buffer.compare(this.#filterBytes, other.#filterBytes) === 0;
  }

  /** RFC 3339. */
  get since(): string {
    return new Date(Number(this.sinceNs / 1_000_000n)).toISOString();
  }

  get #what(): string {
    return this.filter === null ? 'everything' : `requests with ${this.#filterText}`;
  }

  /** For the user whose steal is refused. */
  describe(): string {
    return `session ${this.owner.sessionId} ${this.describeLease()}`;
  }

  /** The same without the name. */
  describeLease(): string {
    return `steals ${this.#what} of port ${this.port} since ${this.since}`;
  }

  /** The same, as its lease has it. */
  leaseText(place: 'holds' | 'waits'): string {
    const [session, sinceNs, rank] = [this.owner.sessionId, `${this.sinceNs}`, `${this.rank}`];
    return placeText({ session, since: this.since, what: this.#what, mode: 'steal', place, sinceNs, rank });
  }

  get isOverride(): boolean {
    return this.onConflict === ConflictPolicy.CONFLICT_POLICY_OVERRIDE;
  }

  get isContinue(): boolean {
    return this.onConflict === ConflictPolicy.CONFLICT_POLICY_CONTINUE;
  }
}
