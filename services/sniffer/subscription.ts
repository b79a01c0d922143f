// One subscription of one session: which connections of a capture it copies, and the sum of what became of them. Connections
// come from a TargetCapture; what of each is wanted decides a Selection.

import { compileHttpFilter, type RequestFilter } from '#http-filter/http-filter.ts';
import { SendCredit } from '#proto/credits.ts';
import { type AppError, toErrorDetail } from '#proto/errors.ts';
import { makeFrame } from '#proto/frame.ts';
import { ErrorDetail } from '#proto/gen/v1/error.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { Arrived, EndReason, LossReason, type Subscribe } from '#proto/gen/v1/incoming.ts';
import { Transport } from '#proto/gen/v1/network.ts';
import { INCOMING_CONNECTION_BYTES, INCOMING_LIMIT_BYTES, MIN_INCOMING_CONNECTION_BYTES } from '#proto/incoming.ts';
import type { OlderConnection } from '#runtime/older-connections.ts';
import { Copy, type CopyShare } from './copy.ts';
import { Counts } from './counts.ts';
import type { FlowAddresses } from './events.ts';
import type { Outlet } from './outlet.ts';

export const TCP = 6;
export const UDP = 17;

/** Connections at once where the client names no limit. */
const MAX_CONNECTIONS = 10_000;
/** Of requests whose bodies decide, of all connections. */
export const MAX_HELD_BODY_BYTES = 8 * 1024 * 1024;
/** Bytes of all copies that wait for credit. */
const MAX_QUEUED_BYTES = 8 * 1024 * 1024;

export interface SubscriptionWorld {
  readonly outlet: Outlet;
  /** A free id for a connection. */
  takeId(): number;
  /** To a port of the target, as its kernel has them now; null where it does not say. */
  openConnections(port: number): OlderConnection[] | null;
  onCopy(copy: Copy, flow: number): void;
  onCopyEnded(copy: Copy): void;
  /** After UNSUBSCRIBE, when the last copy has ended. */
  onOver(subscription: Subscription): void;
}

export class Subscription {
  readonly id: number;
  readonly wish: Subscribe;
  readonly protocol: number;
  readonly counts = new Counts();
  /** null: everything. */
  readonly filter: RequestFilter | null;
  /** Of requests that wait for their bodies to decide. */
  heldBodyBytes = 0;
  readonly #world: SubscriptionWorld;
  readonly #share: CopyShare;
  readonly #copies = new Set<Copy>();
  readonly #tokens: Tokens | null;
  #isEnding = false;

  /** Throws CONFIG_INVALID or UNSUPPORTED for a filter that cannot be. */
  constructor(id: number, wish: Subscribe, world: SubscriptionWorld) {
    this.id = id;
    this.wish = wish;
    this.#world = world;
    this.protocol = wish.transport === Transport.TRANSPORT_UDP ? UDP : TCP;
    this.filter = wish.filter === undefined ? null : compileHttpFilter(wish.filter);
    this.#tokens = wish.maxBytesPerSecond > 0n ? new Tokens(Number(wish.maxBytesPerSecond)) : null;
    this.#share = {
      outlet: world.outlet,
      counts: this.counts,
      credit: new SendCredit(Math.max(wish.limitBytes || INCOMING_LIMIT_BYTES, this.#connectionBytes)),
      queuedBytes: 0,
      maxQueuedBytes: MAX_QUEUED_BYTES,
      starved: new Set(),
      onEnded: (copy) => this.#copyEnded(copy),
    };
  }

  get isEnding(): boolean {
    return this.#isEnding;
  }

  get #connectionBytes(): number {
    return Math.max(this.wish.connectionBytes || INCOMING_CONNECTION_BYTES, MIN_INCOMING_CONNECTION_BYTES);
  }

