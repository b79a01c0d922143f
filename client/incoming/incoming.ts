// Connections that arrive at the target, for the local process: its sockets that listen become subscriptions, and each
// connection of those is made once more, here, to the socket itself. The layer is told before who it stands for.

import { AppError, toErrorDetail } from '#proto/errors.ts';
import { type Frame, makeFrame } from '#proto/frame.ts';
import { ErrorDetail } from '#proto/gen/v1/error.ts';
import { Credit, FrameKind } from '#proto/gen/v1/frame.ts';
import { Arrived, Ended, EndReason, Gap, HalfClosed, LossReason } from '#proto/gen/v1/incoming.ts';
import { INCOMING_CONNECTION_BYTES } from '#proto/incoming.ts';
import { decodeHead } from '#proto/session-stream.ts';
import { type Address, type InternetAddress, internet, isUnspecified } from '#proto/socket-address.ts';
import { WireError, type WireFrame, WireKind, WireTransport } from '#proto/wire.ts';
import { replyResult } from '#proto/wire-client.ts';
import { decodeIncomingRequest, replyBind, replyOwn, type WireIncomingRequest } from '#proto/wire-incoming.ts';
import type { NetworkSession } from '../session.ts';
import { AnsweringPorts } from './answering.ts';
import { Answers } from './answers.ts';
import type { Arrival } from './arrival.ts';
import { Copy, LINGER_MS } from './copy.ts';
import { DatagramCopy } from './datagram-copy.ts';
import { Delivery, type Place } from './delivery.ts';
import { renewedLines, waitingText } from './older-text.ts';
import type { PortPolicy } from './port-policy.ts';
import { PortSubscription } from './port-subscription.ts';
import { type LocalLoss, type PortName, reasonText, Tally } from './tally.ts';
import type { IncomingTls } from './tls-files.ts';
import { UnreadBytes } from './unread-bytes.ts';

export interface IncomingLink {
  send(pieces: Buffer[]): void;
}

export interface IncomingOptions {
  readonly session: NetworkSession;
  readonly policy: PortPolicy;
  /** A sentence for the user. */
  readonly onNews: (text: string) => void;
  readonly onTrouble: (text: string) => void;
  readonly onPort?: ((port: number, lease: string) => void) | undefined;
  readonly seed?: number;
  /** Of a steal. */
  readonly tls?: IncomingTls | null;
}

type Listen = Extract<WireIncomingRequest, { kind: typeof WireKind.LISTEN }>;

/** A socket of the local process that stands for a port of the target. */
interface Listener {
  readonly isDatagram: boolean;
  readonly asked: InternetAddress;
  readonly actual: InternetAddress;
  readonly isV6Only: boolean;
  readonly port: number;
}

interface Connection {
  readonly port: PortName;
  readonly copy: Arrival;
  readonly answers: Answers | undefined;
}

/** Bytes that wait for the local process; a connection that arrives beyond it is not copied. */
const MAX_HELD_BYTES = 128 * 1024 * 1024;
const LOOPBACK = { 4: Buffer.from([127, 0, 0, 1]), 6: Buffer.from('00000000000000000000000000000001', 'hex') };

export class Incoming {
  readonly tally: Tally;
  readonly #options: IncomingOptions;
  readonly #delivery: Delivery;
  readonly #unread = new UnreadBytes(LINGER_MS);
  readonly #listeners = new Map<bigint, Listener>();
  readonly #ports = new Map<PortName, PortSubscription>();
  /** Also those that were given up: their connections may go on. */
  readonly #portOfSubscription = new Map<number, PortName>();
  readonly #connections = new Map<number, Connection>();
  readonly #copies = new Set<Arrival>();
  readonly #answering = new AnsweringPorts();
  /** Of all copies, also of those whose original has ended. */
  #heldBytes = 0;
  #link: IncomingLink | null = null;
  #isClosed = false;
  #finished: Promise<void> | null = null;

