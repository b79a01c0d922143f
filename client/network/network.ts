// Answers what the supervisor asks about connections of the local process, and carries them: each socket is a flow, by the
// id of the question that began it. Where a peer is reached is the policy's matter; how, the flow's.

import { CreditRoom } from '#proto/credits.ts';
import { ERRNO } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import { type Address, addressText, type InternetAddress, reachedAt } from '#proto/socket-address.ts';
import { type Descriptor, StreamSocket } from '#proto/sockets/stream-socket.ts';
import { WireError, type WireFrame, WireKind, WireTransport } from '#proto/wire.ts';
import { replyResult } from '#proto/wire-client.ts';
import {
  decodeNetRequest,
  flowDialing,
  replyConnected,
  replyFlowAddress,
  replyHere,
  type WireNetRequest,
} from '#proto/wire-net.ts';
import type { NetworkSession } from '../session.ts';
import { DatagramFlow, type DatagramResolver } from './datagram-flow.ts';
import { DelayedSession, type Latency } from './delayed-session.ts';
import { type Flow, type FlowHost, type FlowLink, socketErrno } from './flow.ts';
import type { OutgoingDecision } from './outgoing-filter.ts';
import { SocketFlow } from './socket-flow.ts';
import { SourceBook } from './source-book.ts';
import { StreamFlow } from './stream-flow.ts';
import type { StreamTap } from './stream-tap.ts';
import { Uplink } from './uplink.ts';

/** Where peers are reached: policy.ts has the one that the configuration asks for. */
export interface OutgoingPolicy {
  /** Rejects where a name of the filter could not be looked up. */
  decide(peer: Address, transport: WireTransport, pid: number): Promise<OutgoingDecision> | OutgoingDecision;
}

export interface NetworkResolver extends DatagramResolver {
  /** Watches answers over TCP of this server; null where it is none. */
  tap(peer: Address): StreamTap | null;
}

export interface NetworkOptions {
  readonly session: NetworkSession;
  readonly policy: OutgoingPolicy;
  /** null: names are looked up on this machine. */
  readonly resolver: NetworkResolver | null;
  /** A sentence for the user, once each. */
  readonly onTrouble: (error: AppError) => void;
  /** Streams are delayed by it; nothing: they are not. */
  readonly latency?: Latency;
}

type Connect = Extract<WireNetRequest, { kind: typeof WireKind.CONNECT }>;

/** What the agent gives a session; beyond it the dial fails as by a table of descriptors that is full. */
const MAX_FLOWS = 4_096;
/** Peers of one unconnected socket that were allowed, and texts that were told. Beyond, the oldest is forgotten. */
const MAX_REMEMBERED = 1_024;
/** For what the local process sent before its end: more than a slow line takes for a socket's buffer. */
const FINISH_MS = 5_000;

export class Network implements FlowHost {
  readonly creditRoom = new CreditRoom();
  readonly session: NetworkSession;
  readonly uplink: Uplink;
  readonly #options: NetworkOptions;
  readonly #flows = new Map<bigint, Flow>();
  /** CONNECTs whose place is being decided. The value: somebody still waits. */
  readonly #deciding = new Map<bigint, { isWanted: boolean }>();
  readonly #allowed = new Map<bigint, Set<string>>();
  readonly #told = new Set<string>();
  readonly #sources = new SourceBook();
  /** What streams use in place of the session, where they are delayed. */
  readonly #streams: DelayedSession | null;
  #link: FlowLink | null = null;
  #handsOver = false;
  /** Flows that lead nowhere, before their sockets are here, and those. */
  readonly #mocked = new Set<bigint>();
  readonly #ignored = Buffer.allocUnsafe(16 * 1024);
  readonly #swallowed = new Set<StreamSocket>();
  #onEmpty: (() => void) | null = null;
  #lostDatagrams = 0;

