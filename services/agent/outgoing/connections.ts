// The connections of one session by id: dialled in the target's network namespace, under the session's limits, on the
// shared way to the client.

import { closeSync } from 'node:fs';
import { CreditRoom, creditOf } from '#proto/credits.ts';
import { AppError } from '#proto/errors.ts';
import { type Frame, makeFrame } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { Connect, Transport } from '#proto/gen/v1/network.ts';
import { decodeHead } from '#proto/session-stream.ts';
import type { BulkOrder } from '#proto/sockets/bulk-order.ts';
import { toEndpoint } from './address.ts';
import { type Connection, type ConnectionHost, resetFrame, toConnectionError } from './connection.ts';
import { CreditBudget } from './credit-budget.ts';
import { DATAGRAM_CREDIT_BYTES, DatagramSocket } from './datagram-socket.ts';
import type { DenyList } from './deny-list.ts';
import { assertUnixAddress, type Dialled, dialTcp, dialUnix } from './dial.ts';
import { Dialling } from './dialling.ts';
import type { Downlink } from './downlink.ts';
import { PacketConnection } from './packet-connection.ts';
import { StreamConnection } from './stream-connection.ts';

/** Less than the agent gives a session to drain. */
const FINISH_MS = 2_000;
const AF_INET6 = 10;
/** Of a seqpacket connection: twice the largest packet. */
const PACKET_CREDIT_BYTES = 512 * 1024;

export interface SessionLimits {
  /** Connections and sockets open at a time, those included that are still being closed. */
  readonly connections: number;
  /** Most a dial may take. */
  readonly dialMs: number;
  /** Silence after which a UDP socket ends. */
  readonly datagramIdleMs: number;
}

export interface ConnectionsOptions {
  readonly downlink: Downlink;
  /** Of `/proc/PID/ns/net`, and (O_PATH) of the target's root folder. The owner closes both after `close`. */
  readonly namespaceFd: number;
  readonly rootFd: number;
  readonly denyList: DenyList;
  readonly limits: SessionLimits;
}

/** What a CONNECT asks for. */
interface Request {
  readonly id: number;
  readonly connect: Connect;
  readonly firstBytes: Uint8Array;
  readonly deadlineMs: number;
}

export class Connections implements ConnectionHost {
  readonly #options: ConnectionsOptions;
  readonly creditRoom = new CreditRoom();
  readonly #budget = new CreditBudget();
  /** Those whose id the client may still use. */
  readonly #byId = new Map<number, Connection>();
  /** With the credit each has, also those whose id is free and whose last bytes are still being sent. */
  readonly #all = new Map<Connection, number>();
  #lostDatagrams = 0;
  #isFinishing = false;
  #onIdle: (() => void) | null = null;

  constructor(options: ConnectionsOptions) {
    this.#options = options;
  }

  /** Connections the client has not seen the end of. */
  get count(): number {
    return this.#byId.size;
  }

  get lostDatagrams(): number {
    return this.#lostDatagrams;
  }

  get isFull(): boolean {
    return this.#options.downlink.isFull;
  }

  get isStuffed(): boolean {
    return this.#options.downlink.isStuffed;
  }

  get mayWait(): boolean {
    return this.#options.downlink.mayWait;
  }

  has(id: number): boolean {
    return this.#byId.has(id);
  }

  send(frame: Frame): void {
    this.#options.downlink.send(frame);
  }

  carry(order: BulkOrder): boolean {
    return this.#options.downlink.carry(order);
  }

  whenWritable(resume: () => void): void {
    this.#options.downlink.whenWritable(resume);
  }

  forgetWriter(resume: () => void): void {
    this.#options.downlink.forget(resume);
  }

  release(id: number): void {
    this.#byId.delete(id);
  }

