// A connected TCP or unix stream of the local process whose other end the supervisor has handed to us: bytes go between
// that socket and the agent, each direction ending on its own.
//
// dialling -> meeting -> open -> over. The dial's answer is the reply to CONNECT; between it and the socket's arrival is the
// supervisor's handshake with the local process. The supervisor keeps a descriptor of the socket and closes it when told:
// FLOW_HALF_CLOSE after an orderly end, FLOW_RESET for one that the local process must hear of.

import { MOST_CREDIT_BYTES, ReceiveCredit } from '#proto/credits.ts';
import { ERRNO } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import type { Lease } from '#proto/receive-blocks.ts';
import type { Address } from '#proto/socket-address.ts';
import type { BulkDelivery } from '#proto/sockets/bulk-delivery.ts';
import type { BulkOrder } from '#proto/sockets/bulk-order.ts';
import { BULK_READ_BYTES, ReadRoom } from '#proto/sockets/read-buffers.ts';
import { type Descriptor, type StreamHandlers, StreamSocket } from '#proto/sockets/stream-socket.ts';
import { WireError, type WireTransport } from '#proto/wire.ts';
import { replyResult } from '#proto/wire-client.ts';
import { flowHalfClose, flowReset, replyConnected } from '#proto/wire-net.ts';
import { AgentConnection, type ConnectionHandlers } from './agent-connection.ts';
import { type Flow, type FlowHost, resetErrno, socketErrno } from './flow.ts';
import type { StreamTap } from './stream-tap.ts';

/** Read from the local process and not sent yet: above it we stop reading, below half of it we go on. */
const FULL_BYTES = 256 * 1024;
/** The local process does not keep up when more waits for it than its kernel's buffer takes. */
const BEHIND_BYTES = 256 * 1024;
/** How long the local process may leave the last bytes before a reset unread. */
const RESET_MS = 5_000;

export class SocketFlow implements Flow, ConnectionHandlers, StreamHandlers {
  readonly keepsNothing = true;
  readonly #id: bigint;
  readonly #host: FlowHost;
  readonly #peer: Address;
  readonly #connection: AgentConnection;
  readonly #tap: StreamTap | null;
  readonly #room = new ReadRoom(BULK_READ_BYTES);
  readonly #resume = () => this.#resumeReading();
  #socket: StreamSocket | null = null;
  #credit: ReceiveCredit | null = null;
  #local: Address | null = null;
  #state: 'dialling' | 'meeting' | 'open' | 'over' = 'dialling';
  /** Came before the socket did; at most the agent's credit. */
  #early: Buffer[] = [];
  #unsentBytes = 0;
  /** Of what waits to be written: ours, under no credit. */
  #answerBytes = 0;
  #hasPeerEnded = false;
  #hasEnded = false;
  /** Why the connection is over while the local process still has bytes to take. */
  #failure: AppError | null = null;
  #resetTimer: NodeJS.Timeout | undefined;
  #isLast = false;

  constructor(id: bigint, host: FlowHost, transport: WireTransport, peer: Address, tap: StreamTap | null = null) {
    this.#id = id;
    this.#host = host;
    this.#peer = peer;
    this.#tap = tap;
    const { session, uplink } = host;
    this.#connection = new AgentConnection({ session, uplink, transport, peer }, this);
  }