  constructor(options: NetworkOptions) {
    this.#options = options;
    this.session = options.session;
    this.uplink = new Uplink(options.session);
    this.#streams = options.latency === undefined ? null : new DelayedSession(options.session, options.latency);
  }

  /** Once, before the first frame. `handsOver`: streams come by `adopt`. */
  attach(link: FlowLink, handsOver = false): void {
    this.#link = link;
    this.#handsOver = handsOver;
  }

  /** The supervisor hands a flow's socket to us. */
  adopt(id: bigint, descriptor: Descriptor): void {
    const flow = this.#flows.get(id);
    if (flow instanceof SocketFlow) flow.adopt(descriptor);
    else if (this.#mocked.delete(id)) this.#swallow(descriptor);
    // Was given up meanwhile.
    else descriptor.close(false);
  }

  get link(): FlowLink {
    if (this.#link === null) throw new AppError('BUG', 'the network has no link');
    return this.#link;
  }

  get flows(): number {
    return this.#flows.size;
  }

  get lostDatagrams(): number {
    return this.#lostDatagrams;
  }

  ended(id: bigint): void {
    this.#flows.delete(id);
    this.#allowed.delete(id);
    if (this.#flows.size === 0) this.#onEmpty?.();
  }

  lost(datagrams: number): void {
    this.#lostDatagrams += datagrams;
  }

  learnSource(local: Address | null, peer: Address | null): void {
    this.#sources.learn(local, peer);
  }

  /** Refusals of the agent are for the user; what the target's kernel says is the local process's. */
  tell(error: AppError): void {
    if (error.code === 'CONNECTION_FAILED' || error.code === 'DEADLINE_EXCEEDED' || error.code === 'AGENT_LOST') return;
    if (this.#told.has(error.message)) return;
    if (this.#told.size >= MAX_REMEMBERED) this.#told.clear();
    this.#told.add(error.message);
    this.#options.onTrouble(error);
  }

  /** Throws WireError for what breaks the protocol. Frames of flows that are over are no fault. */
  receive(frame: WireFrame): void {
    if (frame.kind === WireKind.FLOW_DATA) {
      this.#flows.get(frame.id)?.receive(frame.body);
      return;
    }
    if (frame.kind === WireKind.CANCEL) {
      this.#cancel(frame.id);
      return;
    }
    const request = decodeNetRequest(frame.kind, frame.body);
    switch (request.kind) {
      case WireKind.CONNECT:
        this.#assertNew(frame.id);
        void this.#connect(frame.id, request);
        return;
      case WireKind.UDP_OPEN:
        this.#assertNew(frame.id);
        this.#openUnconnected(frame.id, request.family);
        return;
      case WireKind.UDP_PEER:
        void this.#decidePeer(frame.id, request.flow, request.peer);
        return;
      case WireKind.FLOW_ADDRESS:
        void this.#tellAddress(frame.id, request.flow);
        return;
      case WireKind.FLOW_CREDIT:
        this.#flows.get(frame.id)?.handedOn(request.bytes);
        return;
      case WireKind.FLOW_HALF_CLOSE:
        this.#flows.get(frame.id)?.halfClose();
        return;
      case WireKind.FLOW_RESET:
        this.#flows.get(frame.id)?.reset();
    }
  }

  /** Its socket was lost on its way to us. */
  giveUp(id: bigint): void {
    this.#flows.get(id)?.reset();
  }

  /** The link is closed: nobody is left to hear of any flow. What was sent before still goes out. */
  close(): void {
    for (const flow of [...this.#flows.values()]) flow.linkClosed();
    for (const one of this.#deciding.values()) one.isWanted = false;
    for (const socket of this.#swallowed) socket.close();
    this.#swallowed.clear();
  }

  /** After `close`: resolves when all of it is with the session, or after some seconds, when the rest is given up. */
  async finish(deadlineMs = FINISH_MS): Promise<void> {
    if (this.#flows.size > 0) {
      const { promise, resolve } = withResolvers();
      const timer = setTimeout(resolve, deadlineMs);
      this.#onEmpty = resolve;
      await promise;
      clearTimeout(timer);
    }
    this.abandon();
    await (this.#streams ?? this.session).drained();
  }

  /** All connections end now. */
  abandon(): void {
    for (const flow of [...this.#flows.values()]) flow.reset();
  }

  #assertNew(id: bigint): void {
    if (this.#flows.has(id) || this.#deciding.has(id)) throw new WireError(`flow ${id} was begun twice`);
  }

  #cancel(id: bigint): void {
    const deciding = this.#deciding.get(id);
    if (deciding !== undefined) deciding.isWanted = false;
    else this.#flows.get(id)?.reset();
  }

  async #connect(id: bigint, question: Connect): Promise<void> {
    const { peer, transport, pid } = question;
    const state = { isWanted: true };
    this.#deciding.set(id, state);
    try {
      const decision = await this.#options.policy.decide(peer, transport, pid);
      this.#deciding.delete(id);
      if (!state.isWanted) this.link.send(replyResult(id, -ERRNO.EINTR));
      else if (decision.where === 'local') this.link.send(replyHere(id, decision.localAddress ?? null));
      else if (decision.where === 'refuse') this.link.send(replyResult(id, -(decision.errno ?? ERRNO.EACCES)));
      else if (decision.where === 'mock') this.#mock(id, peer);
      else this.#connectRemote(id, question);
    } catch (thrown) {
      this.#deciding.delete(id);
      const error = AppError.from(thrown, 'BUG');
      this.tell(error);
      this.link.send(replyResult(id, -socketErrno(error)));
    }
  }

  #connectRemote(id: bigint, { peer, transport, isNonBlocking }: Connect): void {
    const refusal = this.#refusal();
    if (refusal !== 0) this.link.send(replyResult(id, -refusal));
    else if (transport === WireTransport.UDP) this.#connectDatagram(id, peer);
    else {
      // From here on the dial decides: the program may go on while it takes its time.
      if (isNonBlocking) this.link.send(flowDialing(id));
      const tap = this.#options.resolver?.tap(peer) ?? null;
      const canBeHanded = transport === WireTransport.TCP || transport === WireTransport.UNIX_STREAM;
      const Kind = this.#handsOver && canBeHanded ? SocketFlow : StreamFlow;
      this.#flows.set(id, new Kind(id, this.#hostOfStreams(), transport, peer, tap));
    }
  }

  #hostOfStreams(): FlowHost {
    if (this.#streams === null) return this;
    return {
      link: this.link,
      session: this.#streams,
      uplink: this.uplink,
      creditRoom: this.creditRoom,
      ended: (id) => this.ended(id),
      tell: (error) => this.tell(error),
      lost: (datagrams) => this.lost(datagrams),
      learnSource: (local, peer) => this.learnSource(local, peer),
    };
  }

  #mock(id: bigint, peer: Address): void {
    const [oldest] = this.#mocked;
    if (this.#mocked.size >= MAX_REMEMBERED && oldest !== undefined) this.#mocked.delete(oldest);
    if (this.#handsOver) this.#mocked.add(id);
    this.link.send(replyConnected(id, peer, peer));
  }

  #swallow(descriptor: Descriptor): void {
    const over = () => {
      socket.close();
      this.#swallowed.delete(socket);
    };
    const socket: StreamSocket = new StreamSocket(descriptor, {
      room: () => this.#ignored,
      onBytes: () => undefined,
      onTaken: () => undefined,
      onReadEnd: over,
      onFailed: over,
    });
    this.#swallowed.add(socket);
    socket.resume();
  }

  #refusal(): number {
    if (this.session.lost !== null) return ERRNO.ENETDOWN;
    return this.#flows.size >= MAX_FLOWS ? ERRNO.EMFILE : 0;
  }

  /** Answered at once where the target has reached such a peer before; else when its kernel has said yes or no. */
  #connectDatagram(id: bigint, asked: Address): void {
    if (asked.kind !== 'internet') {
      this.link.send(replyResult(id, -ERRNO.EAFNOSUPPORT));
      return;
    }
    const peer = reachedAt(asked);
    const isNameServer = this.#options.resolver?.serves(peer) === true;
    const errno = isNameServer ? 0 : this.#sources.unreachable(peer);
    if (errno !== 0) {
      this.link.send(replyResult(id, -errno));
      return;
    }
    const guess = this.#sources.guess(peer, id);
    const isProbed = isNameServer || guess !== null;
    const flow = new DatagramFlow(id, this, {
      peer,
      family: peer.ip.length === 4 ? 4 : 6,
      resolver: isNameServer ? this.#options.resolver : null,
      mayReach: () => true,
      guessLocal: () => (isProbed ? this.#sources.guess(peer, id) : null),
      isProbe: !isProbed,
    });
    this.#flows.set(id, flow);
    if (isProbed) this.link.send(replyConnected(id, null, peer));
    else void this.#answerProbe(id, flow, peer);
  }

  async #answerProbe(id: bigint, flow: DatagramFlow, peer: InternetAddress): Promise<void> {
    try {
      const local = await flow.localAddress();
      flow.isProbe = false;
      this.link.send(replyConnected(id, local, peer));
    } catch (thrown) {
      const errno = socketErrno(AppError.from(thrown, 'BUG'));
      if (errno === ERRNO.ENETUNREACH || errno === ERRNO.EADDRNOTAVAIL) this.#sources.learnUnreachable(peer, errno);
      this.link.send(replyResult(id, -errno));
    }
  }

  #openUnconnected(id: bigint, family: 4 | 6): void {
    const refusal = this.#refusal();
    if (refusal !== 0) {
      this.link.send(replyResult(id, -refusal));
      return;
    }
    const allowed = new Set<string>();
    this.#allowed.set(id, allowed);
    const flow = new DatagramFlow(id, this, {
      peer: null,
      family,
      resolver: this.#options.resolver,
      mayReach: (peer) => allowed.has(addressText(peer)),
      guessLocal: null,
      isProbe: false,
    });
    this.#flows.set(id, flow);
    this.link.send(replyConnected(id, null, null));
  }

  async #decidePeer(id: bigint, flow: bigint, peer: Address): Promise<void> {
    try {
      const decision = await this.#options.policy.decide(peer, WireTransport.UDP, 0);
      const allowed = this.#allowed.get(flow);
      if (decision.where === 'local') this.link.send(replyHere(id, decision.localAddress ?? null));
      else if (decision.where === 'refuse') this.link.send(replyResult(id, -(decision.errno ?? ERRNO.EACCES)));
      else if (allowed === undefined) this.link.send(replyResult(id, -ERRNO.ENETDOWN));
      else {
        const [oldest] = allowed;
        if (allowed.size >= MAX_REMEMBERED && oldest !== undefined) allowed.delete(oldest);
        allowed.add(addressText(peer));
        this.link.send(replyResult(id, 0));
      }
    } catch (thrown) {
      const error = AppError.from(thrown, 'BUG');
      this.tell(error);
      this.link.send(replyResult(id, -socketErrno(error)));
    }
  }

  async #tellAddress(id: bigint, flowId: bigint): Promise<void> {
    try {
      const flow = this.#flows.get(flowId);
      if (flow === undefined) this.link.send(replyResult(id, -ERRNO.ENOTCONN));
      else this.link.send(replyFlowAddress(id, await flow.localAddress()));
    } catch (thrown) {
      this.link.send(replyResult(id, -socketErrno(AppError.from(thrown, 'BUG'))));
    }
  }
}

function withResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve: () => void = () => undefined;
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
