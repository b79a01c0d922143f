// One port of the target, subscribed to while any socket of the local process stands for it: asked for with the first,
// given back after the last. A listen waits until the agent has said yes or no.

import { AppError, fromErrorDetail } from '#proto/errors.ts';
import { type Frame, makeFrame } from '#proto/frame.ts';
import { ErrorDetail } from '#proto/gen/v1/error.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import {
  type ConflictPolicy,
  Counters,
  type HttpFilter,
  type HttpHandling,
  IncomingMode,
  type Loss,
  Renew,
  Renewed,
  Subscribe,
  Subscribed,
  type TlsIdentity,
} from '#proto/gen/v1/incoming.ts';
import { Transport } from '#proto/gen/v1/network.ts';
import { INCOMING_CONNECTION_BYTES, INCOMING_LIMIT_BYTES } from '#proto/incoming.ts';
import { decodeHead } from '#proto/session-stream.ts';
import type { ConnectionReceiver, NetworkSession } from '../session.ts';

export interface PortHandlers {
  onSubscribed(subscribed: Subscribed): void;
  /** Also of a subscription that was in force: the service came back and would not have it again. */
  onRefused(error: AppError): void;
  onLosses(counters: Counters): void;
  onEnded(counters: Counters): void;
  /** The service has not said in time what it was; these losses are known. It may say so later. */
  onUntold(losses: readonly Loss[]): void;
  /** What became of older connections that were asked to come again. */
  onRenewed?(renewed: Renewed): void;
}

export interface PortOptions extends PortHandlers {
  readonly session: NetworkSession;
  readonly port: number;
  /** Datagrams; else connections. */
  readonly isDatagram?: boolean;
  readonly mode: 'mirror' | 'steal';
  readonly filter: HttpFilter | undefined;
  /** Of a steal. */
  readonly onConflict?: ConflictPolicy;
  readonly withAnswers?: boolean;
  readonly withOlder?: boolean;
  /** Of a steal: who the stealer may be in TLS. */
  readonly tls?: TlsIdentity[];
  /** Of a steal. */
  readonly http?: HttpHandling | undefined;
  /** Connections that began before are closed, a few at a time, so that their peers come again. */
  readonly renewsOlder?: boolean;
}

/** As many local connections as a descriptor table of usual size holds. */
const MAX_CONNECTIONS = 16_384;
/** Of datagrams: each has a socket here, until it has been silent for a minute. */
const MAX_PEERS = 4_096;
/** Of the first answer; a listen that waits longer goes on, and is told of when the answer comes. */
const ANSWER_DEADLINE_MS = 12_000;
const END_DEADLINE_MS = 2_000;

export class PortSubscription implements ConnectionReceiver {
  readonly id: number;
  readonly port: number;
  readonly #options: PortOptions;
  #state: 'asked' | 'active' | 'ending' | 'over' = 'asked';
  #answered: ((error: AppError | null) => void)[] = [];
  #ended: (() => void)[] = [];
  readonly #late: NodeJS.Timeout;
  #hasRenewed = false;
  readonly #losses: Loss[] = [];

  constructor(options: PortOptions) {
    const {
      session,
      port,
      mode,
      filter,
      onConflict = 0,
      withAnswers = false,
      withOlder = false,
      isDatagram = false,
    } = options;
    this.#options = options;
    this.port = port;
    this.id = session.openConnection(this);
    const head = Subscribe.encode({
      mode: mode === 'steal' ? IncomingMode.INCOMING_MODE_STEAL : IncomingMode.INCOMING_MODE_MIRROR,
      transport: isDatagram ? Transport.TRANSPORT_UDP : Transport.TRANSPORT_TCP,
      port,
      filter,
      connectionBytes: INCOMING_CONNECTION_BYTES,
      limitBytes: INCOMING_LIMIT_BYTES,
      maxConnections: isDatagram ? MAX_PEERS : MAX_CONNECTIONS,
      samplePerMillion: 0,
      maxBytesPerSecond: 0n,
      withAnswers,
      withOlder,
      onConflict,
      flushConnections: false,
      isAgain: false,
      standing: undefined,
      tls: options.tls ?? [],
      http: options.http,
    }).finish();
    session.send(makeFrame(this.id, FrameKind.FRAME_KIND_SUBSCRIBE, head));
    this.#late = setTimeout(() => this.#settle(null), ANSWER_DEADLINE_MS);
    this.#late.unref();
  }

