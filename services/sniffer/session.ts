// One session of the agent with the sniffer: attached to a target, with subscriptions and the copies they bring. Everything
// of it is released when its stream closes, however it closes; the capture goes with its last user.
//
// Buffers: subscriptions by count; what a session's stream and credits do not take is bounded in copy.ts.

import type { Logger } from 'pino';
import { AppError, toErrorDetail } from '#proto/errors.ts';
import { type Frame, makeFrame } from '#proto/frame.ts';
import { ErrorDetail } from '#proto/gen/v1/error.ts';
import { Credit, FrameKind } from '#proto/gen/v1/frame.ts';
import { AttachTarget } from '#proto/gen/v1/fs_env.ts';
import { IncomingFacts, IncomingMode, Renew, Renewed, Subscribe, Subscribed } from '#proto/gen/v1/incoming.ts';
import { Transport } from '#proto/gen/v1/network.ts';
import { SessionEvent } from '#proto/gen/v1/session.ts';
import { IncomingIds } from '#proto/incoming.ts';
import { decodeHead, type SessionHandlers, type SessionStream } from '#proto/session-stream.ts';
import { addressText, toSocketAddress } from '#proto/socket-address.ts';
import {
  type OlderConnection,
  olderConnections,
  openConnections,
  renewConnections,
} from '#runtime/older-connections.ts';
import type { Captures, CaptureUser } from './captures.ts';
import type { Copy } from './copy.ts';
import { Outlet } from './outlet.ts';
import { Subscription, type SubscriptionWorld } from './subscription.ts';
import { openTarget, type SnifferTarget } from './target.ts';
import type { TargetCapture } from './target-capture.ts';

const MAX_SUBSCRIPTIONS = 256;
const MAX_PORT = 65_535;
/** Of the connections that began before, those that are named to the user. */
const NAMED_PEERS = 32;

export class SnifferSession implements SessionHandlers, CaptureUser, SubscriptionWorld {
  readonly outlet: Outlet;
  readonly #stream: SessionStream;
  readonly #captures: Captures;
  readonly #logger: Logger;
  readonly #onQuestion: () => void;
  readonly #ids = new IncomingIds('sniffer');
  readonly #subscriptions = new Map<number, Subscription>();
  readonly #copies = new Map<number, { copy: Copy; flow: number }>();
  /** Of a subscription, until they are renewed. */
  readonly #older = new Map<number, readonly OlderConnection[]>();
  readonly #closing = new AbortController();
  #target: SnifferTarget | null = null;
  #capture: TargetCapture | null = null;
  #isTargetGone = false;

  /** `onQuestion`: somebody waits for an answer. */
  constructor(stream: SessionStream, captures: Captures, logger: Logger, onQuestion: () => void) {
    this.#stream = stream;
    this.#onQuestion = onQuestion;
    this.#captures = captures;
    this.#logger = logger;
    this.outlet = new Outlet(stream);
  }

  onFrame(frame: Frame): void {
    if (frame.kind !== FrameKind.FRAME_KIND_CREDIT && frame.kind !== FrameKind.FRAME_KIND_RESET) this.#onQuestion();
    switch (frame.kind) {
      case FrameKind.FRAME_KIND_SESSION_OPEN:
        this.#attach(decodeHead(AttachTarget.decode, frame.head));
        return;
      case FrameKind.FRAME_KIND_SUBSCRIBE:
        this.#subscribe(frame.id, decodeHead(Subscribe.decode, frame.head));
        return;
      case FrameKind.FRAME_KIND_UNSUBSCRIBE:
        this.#unsubscribe(frame.id);
        return;
      case FrameKind.FRAME_KIND_CREDIT:
        this.#copies.get(frame.id)?.copy.grant(decodeHead(Credit.decode, frame.head).bytes);
        return;
      case FrameKind.FRAME_KIND_RESET:
        this.#reset(frame.id);
        return;
      case FrameKind.FRAME_KIND_RENEW:
        void this.#renew(frame.id, decodeHead(Renew.decode, frame.head));
        return;
      case FrameKind.FRAME_KIND_SESSION_CLOSE:
        this.#stream.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_CLOSED));
        this.#stream.end();
        return;
      case FrameKind.FRAME_KIND_CANCEL:
        return;
      default:
        this.#refuse(frame.id, new AppError('UNSUPPORTED', `frames of kind ${frame.kind} are not understood here`));
    }
  }

