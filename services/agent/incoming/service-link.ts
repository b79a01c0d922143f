// One session's stream to one service of incoming traffic: subscriptions and connections between the client and sniffer or
// stealer, heads and data unread. When the service is lost its connections end, and its subscriptions are told to it anew
// when it is there again.
//
// Buffers: the head of each subscription, of which there are MAX_SUBSCRIPTIONS; frames are passed on while the other side
// takes them, and their credit is held back until it does.

import { type DialOptions, dial } from '#proto/dial.ts';
import { AppError } from '#proto/errors.ts';
import { type Frame, makeFrame } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { AttachTarget } from '#proto/gen/v1/fs_env.ts';
import { IncomingFacts } from '#proto/gen/v1/incoming.ts';
import { type IncomingService, incomingServiceOf } from '#proto/incoming.ts';
import { backPressure, errorFrame, lostFrames, MAX_SUBSCRIPTIONS, uncountedFrame } from '#proto/incoming-frames.ts';
import { LEASE_TIMES } from '#proto/liveness.ts';
import { decodeHead, type SessionStream } from '#proto/session-stream.ts';

export interface ServiceLinkOptions {
  service: IncomingService;
  attach: AttachTarget;
  client: Pick<SessionStream, 'send' | 'drained' | 'bufferedBytes'>;
  /** Where it serves; starts it where that is ours to do. Rejects with SERVICE_UNAVAILABLE. */
  find(service: IncomingService): Promise<string>;
  mintToken(): { token: string; proof: string };
  onAttached(service: IncomingService, facts: IncomingFacts): void;
  /** Its connections have ended by then. */
  onLost(service: IncomingService, error: AppError): void;
  /** The subscriptions have been told to it anew. */
  onBack(service: IncomingService): void;
}

interface Subscription {
  /** As the client sent it. */
  readonly head: Uint8Array;
  isActive: boolean;
  isEnding: boolean;
}

const ATTACH_DEADLINE_MS = 10_000;
const RETRY_MS = 500;
/** Subscribe.is_again (field 14) set to true: appended to a head, it is part of the message. */
const IS_AGAIN = Uint8Array.of(14 << 3, 1);

const SERVICE_NAMES = { sniffer: 'Sniffer', stealer: 'Stealer' } as const;

export class ServiceLink {
  readonly #options: ServiceLinkOptions;
  readonly #subscriptions = new Map<number, Subscription>();
  readonly #connections = new Set<number>();
  #stream: SessionStream | null = null;
  #settleFacts: { resolve: (facts: IncomingFacts) => void; reject: (error: AppError) => void } | null = null;
  #state: 'idle' | 'attaching' | 'attached' | 'closed' = 'idle';
  #retry: NodeJS.Timeout | undefined;
  #isSuspended = false;
  /** While it was attached: before its first word, or right behind it. */
  #endedEarly: AppError | null = null;

  constructor(options: ServiceLinkOptions) {
    this.#options = options;
  }

  has(subscription: number): boolean {
    return this.#subscriptions.has(subscription);
  }

