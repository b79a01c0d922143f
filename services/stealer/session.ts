// One session at the stealer that holds its target. Its subscriptions and the connections it has taken are given back when it
// closes, however it closes.

import type { Logger } from 'pino';
import { AppError, toErrorDetail } from '#proto/errors.ts';
import { type Frame, makeFrame } from '#proto/frame.ts';
import { ErrorDetail } from '#proto/gen/v1/error.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { Counters, Renew, Renewed, Subscribe, Subscribed } from '#proto/gen/v1/incoming.ts';
import type { SocketAddress } from '#proto/gen/v1/network.ts';
import { SessionEvent } from '#proto/gen/v1/session.ts';
import { IncomingIds } from '#proto/incoming.ts';
import { LEASE_MS } from '#proto/liveness.ts';
import { decodeHead, type SessionHandlers, type SessionStream } from '#proto/session-stream.ts';
import { addressText, toSocketAddress } from '#proto/socket-address.ts';
import type { OlderConnection } from '#runtime/older-connections.ts';
import type { StolenTarget } from './stolen-target.ts';
import { Subscription, type SubscriptionOwner, type TakenPeer } from './subscription.ts';
import { TakenConnection } from './taken-connection.ts';

/** Ports of one session. */
const MAX_SUBSCRIPTIONS = 256;
/** Of the connections that began before, those that are named to the user. */
const NAMED_PEERS = 32;

export type StealSessionOptions = Readonly<{
  sessionId: string;
  stream: Pick<SessionStream, 'send' | 'end' | 'heardMs'>;
  pid: number;
  target: StolenTarget;
  /** Connections are numbered from here on; undefined: from the first one. */
  nextId: number | undefined;
  /** For its user, with the first answer. */
  notes: readonly string[];
  logger: Logger;
}>;

type Entry = {
  readonly subscription: Subscription;
  readonly connections: Set<number>;
  /** What was connected before, until it is asked for to be closed. */
  older: readonly OlderConnection[];
  isLeaving: boolean;
};

export class StealSession implements SessionHandlers, SubscriptionOwner {
  readonly sessionId: string;
  readonly #stream: StealSessionOptions['stream'];
  readonly #logger: Logger;
  readonly #ids: IncomingIds;
  readonly #subscriptions = new Map<number, Entry>();
  readonly #connections = new Map<number, Readonly<{ taken: TakenConnection; entry: Entry }>>();
  /** Connections that the client reset, by reason. */
  readonly #resets = new Map<string, number>();
  readonly #pid: number;
  readonly #target: StolenTarget;
  readonly #notes: string[];
  readonly #closing = new AbortController();
  #isTargetGone = false;
  #isClosed = false;

  constructor({ sessionId, stream, pid, target, nextId, notes, logger }: StealSessionOptions) {
    this.#notes = [...notes];
    this.sessionId = sessionId;
    this.#stream = stream;
    this.#pid = pid;
    this.#target = target;
    this.#ids = new IncomingIds('stealer', nextId);
    this.#logger = logger;
  }

  onFrame(frame: Frame): void {
    switch (frame.kind) {
      case FrameKind.FRAME_KIND_SESSION_OPEN:
        throw new AppError('PROTOCOL_VIOLATION', 'the session is opened a second time');
      case FrameKind.FRAME_KIND_SESSION_CLOSE:
        this.#giveAllBack(new AppError('CANCELLED', 'the session is closed'));
        this.#stream.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_CLOSED));
        this.#stream.end();
        return;
      case FrameKind.FRAME_KIND_SUBSCRIBE:
        void this.#subscribe(frame);
        return;
      case FrameKind.FRAME_KIND_UNSUBSCRIBE:
        this.#unsubscribe(frame.id);
        return;
      case FrameKind.FRAME_KIND_RENEW:
        void this.#renew(frame.id, decodeHead(Renew.decode, frame.head));
        return;
      case FrameKind.FRAME_KIND_CREDIT:
      case FrameKind.FRAME_KIND_DATA:
      case FrameKind.FRAME_KIND_HALF_CLOSE:
      case FrameKind.FRAME_KIND_RESET:
        this.#onConnectionFrame(frame);
        return;
      default:
        this.#refuse(frame.id, new AppError('UNSUPPORTED', `frames of kind ${frame.kind} are not understood here`));
    }
  }

