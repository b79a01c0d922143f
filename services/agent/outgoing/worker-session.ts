// One session inside the worker: its connections by id, its limits, its way to the client.
//
// When its port is told to close (SESSION_CLOSE) connections get FINISH_MS to send what the client has sent; when the
// port is simply gone they end at once.

import { closeSync } from 'node:fs';
import type { MessagePort } from 'node:worker_threads';
import { AppError } from '#proto/errors.ts';
import { type Frame, makeFrame } from '#proto/frame.ts';
import { Credit, FrameKind } from '#proto/gen/v1/frame.ts';
import { Connect, Transport } from '#proto/gen/v1/network.ts';
import { decodeHead } from '#proto/session-stream.ts';
import { endpointText, toEndpoint } from './address.ts';
import { type Connection, type ConnectionHost, readSizeFor, resetFrame, toConnectionError } from './connection.ts';
import { CreditBudget } from './credit-budget.ts';
import { DATAGRAM_CREDIT_BYTES, DatagramSocket } from './datagram-socket.ts';
import type { DenyList } from './deny-list.ts';
import { assertUnixAddress, type DialledUnix, dialTcp, dialUnix, toUnixStream } from './dial.ts';
import { FramePort } from './frame-port.ts';
import { PacketConnection } from './packet-connection.ts';
import { StreamConnection } from './stream-connection.ts';
import { type SessionLimits, WINDOW_BYTES } from './worker-messages.ts';

/** Less than the agent gives a session to drain. */
const FINISH_MS = 2_000;
const AF_INET6 = 10;
/** Of a seqpacket connection: twice the largest packet. */
const PACKET_CREDIT_BYTES = 512 * 1024;

export interface WorkerSessionOptions {
  readonly port: MessagePort;
  readonly rootFd: number;
  readonly denyList: DenyList;
  readonly limits: SessionLimits;
  onClosed(): void;
}

/** What a CONNECT asks for, with the credit it got. */
interface Request {
  readonly id: number;
  readonly connect: Connect;
  readonly firstBytes: Uint8Array;
  readonly deadlineMs: number;
}

export class WorkerSession implements ConnectionHost {
  readonly #options: WorkerSessionOptions;
  readonly #port: FramePort;
  readonly #budget = new CreditBudget();
  /** Those whose id the client may still use. */
  readonly #byId = new Map<number, Connection>();
  /** With the credit each has, also those whose id is free and whose last bytes are still being sent. */
  readonly #all = new Map<Connection, number>();
  #lostDatagrams = 0;
  #finishTimer: NodeJS.Timeout | undefined;
  #isFinishing = false;
  #isClosed = false;

