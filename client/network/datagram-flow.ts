// A datagram socket of the local process: connected to one peer, or sending to several. Its socket in the target is opened
// when there is something to send, and again after it has idled away: a probe that connects and never sends costs nothing.
// What is sent to a name server goes to the DNS relay instead.
//
// Between supervisor and client datagrams are under no credit: what does not fit is lost, as on any network, and counted.

import { ReceiveCredit } from '#proto/credits.ts';
import { ERRNO } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import { NO_BYTES } from '#proto/frame.ts';
import { type Address, addressText, type InternetAddress } from '#proto/socket-address.ts';
import { WireError, WireTransport } from '#proto/wire.ts';
import { flowDatagram, flowReset, readDatagram } from '#proto/wire-net.ts';
import { AgentConnection, type ConnectionHandlers } from './agent-connection.ts';
import { type Flow, type FlowHost, socketErrno, whenTaken } from './flow.ts';

/** What the flow needs of DNS. */
export interface DatagramResolver {
  /** Is this peer a name server whose datagrams are the relay's? */
  serves(peer: Address): peer is InternetAddress;
  /** At most one answer; none for a time-out. The error is what the target's kernel said of the server. */
  query(
    query: Buffer,
    server: InternetAddress,
    onAnswer: (answer: Uint8Array) => void,
    onError: (error: AppError) => void,
  ): void;
}

export interface DatagramFlowOptions {
  /** null: unconnected. */
  readonly peer: InternetAddress | null;
  readonly family: 4 | 6;
  readonly resolver: DatagramResolver | null;
  /** May the flow of an unconnected socket send there? It was asked before. */
  readonly mayReach: (peer: Address) => boolean;
  /** What getsockname(2) would say without asking the target, where that is known. */
  readonly guessLocal: (() => Address | null) | null;
  /** CONNECT is answered by what `localAddress` says: until then the supervisor knows of no flow. */
  readonly isProbe: boolean;
}

/** Bytes that wait for the agent, of one socket; what a kernel would hold for it (net.core.wmem_max, some times over). */
const MAX_WAITING_BYTES = 1024 * 1024;
/** Of the link: the supervisor takes datagrams at once, unless it is held up for long. */
const MAX_LINK_BYTES = 4 * 1024 * 1024;

export class DatagramFlow implements Flow, ConnectionHandlers {
  readonly #id: bigint;
  readonly #host: FlowHost;
  readonly #options: DatagramFlowOptions;
  #connection: AgentConnection | null = null;
  /** Of the agent; granted again at once. */
  #agentCredit: ReceiveCredit | null = null;
  #waitingBytes = 0;
  #local: Address | null = null;
  #waiters: Waiter[] = [];
  #isOver = false;
  isProbe: boolean;

  constructor(id: bigint, host: FlowHost, options: DatagramFlowOptions) {
    this.#id = id;
    this.#host = host;
    this.#options = options;
    this.isProbe = options.isProbe;
  }