  ended(id: number, connection: Connection): void {
    if (this.#byId.get(id) === connection) this.#byId.delete(id);
    const creditBytes = this.#all.get(connection);
    if (creditBytes === undefined) return;
    this.#all.delete(connection);
    this.#budget.release(creditBytes);
    if (this.#all.size === 0) this.#onIdle?.();
  }

  lost(datagrams: number): void {
    this.#lostDatagrams += datagrams;
  }

  /** DATA, HALF_CLOSE, RESET or CREDIT. Those that were on their way when the connection ended are no fault. */
  receive(frame: Frame): void {
    const connection = this.#byId.get(frame.id);
    if (connection === undefined) return;
    if (frame.kind === FrameKind.FRAME_KIND_CREDIT) this.#grant(frame, connection);
    else connection.receive(frame);
  }

  /** A CONNECT, of an id that is free. */
  connect(frame: Frame): void {
    const { id } = frame;
    try {
      if (this.#isFinishing) throw new AppError('CANCELLED', 'the session is closing');
      const { connections, dialMs } = this.#options.limits;
      if (this.#all.size >= connections) {
        throw new AppError('LIMIT_REACHED', `${connections} connections are open, the most a session may have`);
      }
      const connect = decodeHead(Connect.decode, frame.head);
      const deadlineMs = connect.deadlineMs === 0 ? dialMs : Math.min(connect.deadlineMs, dialMs);
      // Copied: it waits for the dial, and is a piece of a batch.
      this.#dial({ id, connect, firstBytes: Buffer.from(frame.data), deadlineMs });
    } catch (thrown) {
      this.send(resetFrame(id, toConnectionError('connect', thrown)));
    }
  }

  /** Connections send what they were given, FINISH_MS at most, then end; they tell the client nothing. */
  async close(): Promise<void> {
    this.#isFinishing = true;
    for (const connection of [...this.#all.keys()]) connection.finish();
    if (this.#all.size > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, FINISH_MS);
        this.#onIdle = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    for (const connection of [...this.#all.keys()]) connection.destroy();
  }

  /** Ends everything at once; the client is told `error` of each that it knows. */
  resetAll(error: AppError): void {
    this.#isFinishing = true;
    const ids = [...this.#byId.keys()];
    for (const connection of [...this.#all.keys()]) connection.destroy();
    for (const id of ids) this.send(resetFrame(id, error));
  }

  #grant(frame: Frame, connection: Connection): void {
    frame.isUsedUp = true;
    try {
      connection.grant(creditOf(frame));
    } catch (thrown) {
      this.send(resetFrame(frame.id, AppError.from(thrown, 'PROTOCOL_VIOLATION')));
      connection.destroy();
    }
  }

  #dial(request: Request): void {
    switch (request.connect.transport) {
      case Transport.TRANSPORT_TCP:
        this.#dialTcp(request);
        return;
      case Transport.TRANSPORT_UDP:
        this.#openDatagram(request);
        return;
      case Transport.TRANSPORT_UNIX_STREAM:
      case Transport.TRANSPORT_UNIX_SEQPACKET:
        this.#dialUnix(request);
        return;
      default:
        throw new AppError('UNSUPPORTED', `transport ${request.connect.transport} is not known`, { errno: 93 });
    }
  }

  #dialTcp(request: Request): void {
    const { namespaceFd, denyList } = this.#options;
    const { deadlineMs } = request;
    const peer = toEndpoint(request.connect.peer);
    denyList.assertInternet(peer);
    const dialling = this.#addDialling(request.id, this.#budget.commitStream());
    const dialled = dialTcp({ namespaceFd, peer, deadlineMs, signal: dialling.signal });
    this.#await(request, dialling, dialled);
  }

  #dialUnix(request: Request): void {
    const { connect, deadlineMs } = request;
    if (connect.peer?.address?.$case !== 'unixPath') {
      throw new AppError('PROTOCOL_VIOLATION', 'a unix socket without a path or a name');
    }
    const address = connect.peer.address.value;
    assertUnixAddress(address);
    const type = connect.transport === Transport.TRANSPORT_UNIX_STREAM ? 'stream' : 'seqpacket';
    const creditBytes = type === 'stream' ? this.#budget.commitStream() : this.#budget.commit(PACKET_CREDIT_BYTES);
    const dialling = this.#addDialling(request.id, creditBytes);
    const { namespaceFd, rootFd, denyList } = this.#options;
    const { signal } = dialling;
    this.#await(request, dialling, dialUnix({ namespaceFd, type, address, rootFd, denyList, deadlineMs, signal }));
  }

  #addDialling(id: number, creditBytes: number): Dialling {
    const dialling = new Dialling(id, this);
    this.#add(id, dialling, creditBytes);
    return dialling;
  }

  #await(request: Request, dialling: Dialling, dialled: Promise<Dialled>): void {
    dialled.then(
      (connected) => this.#onDialled(request, dialling, connected),
      (thrown: unknown) => dialling.fail(toConnectionError('connect', thrown)),
    );
  }

  #onDialled({ id, connect, firstBytes }: Request, dialling: Dialling, dialled: Dialled): void {
    const creditBytes = this.#all.get(dialling);
    if (creditBytes === undefined) {
      closeSync(dialled.fd);
      return;
    }
    this.#all.delete(dialling);
    if (connect.transport === Transport.TRANSPORT_UNIX_SEQPACKET) {
      const packets = new PacketConnection({ id, host: this, creditBytes, firstBytes, fd: dialled.fd });
      this.#add(id, packets, creditBytes);
      packets.start(dialled);
    } else {
      const stream = new StreamConnection({ id, host: this, creditBytes, name: dialled.name, firstBytes });
      this.#add(id, stream, creditBytes);
      stream.start(dialled);
    }
    if (dialling.hasClientEnded) this.#byId.get(id)?.receive(makeFrame(id, FrameKind.FRAME_KIND_HALF_CLOSE));
  }

  #openDatagram({ id, connect, firstBytes }: Request): void {
    const peer = connect.peer === undefined ? null : toEndpoint(connect.peer);
    const { namespaceFd, denyList, limits } = this.#options;
    if (peer !== null) denyList.assertInternet(peer);
    const isV6 = peer === null ? connect.family === AF_INET6 : peer.ip.length === 16;
    const idleMs = limits.datagramIdleMs;
    const creditBytes = this.#budget.commit(DATAGRAM_CREDIT_BYTES);
    let socket: DatagramSocket;
    try {
      const family = isV6 ? 6 : 4;
      socket = new DatagramSocket({ id, host: this, namespaceFd, denyList, creditBytes, idleMs, family, peer });
    } catch (thrown) {
      this.#budget.release(creditBytes);
      throw thrown;
    }
    this.#add(id, socket, creditBytes);
    socket.start(firstBytes);
  }

  #add(id: number, connection: Connection, creditBytes: number): void {
    this.#byId.set(id, connection);
    this.#all.set(connection, creditBytes);
  }
}