  onClosed(error: AppError | null): void {
    this.#isClosed = true;
    this.#closing.abort();
    this.#giveAllBack(error ?? new AppError('CANCELLED', 'the session is closed'));
  }

  /** The target's process has: nothing more can be stolen from it. */
  onTargetEnded(): void {
    if (this.#isTargetGone || this.#isClosed) return;
    this.#isTargetGone = true;
    const head = SessionEvent.encode({ event: { $case: 'targetEnded', value: { pid: this.#pid } } }).finish();
    this.#stream.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_EVENT, head));
  }

  take(subscription: Subscription, peer: TakenPeer): TakenConnection {
    const entry = this.#subscriptions.get(subscription.id) as Entry;
    const id = this.#ids.take((one) => this.#connections.has(one));
    const taken = new TakenConnection({
      id,
      subscription,
      peer,
      send: (frame) => this.#stream.send(frame),
      onReset: (why) => this.#countReset(subscription.port, why),
      onEnded: (isRelief) => this.#onEnded(id, entry, isRelief),
    });
    this.#connections.set(id, { taken, entry });
    entry.connections.add(id);
    return taken;
  }

  lose(subscription: Subscription, by: string): void {
    this.#subscriptions.delete(subscription.id);
    this.#refuse(subscription.id, new AppError('LIMIT_REACHED', `port ${subscription.port} was taken over: ${by}`));
  }

  get heardMs(): number {
    return this.#stream.heardMs;
  }

  has(subscription: Subscription): boolean {
    const entry = this.#subscriptions.get(subscription.id);
    return entry?.subscription === subscription && !entry.isLeaving;
  }

  async #subscribe(frame: Frame): Promise<void> {
    try {
      if (this.#isTargetGone) throw new AppError('TARGET_GONE', 'the target has ended');
      if (this.#subscriptions.has(frame.id)) throw new AppError('PROTOCOL_VIOLATION', `id ${frame.id} is in use`);
      if (this.#subscriptions.size >= MAX_SUBSCRIPTIONS) {
        throw new AppError('LIMIT_REACHED', `${MAX_SUBSCRIPTIONS} ports are stolen, the most a session may have`);
      }
      const wanted = decodeHead(Subscribe.decode, frame.head);
      const had = this.#target.standingOf(this.sessionId, frame.id, wanted);
      const subscription = new Subscription(frame.id, this, { ...wanted, standing: had });
      const entry: Entry = { subscription, connections: new Set(), older: [], isLeaving: false };
      this.#subscriptions.set(frame.id, entry);
      await this.#claim(entry);
    } catch (thrown) {
      this.#refuse(frame.id, AppError.from(thrown, 'BUG'));
    }
  }

  /** @throws AppError of the target, for who still wants it */
  async #claim(entry: Entry): Promise<void> {
    const { subscription } = entry;
    const { id, port, sinceNs } = subscription;
    try {
      const { notes, older } = await this.#target.claim(subscription);
      notes.unshift(...this.#notes.splice(0), ...this.#target.notes);
      entry.older = older;
      const olderPeers = older.slice(0, NAMED_PEERS).map(({ peer }) => toSocketAddress(peer));
      const standing = { sinceNs, rank: subscription.rank };
      const lease = subscription.describeLease();
      const head = Subscribed.encode({ olderConnections: older.length, notes, olderPeers, standing, lease }).finish();
      this.#stream.send(makeFrame(id, FrameKind.FRAME_KIND_SUBSCRIBED, head));
      this.#logger.info({ port, isFiltered: subscription.filter !== null }, 'port stolen');
    } catch (thrown) {
      // Given back meanwhile: nobody waits for an answer.
      if (this.#subscriptions.get(id) !== entry) return;
      this.#subscriptions.delete(id);
      throw thrown;
    }
  }

  /** Asked for twice, the second finds nothing to close. */
  async #renew(id: number, { perSecond }: Renew): Promise<void> {
    const entry = this.#subscriptions.get(id);
    if (entry === undefined) return;
    const connections = entry.older;
    entry.older = [];
    const peers: SocketAddress[] = [];
    const { port } = entry.subscription;
    const result = await this.#target.renew({
      connections,
      perSecond,
      signal: this.#closing.signal,
      onClosed: ({ peer }) => {
        if (peers.length < NAMED_PEERS) peers.push(toSocketAddress(peer));
        this.#logger.info({ port, peer: addressText(peer) }, 'connection closed, for its peer to come again');
      },
    });
    this.#logger.info({ port, ...result }, 'older connections renewed');
    if (this.#subscriptions.get(id) !== entry) return;
    const { closed, failed, reason } = result;
    const head = Renewed.encode({ connections: closed, failed, reason, peers }).finish();
    this.#stream.send(makeFrame(id, FrameKind.FRAME_KIND_RENEWED, head));
  }

  #unsubscribe(id: number): void {
    const entry = this.#subscriptions.get(id);
    if (entry === undefined) return;
    this.#target.remove(entry.subscription, false);
    entry.isLeaving = true;
    this.#leaveWhenIdle(entry);
  }

  #onConnectionFrame(frame: Frame): void {
    // Frames that were on their way when the connection ended are no fault.
    const connection = this.#connections.get(frame.id);
    if (connection === undefined) return;
    const wasExhausted = connection.entry.subscription.availableBytes <= 0;
    connection.taken.receive(frame);
    if (wasExhausted && frame.kind === FrameKind.FRAME_KIND_CREDIT) this.#retryAll(connection.entry);
  }

  #retryAll(entry: Entry): void {
    for (const id of entry.connections) this.#connections.get(id)?.taken.retry();
  }

  /** Told when it begins, and with the sum at the end. */
  #countReset(port: number, reason: string): void {
    const count = this.#resets.get(reason) ?? 0;
    this.#resets.set(reason, count + 1);
    if (count === 0) this.#logger.warn({ port, reason }, 'a stolen connection was refused');
  }

  #onEnded(id: number, entry: Entry, isRelief: boolean): void {
    this.#connections.delete(id);
    entry.connections.delete(id);
    if (isRelief) this.#retryAll(entry);
    this.#leaveWhenIdle(entry);
  }