  /** Our end of the local process's connection. */
  adopt(descriptor: Descriptor): void {
    if (this.#state !== 'meeting') {
      descriptor.close(false);
      return;
    }
    this.#state = 'open';
    this.#socket = new StreamSocket(descriptor, this);
    this.#tap?.attach((answer) => this.#answer(answer));
    for (const data of this.#early) this.#write(data);
    this.#early = [];
    if (this.#failure !== null) this.#resetWhenWritten();
    else if (this.#hasPeerEnded) this.#socket.end();
    this.#socket.resume();
  }

  receive(): void {
    throw new WireError('data of a flow that was handed over');
  }

  handedOn(): void {
    throw new WireError('credit of a flow that was handed over');
  }

  /** No process has the socket any more. What it wrote before is still ours to send; nobody reads what comes. */
  halfClose(): void {
    if (this.#hasEnded && this.#unsentBytes === 0) this.reset();
  }

  reset(): void {
    if (this.#state === 'over') return;
    if (this.#state === 'dialling') this.#host.link.send(replyResult(this.#id, -ERRNO.EINTR));
    this.#connection.reset();
    this.#end(flowReset(this.#id, ERRNO.ECONNRESET));
  }

  linkClosed(): void {
    this.#isLast = true;
    if (this.#socket === null) this.reset();
    else if (this.#connection.hasSentEnd) this.#end(null);
  }

  localAddress(): Promise<Address> {
    if (this.#local !== null) return Promise.resolve(this.#local);
    return Promise.reject(new AppError('CONNECTION_FAILED', 'the flow is not connected', { errno: ERRNO.ENOTCONN }));
  }

  onConnected(local: Address | null, peer: Address | null, creditBytes: number): void {
    this.#state = 'meeting';
    this.#local = local;
    this.#credit = new ReceiveCredit(creditBytes, { mostBytes: MOST_CREDIT_BYTES, room: this.#host.creditRoom });
    this.#host.learnSource(local, this.#peer);
    this.#host.link.send(replyConnected(this.#id, local, peer ?? this.#peer));
  }

  onData(data: Uint8Array, _peer: Address | null, lease?: Lease): void {
    this.#credit?.received(data.length);
    const rest = this.#tap === null ? data : this.#tap.down(data);
    if (this.#socket === null) this.#early.push(Buffer.from(rest));
    else this.#write(rest, rest === data ? lease : undefined);
    // Kept back, or left out: it waits for nobody here.
    if (rest.length < data.length) this.#connection.grant(this.#credit?.consumed(data.length - rest.length) ?? 0);
  }

  offer(delivery: BulkDelivery): boolean {
    if (this.#state !== 'open' || this.#tap !== null || this.#failure !== null || this.#credit === null) return false;
    return delivery.limit(this.#credit.grantedBytes) && this.#socket?.offer(delivery) === true;
  }

  delivered(delivery: BulkDelivery): void {
    this.#credit?.received(delivery.bytes);
    this.#written(this.#socket?.delivered(delivery) ?? 0);
  }

  onHalfClose(): void {
    this.#hasPeerEnded = true;
    this.#socket?.end();
    this.#endWhenBothDid();
  }

  onError(error: AppError): void {
    this.#connection.reset();
    this.onEnd(error);
  }

  onSent(bytes: number): void {
    this.#unsentBytes -= bytes;
    this.#resumeReading();
  }

  #resumeReading(): void {
    if (this.#unsentBytes * 2 <= FULL_BYTES) this.#socket?.resume();
  }

  onEndSent(): void {
    if (this.#isLast) this.#end(null);
    else this.#endWhenBothDid();
  }

  onEnd(error: AppError | null): void {
    // In order: the socket closes by itself when all is written.
    if (this.#state === 'over' || error === null) return;
    if (this.#state === 'dialling') {
      this.#host.tell(error);
      this.#end(replyResult(this.#id, -socketErrno(error)));
      return;
    }
    this.#failure = error;
    if (this.#state === 'open') this.#resetWhenWritten();
  }

  // ---- from the local process's socket

  room(): Uint8Array {
    return this.#room.take();
  }

  onBytes(count: number): void {
    const { data, release } = this.#room.took(count);
    const rest = this.#tap === null ? data : this.#tap.up(data);
    if (rest.length === 0) return;
    this.#unsentBytes += rest.length;
    this.#connection.send(rest, null, rest === data ? release : undefined);
    if (this.#unsentBytes > FULL_BYTES) this.#socket?.pause();
  }

  carry(order: BulkOrder): boolean {
    if (!this.#room.isBulk || this.#tap !== null) return false;
    order.onRoom = this.#resume;
    if (!this.#connection.carry(order)) return false;
    if (order.isWaiting) this.#socket?.pause();
    if (order.frames > 0) this.#room.passed(order.bytesOf(order.frames - 1));
    return true;
  }

  onReadEnd(): void {
    this.#hasEnded = true;
    this.#connection.end();
    this.#endWhenBothDid();
  }

  onTaken(bytes: number): void {
    const answered = Math.min(bytes, this.#answerBytes);
    this.#answerBytes -= answered;
    this.#written(bytes - answered);
  }

  /** Reset by the local process, or nobody is left to take what comes. */
  onFailed(): void {
    this.#connection.reset();
    this.#end(flowHalfClose(this.#id));
  }

  /** Both directions have ended, the kernel has all that came and the session all that went. */
  #endWhenBothDid(): void {
    const isWritten = this.#hasPeerEnded && this.#socket?.waitingBytes === 0;
    if (this.#hasEnded && isWritten && this.#connection.hasSentEnd) this.#end(flowHalfClose(this.#id));
  }

  /** Of ours, not the agent's: no credit of it is due to anybody. */
  #answer(data: Buffer): void {
    if (this.#state !== 'open' || this.#hasPeerEnded || this.#socket === null) return;
    this.#answerBytes += data.length - this.#socket.write([data]);
  }

  #write(data: Uint8Array, lease?: Lease): void {
    this.#written((this.#socket as StreamSocket).write([data], true, lease));
  }

  #written(bytes: number): void {
    if (this.#failure !== null) this.#resetWhenWritten();
    else {
      const isPrompt = (this.#socket?.waitingBytes ?? 0) <= BEHIND_BYTES;
      this.#connection.grant(this.#credit?.consumed(bytes, isPrompt) ?? 0);
      this.#endWhenBothDid();
    }
  }

  /** What came before the reset is the local process's, as it would be in the receive queue of a direct connection. */
  #resetWhenWritten(): void {
    if (this.#failure === null || this.#state !== 'open') return;
    const reset = flowReset(this.#id, resetErrno(this.#failure));
    if (this.#socket?.waitingBytes === 0) this.#end(reset);
    else this.#resetTimer ??= setTimeout(() => this.#end(reset), RESET_MS);
  }

  #end(last: Buffer[] | null): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    clearTimeout(this.#resetTimer);
    this.#credit?.close();
    this.#early = [];
    // Before the supervisor hears of it: the last descriptor that is closed makes the end.
    this.#socket?.close();
    this.#room.close();
    if (last !== null) this.#host.link.send(last);
    this.#host.ended(this.#id);
  }
}