  constructor(options: WorkerSessionOptions) {
    this.#options = options;
    this.#port = new FramePort({
      port: options.port,
      windowBytes: WINDOW_BYTES,
      onFrames: (frames) => {
        for (const frame of frames) this.#receive(frame);
      },
      onClosed: () => this.#onPortClosed(),
    });
  }

  get isFull(): boolean {
    return this.#port.isFull;
  }

  get isStuffed(): boolean {
    return this.#port.isStuffed;
  }

  get mayWait(): boolean {
    return this.#port.mayWait;
  }

  send(frame: Frame): void {
    this.#port.send(frame);
  }

  whenWritable(resume: () => void): void {
    this.#port.whenWritable(resume);
  }

  forgetWriter(resume: () => void): void {
    this.#port.forget(resume);
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
    if (this.#isFinishing && this.#all.size === 0) this.#close();
  }

  lost(datagrams: number): void {
    this.#lostDatagrams += datagrams;
  }

  #receive(frame: Frame): void {
    if (frame.id === 0) {
      if (frame.kind === FrameKind.FRAME_KIND_SESSION_CLOSE) this.#finish();
      return;
    }
    if (frame.kind === FrameKind.FRAME_KIND_CONNECT) {
      this.#connect(frame);
      return;
    }
    // Frames that were on their way when the connection ended are no fault.
    const connection = this.#byId.get(frame.id);
    if (connection === undefined) return;
    if (frame.kind === FrameKind.FRAME_KIND_CREDIT) this.#grant(frame, connection);
    else connection.receive(frame);
  }

  #grant(frame: Frame, connection: Connection): void {
    try {
      connection.grant(decodeHead(Credit.decode, frame.head).bytes);
    } catch (thrown) {
      this.#refuse(frame.id, AppError.from(thrown, 'PROTOCOL_VIOLATION'));
      connection.destroy();
    }
  }

  #connect(frame: Frame): void {
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
      this.#refuse(id, toConnectionError('connect', thrown));
    }
  }

  #refuse(id: number, error: AppError): void {
    this.send(resetFrame(id, error));
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

  #dialTcp({ id, connect, firstBytes, deadlineMs }: Request): void {
    const peer = toEndpoint(connect.peer);
    this.#options.denyList.assertInternet(peer);
    const creditBytes = this.#budget.commitStream();
    const name = `tcp ${endpointText(peer)}`;
    const connection = new StreamConnection({ id, host: this, creditBytes, name, firstBytes });
    this.#add(id, connection, creditBytes);
    try {
      connection.attach(dialTcp(peer, readSizeFor(creditBytes), connection.onBytes, deadlineMs));
    } catch (thrown) {
      connection.destroy();
      throw thrown;
    }
  }

  #openDatagram({ id, connect, firstBytes }: Request): void {
    const peer = connect.peer === undefined ? null : toEndpoint(connect.peer);
    if (peer !== null) this.#options.denyList.assertInternet(peer);
    const isV6 = peer === null ? connect.family === AF_INET6 : peer.ip.length === 16;
    const creditBytes = this.#budget.commit(DATAGRAM_CREDIT_BYTES);
    const { denyList, limits } = this.#options;
    const socket = new DatagramSocket({
      id,
      host: this,
      denyList,
      creditBytes,
      idleMs: limits.datagramIdleMs,
      family: isV6 ? 6 : 4,
      peer,
      firstBytes,
    });
    this.#add(id, socket, creditBytes);
  }

  #dialUnix(request: Request): void {
    const { id, connect, deadlineMs } = request;
    if (connect.peer?.address?.$case !== 'unixPath') {
      throw new AppError('PROTOCOL_VIOLATION', 'a unix socket without a path or a name');
    }
    const address = connect.peer.address.value;
    assertUnixAddress(address);
    const type = connect.transport === Transport.TRANSPORT_UNIX_STREAM ? 'stream' : 'seqpacket';
    const { rootFd, denyList } = this.#options;
    const dialling = new DiallingUnix(id, this);
    this.#add(id, dialling, type === 'stream' ? this.#budget.commitStream() : this.#budget.commit(PACKET_CREDIT_BYTES));
    dialUnix({ type, address, rootFd, denyList, deadlineMs, signal: dialling.signal }).then(
      (dialled) => this.#onUnixDialled(request, dialling, dialled),
      (thrown: unknown) => dialling.fail(toConnectionError(`unix ${type}`, thrown)),
    );
  }

  #onUnixDialled(request: Request, dialling: DiallingUnix, dialled: DialledUnix): void {
    const { id, connect, firstBytes, deadlineMs } = request;
    const creditBytes = this.#all.get(dialling);
    if (creditBytes === undefined) {
      closeSync(dialled.fd);
      return;
    }
    this.#all.delete(dialling);
    if (connect.transport === Transport.TRANSPORT_UNIX_SEQPACKET) {
      const packets = new PacketConnection({ id, host: this, creditBytes, firstBytes }, dialled);
      this.#add(id, packets, creditBytes);
    } else {
      const stream = new StreamConnection({ id, host: this, creditBytes, name: 'unix stream', firstBytes });
      this.#add(id, stream, creditBytes);
      stream.attach(toUnixStream(dialled, readSizeFor(creditBytes), stream.onBytes, deadlineMs));
    }
    if (dialling.hasClientEnded) this.#byId.get(id)?.receive(makeFrame(id, FrameKind.FRAME_KIND_HALF_CLOSE));
  }

  #add(id: number, connection: Connection, creditBytes: number): void {
    this.#byId.set(id, connection);
    this.#all.set(connection, creditBytes);
  }

  #finish(): void {
    if (this.#isFinishing) return;
    this.#isFinishing = true;
    for (const connection of [...this.#all.keys()]) connection.finish();
    if (this.#all.size === 0) this.#close();
    else this.#finishTimer = setTimeout(() => this.#close(), FINISH_MS);
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#finishTimer);
    for (const connection of [...this.#all.keys()]) connection.destroy();
    const count = Buffer.alloc(4);
    count.writeUInt32LE(Math.min(this.#lostDatagrams, 0xffff_ffff));
    this.#port.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_CLOSED, count));
    this.#port.close();
  }

  #onPortClosed(): void {
    this.#isFinishing = true;
    this.#close();
    this.#options.onClosed();
  }
}

/** Holds the id of a unix socket until its listener has room. */
class DiallingUnix implements Connection {
  readonly #id: number;
  readonly #host: ConnectionHost;
  readonly #abort = new AbortController();
  hasClientEnded = false;

  constructor(id: number, host: ConnectionHost) {
    this.#id = id;
    this.#host = host;
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  receive(frame: Frame): void {
    if (frame.kind === FrameKind.FRAME_KIND_HALF_CLOSE) this.hasClientEnded = true;
    else this.destroy();
  }

  fail(error: AppError): void {
    if (!this.#abort.signal.aborted) this.#host.send(resetFrame(this.#id, error));
    this.destroy();
  }

  grant(): void {
    // Nothing was sent yet.
  }

  finish(): void {
    this.destroy();
  }

  destroy(): void {
    this.#abort.abort();
    this.#host.release(this.#id);
    this.#host.ended(this.#id, this);
  }
}