  receive(body: Buffer): void {
    if (this.#isOver) return;
    const { peer, data } = readDatagram(body);
    const to = this.#options.peer ?? peer;
    if (to === null || to.kind !== 'internet') throw new WireError('a datagram without a peer');
    if (this.#options.peer === null && !this.#options.mayReach(to)) this.#host.lost(1);
    else if (this.#options.resolver?.serves(to)) this.#ask(this.#options.resolver, data, to);
    else this.#send(data, this.#options.peer === null ? to : null);
  }

  handedOn(): void {
    // No credit here.
  }

  /** A datagram socket has no half. What was sent still goes out. */
  halfClose(): void {
    this.#connection?.end();
    if (this.#connection === null) this.#over(null);
  }

  reset(): void {
    this.#over(null);
  }

  linkClosed(): void {
    this.reset();
  }

  localAddress(): Promise<Address> {
    if (this.#local !== null) return Promise.resolve(this.#local);
    const guess = this.#options.guessLocal?.() ?? null;
    if (guess !== null) return Promise.resolve(guess);
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      if (this.#connection === null) this.#dial(NO_BYTES);
    });
  }

  onConnected(local: Address | null, _peer: Address | null, creditBytes: number): void {
    this.#agentCredit = new ReceiveCredit(creditBytes);
    this.#local = local;
    this.#host.learnSource(local, this.#options.peer);
    if (local !== null) for (const { resolve } of this.#waiters.splice(0)) resolve(local);
  }

  onData(data: Uint8Array, peer: Address | null): void | Promise<void> {
    this.#agentCredit?.received(data.length);
    this.#deliver(peer, data);
    this.#connection?.grant(this.#agentCredit?.consumed(data.length) ?? 0);
    return whenTaken(this.#host.link);
  }

  onHalfClose(): void {
    // The answer to ours.
  }

  /** ICMP: on a connected socket the local process hears of it; on another only who asks for IP_RECVERR would. */
  onError(error: AppError): void {
    this.#host.tell(error);
    if (this.#options.peer === null) return;
    this.#host.link.send(flowReset(this.#id, socketErrno(error)));
    this.#over(error);
  }

  onSent(bytes: number): void {
    this.#waitingBytes -= bytes;
  }

  onEnd(error: AppError | null): void {
    this.#connection = null;
    this.#agentCredit = null;
    this.#waitingBytes = 0;
    const isIdle = error?.code === 'DEADLINE_EXCEEDED';
    // The next datagram opens another socket; the name of the former is of no use to anybody.
    if (isIdle && !this.#isOver) {
      this.#local = null;
      return;
    }
    if (error !== null && !this.#isOver) {
      this.#host.tell(error);
      if (!this.isProbe) this.#host.link.send(flowReset(this.#id, socketErrno(error)));
    }
    this.#over(error);
  }

  #deliver(from: Address | null, data: Uint8Array): void {
    if (this.#isOver) return;
    if (this.#host.link.waitingBytes > MAX_LINK_BYTES) this.#host.lost(1);
    else this.#host.link.send(flowDatagram(this.#id, from, data));
  }

  #send(data: Buffer, to: Address | null): void {
    if (this.#connection === null) {
      // With the dial, so that it is there after one way and not three.
      const isFirst = to === null && data.length > 0;
      this.#dial(isFirst ? data : NO_BYTES);
      if (isFirst) return;
    }
    if (this.#waitingBytes + data.length > MAX_WAITING_BYTES) {
      this.#host.lost(1);
      return;
    }
    this.#waitingBytes += data.length;
    this.#connection?.send(data, to);
  }

  #dial(firstData: Uint8Array): void {
    const { peer, family } = this.#options;
    const { session, uplink } = this.#host;
    if (session.lost !== null) {
      this.onEnd(session.lost);
      return;
    }
    this.#connection = new AgentConnection(
      { session, uplink, transport: WireTransport.UDP, peer, family, firstData },
      this,
    );
  }

  #ask(resolver: DatagramResolver, data: Buffer, server: InternetAddress): void {
    const isConnected = this.#options.peer !== null;
    resolver.query(
      data,
      server,
      (answer) => this.#deliver(isConnected ? null : server, answer),
      (error) => {
        if (isConnected && !this.#isOver) this.onError(error);
      },
    );
  }

  #over(error: AppError | null): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const connection = this.#connection;
    // What waits for the dial goes out before the end does.
    if (error === null) connection?.end();
    else connection?.reset();
    const { peer } = this.#options;
    const what = peer === null ? 'the socket is closed' : `the socket to ${addressText(peer)} is closed`;
    const reason = error ?? new AppError('CONNECTION_FAILED', what, { errno: ERRNO.ENOTCONN });
    for (const { reject } of this.#waiters.splice(0)) reject(reason);
    this.#host.ended(this.#id);
  }
}

interface Waiter {
  readonly resolve: (value: Address) => void;
  readonly reject: (error: AppError) => void;
}