  get isOver(): boolean {
    return this.#state === 'over' || this.#state === 'ending';
  }

  /** Resolves when it is in force, or after a deadline; with the error when it was refused. */
  answered(): Promise<AppError | null> {
    if (this.#state === 'active') return Promise.resolve(null);
    return new Promise((resolve) => this.#answered.push(resolve));
  }

  /** Nothing more arrives. Resolves when the service has said what it was, or after a deadline. */
  async end(): Promise<void> {
    if (this.#state === 'over') return;
    if (this.#state !== 'ending') {
      this.#state = 'ending';
      this.#options.session.send(makeFrame(this.id, FrameKind.FRAME_KIND_UNSUBSCRIBE));
    }
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([
      new Promise<void>((resolve) => this.#ended.push(resolve)),
      new Promise<void>((resolve) => {
        timer = setTimeout(resolve, END_DEADLINE_MS);
      }),
    ]);
    clearTimeout(timer);
    // `receive` and `lost` come meanwhile.
    if ((this.#state as string) !== 'over') this.#options.onUntold(this.#losses);
  }

  receive(frame: Frame): void {
    switch (frame.kind) {
      case FrameKind.FRAME_KIND_SUBSCRIBED:
        if (this.#state === 'asked') this.#state = 'active';
        this.#subscribed(decodeHead(Subscribed.decode, frame.head));
        this.#settle(null);
        return;
      case FrameKind.FRAME_KIND_ERROR:
        this.#refused(fromErrorDetail(decodeHead(ErrorDetail.decode, frame.head)));
        return;
      case FrameKind.FRAME_KIND_LOSSES:
        this.#lose(decodeHead(Counters.decode, frame.head));
        return;
      case FrameKind.FRAME_KIND_UNSUBSCRIBED:
        this.#options.onEnded(decodeHead(Counters.decode, frame.head));
        this.#over();
        return;
      case FrameKind.FRAME_KIND_RENEWED:
        this.#options.onRenewed?.(decodeHead(Renewed.decode, frame.head));
        return;
      default:
        throw new AppError('PROTOCOL_VIOLATION', `frame of kind ${frame.kind} of subscription ${this.id}`);
    }
  }

  lost(error: AppError): void {
    if (this.#state === 'active' || this.#state === 'ending') this.#options.onUntold(this.#losses);
    this.#settle(error);
    this.#over();
  }

  #lose(counters: Counters): void {
    for (const { reason, connections, bytes, packets } of counters.losses) {
      const known = this.#losses.find((one) => one.reason === reason);
      if (known === undefined) this.#losses.push({ reason, connections, bytes, packets });
      else {
        known.connections += connections;
        known.bytes += bytes;
        known.packets += packets;
      }
    }
    this.#options.onLosses(counters);
  }

  #subscribed(subscribed: Subscribed): void {
    const { onSubscribed, renewsOlder = false, session } = this.#options;
    onSubscribed(subscribed);
    // Once: what a service that came back does not know has been seen from its beginning.
    if (!renewsOlder || this.#hasRenewed || subscribed.olderConnections === 0) return;
    this.#hasRenewed = true;
    session.send(makeFrame(this.id, FrameKind.FRAME_KIND_RENEW, Renew.encode({ perSecond: 0 }).finish()));
  }

  #refused(error: AppError): void {
    const isWanted = this.#state === 'asked' || this.#state === 'active';
    this.#over();
    if (isWanted) this.#options.onRefused(error);
    this.#settle(error);
  }

  #settle(error: AppError | null): void {
    clearTimeout(this.#late);
    for (const resolve of this.#answered.splice(0)) resolve(error);
  }

  #over(): void {
    this.#state = 'over';
    clearTimeout(this.#late);
    this.#options.session.closeConnection(this.id);
    for (const resolve of this.#ended.splice(0)) resolve();
  }
}