  constructor(options: IncomingOptions) {
    this.#options = options;
    this.tally = new Tally(options.policy.isSteal ? 'stolen' : 'mirrored');
    this.#delivery = new Delivery({
      seed: options.seed ?? process.pid,
      send: (pieces) => this.#send(pieces),
      placeOf: (port, local) => this.#placeOf(port, local),
      onTrouble: options.onTrouble,
    });
  }

  attach(link: IncomingLink): void {
    this.#link = link;
  }

  get connections(): number {
    return this.#copies.size;
  }

  /** Where a socket that asked for this port is reached here, when it has another one. */
  movedListener(port: number): InternetAddress | null {
    for (const listener of this.#listeners.values()) {
      if (!listener.isDatagram && listener.asked.port === port && listener.actual.port !== port)
        return reachable(listener);
    }
    return null;
  }

  /** Of the supervisor. Throws WireError for what breaks the protocol. */
  receive(frame: WireFrame): void {
    const request = decodeIncomingRequest(frame.kind, frame.body);
    switch (request.kind) {
      case WireKind.BIND:
        this.#bind(frame.id, assertInternet(request.asked), request.transport === WireTransport.UDP);
        return;
      case WireKind.LISTEN:
        void this.#listen(frame.id, request);
        return;
      case WireKind.LISTEN_CLOSED:
        this.#listenerClosed(request.listener);
        return;
      case WireKind.ARRIVAL_KNOWN:
        this.#delivery.known(frame.id);
    }
  }

  /** Of the agent: frames of connections that arrived. */
  receiveFrame(frame: Frame): void {
    if (frame.kind === FrameKind.FRAME_KIND_ARRIVED) {
      this.#arrived(frame);
      return;
    }
    const connection = this.#connections.get(frame.id);
    switch (frame.kind) {
      case FrameKind.FRAME_KIND_DATA:
        connection?.copy.receive(frame.data);
        return;
      case FrameKind.FRAME_KIND_HALF_CLOSE:
        connection?.copy.halfClose(decodeHead(HalfClosed.decode, frame.head).isUnanswered);
        return;
      case FrameKind.FRAME_KIND_GAP:
        if (!decodeHead(Gap.decode, frame.head).isAnswer) connection?.copy.cut();
        return;
      case FrameKind.FRAME_KIND_ENDED:
        this.#connections.delete(frame.id);
        if (connection !== undefined) this.#ended(connection, decodeHead(Ended.decode, frame.head));
        return;
      case FrameKind.FRAME_KIND_CREDIT:
        connection?.answers?.grant(decodeHead(Credit.decode, frame.head).bytes);
        return;
      case FrameKind.FRAME_KIND_ANSWER:
        return;
      default:
        throw new AppError('PROTOCOL_VIOLATION', `frame of kind ${frame.kind} of connection ${frame.id}`);
    }
  }

  /** Another target has taken the place of ours: what came from that one is over, and its ports are asked for here too. */
  moved(): void {
    const former = [...this.#connections.values()];
    this.#connections.clear();
    for (const { copy } of former) copy.close();
    this.#ports.clear();
    for (const listener of this.#listeners.values()) this.#subscribed(nameOf(listener));
  }

  /** Nobody is left who listens, or whom they could be asked by: what is open is cut, and what it was is asked for, for a moment. */
  finish(): Promise<void> {
    this.#finished ??= this.#finish();
    return this.#finished;
  }

  async #finish(): Promise<void> {
    this.close();
    await Promise.all([...this.#ports.values()].map((subscription) => subscription.end()));
    this.#ports.clear();
  }

  /** What is open is cut, and nothing more is taken. */
  close(): void {
    this.#isClosed = true;
    this.#options.tls?.forget();
    this.#delivery.forget();
    for (const [id, { copy }] of this.#connections) if (!copy.isClosed) this.#reset(id);
    for (const copy of [...this.#copies]) copy.close();
  }

  #bind(id: bigint, asked: InternetAddress, isDatagram: boolean): void {
    const { policy } = this.#options;
    if (policy.targetPort(asked) === null || (isDatagram && policy.isSteal)) {
      this.#send(replyOwn(id));
      return;
    }
    const port = policy.listenPort(asked);
    this.#send(replyBind(id, port === null ? null : internet(asked.ip, port, asked.scopeId)));
  }

  async #listen(id: bigint, request: Listen): Promise<void> {
    const asked = assertInternet(request.asked);
    const actual = assertInternet(request.actual);
    const { policy, session } = this.#options;
    const port = policy.targetPort(asked);
    if (port === null || session.lost !== null || this.#isClosed) {
      this.#send(replyOwn(id));
      return;
    }
    const isDatagram = request.transport === WireTransport.UDP;
    const listener = { asked, actual, isV6Only: request.isV6Only, port, isDatagram };
    this.#listeners.set(request.listener, listener);
    if (actual.port !== asked.port) {
      this.#options.onNews(`port ${asked.port} of the local process is ${actual.port} on this machine`);
    }
    const error = await this.#subscribed(nameOf(listener)).answered();
    if (error === null) {
      this.#send(replyResult(id, 0));
      return;
    }
    this.#listeners.delete(request.listener);
    this.#send(policy.isSteal ? replyResult(id, -error.localErrno) : replyOwn(id));
  }

  #subscribed(name: PortName): PortSubscription {
    const existing = this.#ports.get(name);
    if (existing !== undefined && !existing.isOver) return existing;
    const { session, policy, onTrouble, onNews, onPort } = this.#options;
    const port = Number.parseInt(String(name), 10);
    const isDatagram = name !== port;
    let wasTold = false;
    const told = new Set<LossReason>();
    const subscription: PortSubscription = new PortSubscription({
      session,
      port,
      isDatagram,
      mode: policy.isSteal ? 'steal' : 'mirror',
      // Only requests can match.
      filter: isDatagram ? undefined : policy.filterFor(port),
      onConflict: policy.onConflict,
      http: policy.httpHandling,
      renewsOlder: policy.renewsOlder,
      tls: isDatagram ? [] : (this.#options.tls?.identitiesFor(port) ?? []),
      onSubscribed: (subscribed) => {
        if (!isDatagram) onPort?.(port, subscribed.lease);
        if (wasTold) return;
        wasTold = true;
        onNews(`${policy.isSteal ? 'stealing' : 'mirroring'} port ${name}${waitingText(subscribed)}`);
        for (const note of subscribed.notes) onTrouble(`port ${name}: ${note}`);
      },
      onRefused: (error) => {
        if (this.#ports.get(name) === subscription) this.#ports.delete(name);
        onTrouble(`port ${name} is not ${policy.isSteal ? 'stolen' : 'mirrored'}: ${error.message}`);
      },
      onLosses: ({ losses }) => {
        for (const { reason } of losses) {
          if (told.has(reason)) continue;
          told.add(reason);
          onTrouble(`port ${name} loses some of what arrives: ${reasonText(reason)}; how much is told at the end`);
        }
      },
      onEnded: (counters) => this.tally.ended(name, subscription.id, counters),
      onUntold: (losses) => this.tally.untold(name, subscription.id, losses),
      onRenewed: (renewed) => {
        for (const line of renewedLines(port, renewed)) onNews(line);
      },
    });
    this.#ports.set(name, subscription);
    this.#portOfSubscription.set(subscription.id, name);
    return subscription;
  }

  #listenerClosed(id: bigint): void {
    const listener = this.#listeners.get(id);
    if (listener === undefined) return;
    this.#listeners.delete(id);
    const name = nameOf(listener);
    for (const other of this.#listeners.values()) if (nameOf(other) === name) return;
    const subscription = this.#ports.get(name);
    this.#ports.delete(name);
    void subscription?.end();
  }

  #arrived(frame: Frame): void {
    const arrived = decodeHead(Arrived.decode, frame.head);
    const port = this.#portOfSubscription.get(arrived.subscription);
    if (port === undefined || this.#connections.has(frame.id)) {
      throw new AppError('PROTOCOL_VIOLATION', `connection ${frame.id} arrived for ${arrived.subscription}`);
    }
    this.tally.arrived(port);
    const isDatagram = typeof port !== 'number';
    const answers = this.#options.policy.isSteal
      ? new Answers(
          frame.id,
          arrived.creditBytes,
          (answer) => {
            if (this.#connections.get(frame.id)?.copy === copy) this.#options.session.send(answer);
          },
          () => (arrived.isForRequests && copy instanceof Copy ? copy.localEnd : undefined),
        )
      : undefined;
    const common = {
      connectionBytes: INCOMING_CONNECTION_BYTES,
      grant: (bytes: number) => this.#grant(frame.id, copy, bytes),
      reset: (errno: number) => {
        if (this.#connections.get(frame.id)?.copy === copy) this.#reset(frame.id, errno);
      },
      delivered: (bytes: number) => {
        if (isDatagram) this.tally.datagram(port, bytes);
        else this.tally.delivered(port, bytes);
      },
      lost: (why: LocalLoss, bytes: number) => this.tally.lostHere(port, why, bytes),
      onClosed: () => this.#copies.delete(copy),
    };
    const streams = {
      holds: (bytes: number) => {
        this.#heldBytes += bytes;
      },
      unread: this.#unread,
      answering: this.#answering.of(port),
      again: () => this.#delivery.bring(copy, port, arrived),
    };
    const secure = arrived.tls === undefined ? null : this.#options.tls?.secureFor(Number(port), arrived.tls);
    const copy: Arrival = isDatagram
      ? new DatagramCopy(common)
      : new Copy({
          ...common,
          ...streams,
          answers,
          isForRequests: arrived.isForRequests,
          mayBeHttp2: answers === undefined,
          secure: secure ?? null,
        });
    this.#connections.set(frame.id, { port, copy, answers });
    this.#copies.add(copy);
    if (!isDatagram) copy.receive(frame.data);
    if (this.#heldBytes > MAX_HELD_BYTES && !this.#options.policy.isSteal) {
      copy.refuse('too much');
      return;
    }
    this.#delivery.bring(copy, port, arrived);
  }

  #placeOf(port: PortName, local: InternetAddress): Place | null {
    // The newest socket is the one that a reloading server means; servers have one for each family, too.
    const all = [...this.#listeners.values()].filter((one) => nameOf(one) === port);
    const listener = all.findLast((one) => hears(one, local)) ?? all.at(-1);
    if (listener === undefined || this.#isClosed) return null;
    return { to: reachable(listener), askedPort: listener.asked.port };
  }

  #ended({ port, copy, answers }: Connection, { reason, isUnanswered }: Ended): void {
    if (reason === EndReason.END_REASON_SERVICE_LOST) {
      this.tally.lostAt(port, LossReason.LOSS_REASON_SERVICE_LOST, 1);
    }
    copy.end(answers === undefined && reason === EndReason.END_REASON_PEER_RESET, isUnanswered);
  }

  #grant(id: number, copy: Arrival, bytes: number): void {
    if (this.#connections.get(id)?.copy !== copy) return;
    const head = Credit.encode({ bytes }).finish();
    this.#options.session.send(makeFrame(id, FrameKind.FRAME_KIND_CREDIT, head));
  }

  #reset(id: number, errno = 0): void {
    const error = new AppError('CONNECTION_FAILED', 'the local process was not reached', { errno });
    const head = errno === 0 ? undefined : ErrorDetail.encode(toErrorDetail(error)).finish();
    this.#options.session.send(makeFrame(id, FrameKind.FRAME_KIND_RESET, head));
  }

  #send(pieces: Buffer[]): void {
    this.#link?.send(pieces);
  }
}

function assertInternet(address: Address): InternetAddress {
  if (address.kind === 'internet') return address;
  throw new WireError('a socket that listens at no internet address');
}

function nameOf({ port, isDatagram }: Listener): PortName {
  return isDatagram ? `${port}/udp` : port;
}

/** Whether the target's own kernel would give such a socket what comes to an address of this family. */
function hears({ asked, isV6Only }: Listener, local: InternetAddress): boolean {
  return asked.ip.length === local.ip.length || (local.ip.length === 4 && isUnspecified(asked.ip) && !isV6Only);
}

/** Where a socket of this machine is reached from this machine. */
function reachable({ actual, isV6Only }: Listener): InternetAddress {
  if (!isUnspecified(actual.ip)) return actual;
  return internet(LOOPBACK[actual.ip.length === 16 && isV6Only ? 6 : 4], actual.port);
}