  #leaveWhenIdle(entry: Entry): void {
    const { subscription } = entry;
    if (!entry.isLeaving || entry.connections.size > 0 || !this.#subscriptions.delete(subscription.id)) return;
    const head = Counters.encode(subscription.counters).finish();
    this.#stream.send(makeFrame(subscription.id, FrameKind.FRAME_KIND_UNSUBSCRIBED, head));
  }

  /** New requests go to the target; those in flight are answered with 502, whole connections are cut. */
  #giveAllBack(error: AppError): void {
    if (this.#subscriptions.size > 0) {
      const [cut, refused] = [this.#connections.size, Object.fromEntries(this.#resets)];
      this.#logger.info({ code: error.code, reason: error.message, cut, refused }, 'stolen ports given back');
    }
    const isSilent = performance.now() - this.heardMs >= LEASE_MS;
    for (const { subscription } of this.#subscriptions.values()) this.#target.remove(subscription, true, isSilent);
    for (const { taken } of [...this.#connections.values()]) taken.abandon(error);
    this.#subscriptions.clear();
    this.#connections.clear();
  }

  #refuse(id: number, error: AppError): void {
    if (error.code === 'BUG') this.#logger.error({ err: error }, 'request failed');
    const head = ErrorDetail.encode(toErrorDetail(error)).finish();
    this.#stream.send(makeFrame(id, FrameKind.FRAME_KIND_ERROR, head));
  }
}