  /** Whether a connection that has just begun is to be copied; counted here when it is not. */
  admits(addresses: FlowAddresses): boolean {
    if (this.#isEnding) return false;
    const { samplePerMillion, maxConnections, withOlder } = this.wish;
    if (addresses.beginsAnywhere && !withOlder) {
      this.counts.lost(LossReason.LOSS_REASON_OLDER, { connections: 1 });
      return false;
    }
    if (samplePerMillion > 0 && addresses.sample >= samplePerMillion) {
      this.counts.notSampled += 1;
      return false;
    }
    if (this.#copies.size >= (maxConnections || MAX_CONNECTIONS)) {
      this.counts.lost(LossReason.LOSS_REASON_CONNECTION_LIMIT, { connections: 1 });
      return false;
    }
    if (this.#tokens?.isEmpty === true) {
      this.counts.lost(LossReason.LOSS_REASON_RATE_LIMIT, { connections: 1 });
      return false;
    }
    return true;
  }

  openConnections(): OlderConnection[] | null {
    return this.#world.openConnections(this.wish.port);
  }

  /** For every payload byte that was copied. */
  spend(bytes: number): void {
    this.#tokens?.take(bytes);
  }

  arrive(addresses: FlowAddresses, atNs: bigint): Copy {
    const id = this.#world.takeId();
    const copy = new Copy(id, this.#connectionBytes, this.protocol === UDP, this.#share);
    this.#copies.add(copy);
    this.counts.connections += 1;
    const { peer, local, isFromMiddle } = addresses;
    const head = Arrived.encode({
      subscription: this.id,
      peer,
      local,
      atNs,
      isOlder: isFromMiddle,
      creditBytes: 0,
      isForRequests: false,
      interface: '',
      tls: undefined,
    }).finish();
    this.#share.outlet.send(makeFrame(id, FrameKind.FRAME_KIND_ARRIVED, head));
    this.#world.onCopy(copy, addresses.flow);
    return copy;
  }

  /** No more connections; over when those that are open have ended. */
  end(): void {
    this.#isEnding = true;
    this.#sayGoodbyeWhenDone();
  }

  /** The target is gone: what is copied ends. */
  targetGone(): void {
    for (const copy of [...this.#copies]) copy.end(EndReason.END_REASON_TARGET_GONE, BigInt(Date.now()) * 1_000_000n);
  }

  /** Without a word: the session is gone. */
  abandon(): void {
    this.#isEnding = true;
    for (const copy of this.#copies) copy.abandon();
    this.#copies.clear();
  }

  reportLosses(): void {
    if (!this.counts.hasRecent) return;
    this.#share.outlet.send(makeFrame(this.id, FrameKind.FRAME_KIND_LOSSES, this.counts.takeRecent()));
  }

  refuse(error: AppError): void {
    const head = ErrorDetail.encode(toErrorDetail(error)).finish();
    this.#share.outlet.send(makeFrame(this.id, FrameKind.FRAME_KIND_ERROR, head));
  }

  #copyEnded(copy: Copy): void {
    this.#copies.delete(copy);
    this.#world.onCopyEnded(copy);
    this.#sayGoodbyeWhenDone();
  }

  #sayGoodbyeWhenDone(): void {
    if (!this.#isEnding || this.#copies.size > 0) return;
    // The capture adds what the kernel has counted.
    this.#world.onOver(this);
    this.#share.outlet.send(makeFrame(this.id, FrameKind.FRAME_KIND_UNSUBSCRIBED, this.counts.encode()));
  }
}

/** So many a second, a second's worth at most. */
class Tokens {
  readonly #perSecond: number;
  #bytes: number;
  #atMs = performance.now();

  constructor(perSecond: number) {
    this.#perSecond = perSecond;
    this.#bytes = perSecond;
  }

  get isEmpty(): boolean {
    const nowMs = performance.now();
    this.#bytes = Math.min(this.#perSecond, this.#bytes + ((nowMs - this.#atMs) / 1_000) * this.#perSecond);
    this.#atMs = nowMs;
    return this.#bytes <= 0;
  }

  take(bytes: number): void {
    this.#bytes -= bytes;
  }
}