  onClosed(error: AppError | null): void {
    this.#closing.abort();
    this.#older.clear();
    for (const subscription of this.#subscriptions.values()) {
      subscription.abandon();
      this.#capture?.remove(subscription);
    }
    this.#subscriptions.clear();
    this.#copies.clear();
    if (this.#target !== null) {
      this.#captures.release(this.#target, this);
      this.#target.close();
    }
    this.#capture = null;
    this.#target = null;
    this.#logger.info({ code: error?.code }, 'session closed');
  }

  onCaptureFailed(error: AppError): void {
    this.#logger.error({ err: error }, 'capture failed');
    this.#capture = null;
    this.#stream.fail(error);
  }

  takeId(): number {
    return this.#ids.take((id) => this.#copies.has(id));
  }

  openConnections(port: number): OlderConnection[] | null {
    if (this.#target === null) return null;
    try {
      return openConnections(this.#target.namespaceFd, port);
    } catch (thrown) {
      this.#logger.warn({ err: AppError.from(thrown, 'BUG'), port }, 'connections cannot be listed');
      return null;
    }
  }

  onCopy(copy: Copy, flow: number): void {
    this.#copies.set(copy.id, { copy, flow });
  }

  onCopyEnded(copy: Copy): void {
    this.#copies.delete(copy.id);
  }

  onOver(subscription: Subscription): void {
    this.#older.delete(subscription.id);
    this.#subscriptions.delete(subscription.id);
    this.#capture?.remove(subscription);
  }

  #attach({ pid, startTimeTicks }: AttachTarget): void {
    if (this.#target !== null) throw new AppError('PROTOCOL_VIOLATION', 'the session is opened a second time');
    try {
      this.#target = openTarget(pid, startTimeTicks, () => this.#targetEnded(pid));
      this.#capture = this.#captures.acquire(this.#target, this);
    } catch (thrown) {
      const error = AppError.from(thrown, 'BUG');
      this.#logger.info({ target: pid, code: error.code, reason: error.message }, 'target refused');
      this.#stream.fail(error);
      return;
    }
    const { isEbpf, hasTaps, refusal } = this.#capture;
    const method = hasTaps ? 'tcx' : isEbpf ? 'ebpf' : 'classic-bpf';
    this.#logger.info({ target: pid, method }, 'session opened');
    const facts: IncomingFacts = {
      method,
      notes: isEbpf ? [] : [`${refusal}: packets are chosen by port alone in the kernel, the rest is done after it`],
    };
    this.#stream.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_OPENED, IncomingFacts.encode(facts).finish()));
  }

  #subscribe(id: number, wish: Subscribe): void {
    const target = this.#target;
    const capture = this.#capture;
    if (target === null || capture === null)
      throw new AppError('PROTOCOL_VIOLATION', 'a subscription before the target');
    if (id % 2 === 0 || this.#subscriptions.has(id)) {
      throw new AppError('PROTOCOL_VIOLATION', `subscription ${id}: the id is not free for the client`);
    }
    try {
      this.#check(wish);
      // Counted before: what comes between is either older or copied.
      const notes: string[] = [];
      const older = this.#olderOf(target, wish, notes);
      const subscription = new Subscription(id, wish, this);
      capture.add(subscription);
      this.#subscriptions.set(id, subscription);
      this.#older.set(id, older);
      notes.push(...this.#notesOf(subscription));
      const olderPeers = older.slice(0, NAMED_PEERS).map(({ peer }) => toSocketAddress(peer));
      const head = Subscribed.encode({
        olderConnections: older.length,
        notes,
        olderPeers,
        standing: undefined,
        lease: '',
      }).finish();
      this.#stream.send(makeFrame(id, FrameKind.FRAME_KIND_SUBSCRIBED, head));
      this.#logger.info(
        { port: wish.port, transport: wish.transport, filtered: wish.filter !== undefined },
        'subscribed',
      );
    } catch (thrown) {
      this.#refuse(id, AppError.from(thrown, 'BUG'));
    }
  }

  #reset(id: number): void {
    const one = this.#copies.get(id);
    one?.copy.reset();
    if (one !== undefined) this.#capture?.onCopyOver(one.flow);
  }