  subscribe(frame: Frame): void {
    if (this.#subscriptions.size >= MAX_SUBSCRIPTIONS) {
      this.#answer(frame.id, new AppError('LIMIT_REACHED', `${MAX_SUBSCRIPTIONS} subscriptions are the most allowed`));
      return;
    }
    this.#subscriptions.set(frame.id, { head: Uint8Array.from(frame.head), isActive: false, isEnding: false });
    if (this.#state === 'attached') this.#stream?.send(frame);
    else if (this.#state === 'idle') void this.#attach();
  }

  /** UNSUBSCRIBE, RENEW, and everything of a connection. */
  forward(frame: Frame): void | Promise<void> {
    if (frame.kind === FrameKind.FRAME_KIND_UNSUBSCRIBE) this.#unsubscribe(frame);
    else if (this.#state === 'attached' && (this.#connections.has(frame.id) || this.#subscriptions.has(frame.id))) {
      this.#stream?.send(frame);
    }
    return backPressure(this.#stream);
  }

  /** As if the service were lost, until `resume`: it gives back what it holds for this session. */
  suspend(): void {
    this.#isSuspended = true;
    clearTimeout(this.#retry);
    this.#stream?.destroy(new AppError('AGENT_LOST', 'the client is not there'));
  }

  resume(): void {
    this.#isSuspended = false;
    if (this.#state === 'idle' && this.#subscriptions.size > 0) void this.#attach();
  }

  /** Cut: the service ends everything of a session whose stream ends. */
  close(): void {
    this.#state = 'closed';
    clearTimeout(this.#retry);
    this.#stream?.destroy();
    this.#stream = null;
    for (const id of [...this.#subscriptions.keys()]) this.#forget(id);
  }

  /** What was asked for may hold keys. */
  #forget(id: number): void {
    this.#subscriptions.get(id)?.head.fill(0);
    this.#subscriptions.delete(id);
  }

  #unsubscribe(frame: Frame): void {
    const subscription = this.#subscriptions.get(frame.id);
    if (subscription === undefined) return;
    subscription.isEnding = true;
    if (this.#state === 'attached') this.#stream?.send(frame);
    else this.#endUncounted(frame.id);
  }

  #endUncounted(id: number): void {
    this.#forget(id);
    this.#options.client.send(uncountedFrame(id));
  }

  async #attach(): Promise<void> {
    this.#state = 'attaching';
    const isAgain = [...this.#subscriptions.values()].some(({ isActive }) => isActive);
    try {
      this.#endedEarly = null;
      const facts = await this.#dial();
      if (this.#isClosed()) return;
      if (this.#endedEarly !== null) throw this.#endedEarly;
      this.#state = 'attached';
      if (this.#isSuspended) {
        this.suspend();
        return;
      }
      this.#options.onAttached(this.#options.service, facts);
      for (const [id, { head, isActive }] of this.#subscriptions) {
        const again = isActive ? Buffer.concat([head, IS_AGAIN]) : head;
        this.#stream?.send(makeFrame(id, FrameKind.FRAME_KIND_SUBSCRIBE, again));
      }
      if (isAgain) this.#options.onBack(this.#options.service);
    } catch (thrown) {
      this.#attachFailed(AppError.from(thrown, 'BUG'));
    }
  }

  async #dial(): Promise<IncomingFacts> {
    const { service, attach } = this.#options;
    const address = await this.#options.find(service);
    if (this.#isClosed()) throw new AppError('CANCELLED', 'the session is over');
    const facts = new Promise<IncomingFacts>((resolve, reject) => {
      this.#settleFacts = { resolve, reject };
    });
    facts.catch(() => undefined);
    const options: DialOptions = {
      address,
      service: SERVICE_NAMES[service],
      ...this.#options.mintToken(),
      deadlineMs: ATTACH_DEADLINE_MS,
      opening: makeFrame(0, FrameKind.FRAME_KIND_SESSION_OPEN, AttachTarget.encode(attach).finish()),
      ...(service === 'stealer' ? { liveness: LEASE_TIMES } : {}),
      onFrame: (frame) => this.#receive(frame),
      onClosed: (error) => this.#streamClosed(error),
    };
    this.#stream = await dial(options);
    const late = setTimeout(() => {
      this.#stream?.destroy(new AppError('DEADLINE_EXCEEDED', `the ${service} took over ${ATTACH_DEADLINE_MS} ms`));
    }, ATTACH_DEADLINE_MS);
    try {
      return await facts;
    } finally {
      clearTimeout(late);
      this.#settleFacts = null;
      // Closed while the dial was under way.
      if (this.#isClosed()) this.#stream?.destroy();
    }
  }

  #isClosed(): boolean {
    return this.#state === 'closed';
  }

  /** What was never in force is refused; what was is tried again, for as long as the session lives. */
  #attachFailed(error: AppError): void {
    this.#stream = null;
    if (this.#isClosed()) return;
    this.#state = 'idle';
    for (const [id, { isActive, isEnding }] of [...this.#subscriptions]) {
      if (isEnding) this.#endUncounted(id);
      else if (!isActive) {
        this.#forget(id);
        this.#answer(id, error);
      }
    }
    this.#retryLater();
  }

  #retryLater(): void {
    clearTimeout(this.#retry);
    if (this.#subscriptions.size === 0 || this.#isSuspended) return;
    this.#retry = setTimeout(() => {
      if (this.#state === 'idle' && this.#subscriptions.size > 0) void this.#attach();
    }, RETRY_MS);
  }

  #streamClosed(error: AppError | null): void {
    const { service } = this.#options;
    const reason = error ?? new AppError('SERVICE_UNAVAILABLE', `the ${service} has ended`);
    if (this.#state === 'attaching') {
      this.#endedEarly = reason;
      this.#settleFacts?.reject(reason);
      return;
    }
    if (this.#state !== 'attached') return;
    this.#state = 'idle';
    this.#stream = null;
    this.#endConnections(reason);
    for (const [id, { isEnding }] of [...this.#subscriptions]) if (isEnding) this.#endUncounted(id);
    this.#options.onLost(service, asUnavailable(service, reason));
    this.#retryLater();
  }

  #endConnections(error: AppError): void {
    const ends = lostFrames(this.#connections, error);
    this.#connections.clear();
    for (const end of ends) this.#options.client.send(end);
  }

  #receive(frame: Frame): void | Promise<void> {
    const { client } = this.#options;
    switch (frame.kind) {
      case FrameKind.FRAME_KIND_SESSION_OPENED:
        this.#settleFacts?.resolve(decodeHead(IncomingFacts.decode, frame.head));
        return undefined;
      case FrameKind.FRAME_KIND_SUBSCRIBED:
      case FrameKind.FRAME_KIND_ERROR:
      case FrameKind.FRAME_KIND_UNSUBSCRIBED:
      case FrameKind.FRAME_KIND_LOSSES:
      case FrameKind.FRAME_KIND_RENEWED:
        if (this.#noteSubscription(frame)) client.send(frame);
        return undefined;
      case FrameKind.FRAME_KIND_ARRIVED:
        this.#noteArrival(frame.id);
        break;
      case FrameKind.FRAME_KIND_DATA:
      case FrameKind.FRAME_KIND_GAP:
      case FrameKind.FRAME_KIND_HALF_CLOSE:
      case FrameKind.FRAME_KIND_ANSWER:
      case FrameKind.FRAME_KIND_CREDIT:
        if (!this.#connections.has(frame.id)) throw unknownConnection(this.#options.service, frame);
        break;
      case FrameKind.FRAME_KIND_ENDED:
        if (!this.#connections.delete(frame.id)) throw unknownConnection(this.#options.service, frame);
        break;
      case FrameKind.FRAME_KIND_SESSION_EVENT:
      case FrameKind.FRAME_KIND_SESSION_CLOSED:
        return undefined;
      default:
        throw new AppError('PROTOCOL_VIOLATION', `frame of kind ${frame.kind} from the ${this.#options.service}`);
    }
    client.send(frame);
    return backPressure(client);
  }

  /** False for a subscription that has ended. */
  #noteSubscription({ id, kind }: Frame): boolean {
    const subscription = this.#subscriptions.get(id);
    if (subscription === undefined) return false;
    if (kind === FrameKind.FRAME_KIND_SUBSCRIBED) subscription.isActive = true;
    const isOver = kind === FrameKind.FRAME_KIND_ERROR || kind === FrameKind.FRAME_KIND_UNSUBSCRIBED;
    if (isOver) this.#forget(id);
    return true;
  }

  #noteArrival(id: number): void {
    const { service } = this.#options;
    if (incomingServiceOf(id) !== service || this.#connections.has(id)) {
      throw new AppError('PROTOCOL_VIOLATION', `the ${service} opens connection ${id}, which is not free for it`);
    }
    this.#connections.add(id);
  }

  #answer(id: number, error: AppError): void {
    this.#options.client.send(errorFrame(id, error));
  }
}

function unknownConnection(service: string, { id, kind }: Frame): AppError {
  return new AppError(
    'PROTOCOL_VIOLATION',
    `frame of kind ${kind} of connection ${id}, which the ${service} never opened`,
  );
}

function asUnavailable(service: string, cause: AppError): AppError {
  if (cause.code === 'SERVICE_UNAVAILABLE') return cause;
  return new AppError('SERVICE_UNAVAILABLE', `the ${service} is lost: ${cause.message}`, { cause });
}