  /** What came before it still counts. */
  #unsubscribe(id: number): void {
    const subscription = this.#subscriptions.get(id);
    if (subscription !== undefined) this.#capture?.whenTold(() => subscription.end());
  }

  #check({ mode, transport, port }: Subscribe): void {
    if (this.#isTargetGone) throw new AppError('TARGET_GONE', 'the target has ended');
    if (mode !== IncomingMode.INCOMING_MODE_MIRROR) throw new AppError('UNSUPPORTED', 'the sniffer only mirrors');
    if (transport !== Transport.TRANSPORT_TCP && transport !== Transport.TRANSPORT_UDP) {
      throw new AppError('UNSUPPORTED', `transport ${transport} cannot be mirrored`);
    }
    if (port < 1 || port > MAX_PORT) throw new AppError('PROTOCOL_VIOLATION', `port ${port} cannot be subscribed to`);
    if (this.#subscriptions.size >= MAX_SUBSCRIPTIONS) {
      throw new AppError('LIMIT_REACHED', `${MAX_SUBSCRIPTIONS} subscriptions are the most allowed`);
    }
  }

  #notesOf({ wish }: Subscription): string[] {
    const notes: string[] = [];
    if (wish.withAnswers && wish.filter !== undefined) notes.push('answers are not shown where requests are filtered');
    return notes;
  }

  #olderOf(target: SnifferTarget, { transport, port }: Subscribe, notes: string[]): OlderConnection[] {
    if (transport !== Transport.TRANSPORT_TCP) return [];
    try {
      return olderConnections(target.namespaceFd, port);
    } catch (thrown) {
      notes.push(`connections that began before cannot be listed: ${AppError.from(thrown, 'BUG').message}`);
      return [];
    }
  }

  /** Asked for twice, the second finds nothing to close. */
  async #renew(id: number, { perSecond }: Renew): Promise<void> {
    const subscription = this.#subscriptions.get(id);
    const target = this.#target;
    if (subscription === undefined || target === null) return;
    const { port } = subscription.wish;
    const connections = this.#older.get(id) ?? [];
    this.#older.delete(id);
    const closed: OlderConnection[] = [];
    const { namespaceFd } = target;
    const { signal } = this.#closing;
    const onClosed = (connection: OlderConnection) => {
      if (closed.length < NAMED_PEERS) closed.push(connection);
      this.#logger.info({ port, peer: addressText(connection.peer) }, 'connection closed, for its peer to come again');
    };
    const result = await renewConnections({ namespaceFd, connections, perSecond, signal, onClosed });
    this.#logger.info({ port, ...result }, 'older connections renewed');
    if (!this.#subscriptions.has(id)) return;
    const peers = closed.map(({ peer }) => toSocketAddress(peer));
    const { closed: count, failed, reason } = result;
    const head = Renewed.encode({ connections: count, failed, reason, peers }).finish();
    this.#stream.send(makeFrame(id, FrameKind.FRAME_KIND_RENEWED, head));
  }

  #targetEnded(pid: number): void {
    this.#isTargetGone = true;
    this.#logger.info({ target: pid }, 'target ended');
    for (const subscription of this.#subscriptions.values()) subscription.targetGone();
    const head = SessionEvent.encode({ event: { $case: 'targetEnded', value: { pid } } }).finish();
    this.#stream.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_EVENT, head));
  }

  #refuse(id: number, error: AppError): void {
    if (error.code === 'BUG') this.#logger.error({ err: error }, 'request failed');
    const head = ErrorDetail.encode(toErrorDetail(error)).finish();
    this.#stream.send(makeFrame(id, FrameKind.FRAME_KIND_ERROR, head));
  }
}
