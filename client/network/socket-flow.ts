// A connected TCP or unix stream of the local process whose other end the supervisor has handed to us: bytes go between
// that socket and the agent, each direction ending on its own.
//
// dialling -> meeting -> open -> over. The dial's answer is the reply to CONNECT; between it and the socket's arrival is the
// supervisor's handshake with the local process. The supervisor keeps a descriptor of the socket and closes it when told:
// FLOW_HALF_CLOSE after an orderly end, FLOW_RESET for one that the local process must hear of.

import type { Socket } from 'node:net';
import { ReceiveCredit } from '#proto/credits.ts';
import { ERRNO } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import type { Address } from '#proto/socket-address.ts';
import { WireError, type WireTransport } from '#proto/wire.ts';
import { replyResult } from '#proto/wire-client.ts';
import { flowHalfClose, flowReset, replyConnected } from '#proto/wire-net.ts';
import { AgentConnection, type ConnectionHandlers } from './agent-connection.ts';
import { type Flow, type FlowHost, resetErrno, socketErrno } from './flow.ts';
import type { StreamTap } from './stream-tap.ts';

/** Read from the local process and not sent yet: above it we stop reading, below half of it we go on. */
const FULL_BYTES = 256 * 1024;
const NO_BYTES = Buffer.alloc(0);
/** How long the local process may leave the last bytes before a reset unread. */
const RESET_MS = 5_000;

export class SocketFlow implements Flow, ConnectionHandlers {
  readonly #id: bigint;
  readonly #host: FlowHost;
  readonly #peer: Address;
  readonly #connection: AgentConnection;
  readonly #tap: StreamTap | null;
  #socket: Socket | null = null;
  #credit: ReceiveCredit | null = null;
  #local: Address | null = null;
  #state: 'dialling' | 'meeting' | 'open' | 'over' = 'dialling';
  /** Came before the socket did; at most the agent's credit. */
  #early: Buffer[] = [];
  #unsentBytes = 0;
  #unwrittenBytes = 0;
  #hasPeerEnded = false;
  #hasEnded = false;
  /** Why the connection is over while the local process still has bytes to take. */
  #failure: AppError | null = null;
  #resetTimer: NodeJS.Timeout | undefined;
  #isClosed = false;
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
  adopt(socket: Socket): void {
    if (this.#state !== 'meeting') {
      socket.destroy();
      return;
    }
    this.#state = 'open';
    this.#socket = socket;
    socket.allowHalfOpen = true;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#onChunk(this.#tap === null ? chunk : this.#tap.up(chunk)));
    this.#tap?.attach((answer) => this.#answer(answer));
    socket.on('end', () => this.#onLocalEnd());
    socket.on('error', () => this.#onLocalError());
    socket.on('close', () => this.#onClosed());
    for (const data of this.#early) this.#write(data);
    this.#early = [];
    if (this.#failure !== null) this.#resetWhenWritten();
    else if (this.#hasPeerEnded) socket.end();
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
    this.#credit = new ReceiveCredit(creditBytes);
    this.#host.learnSource(local, this.#peer);
    this.#host.link.send(replyConnected(this.#id, local, peer ?? this.#peer));
  }

  onData(data: Uint8Array): void {
    this.#credit?.received(data.length);
    const rest = this.#tap === null ? data : this.#tap.down(data);
    if (this.#socket === null) this.#early.push(Buffer.from(rest));
    else this.#write(rest);
    // Kept back, or left out: it waits for nobody here.
    if (rest.length < data.length) this.#connection.grant(this.#credit?.consumed(data.length - rest.length) ?? 0);
  }

  onHalfClose(): void {
    this.#hasPeerEnded = true;
    this.#socket?.end();
  }

  onError(error: AppError): void {
    this.#connection.reset();
    this.onEnd(error);
  }

  onSent(bytes: number): void {
    this.#unsentBytes -= bytes;
    if (this.#unsentBytes * 2 <= FULL_BYTES && this.#socket?.isPaused()) this.#socket.resume();
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

  #onChunk(chunk: Buffer): void {
    if (this.#state !== 'open' || chunk.length === 0) return;
    this.#unsentBytes += chunk.length;
    this.#connection.send(chunk);
    if (this.#unsentBytes > FULL_BYTES) this.#socket?.pause();
  }

  /** libuv tells of a reset right behind data as of an end (uv__stream_io, POLLHUP). An empty write knows the difference. */
  #onLocalEnd(): void {
    const socket = this.#socket as Socket;
    if (socket.writableEnded || socket.writableLength > 0) this.#localEnded();
    else socket.write(NO_BYTES, (error) => (error ? undefined : this.#localEnded()));
  }

  #localEnded(): void {
    this.#hasEnded = true;
    this.#connection.end();
  }

  /** Reset by the local process, or nobody is left to take what comes. */
  #onLocalError(): void {
    this.#connection.reset();
    this.#end(flowHalfClose(this.#id));
  }

  /** Both directions have ended here, and all is written. */
  #onClosed(): void {
    this.#isClosed = true;
    this.#endWhenBothDid();
  }

  #endWhenBothDid(): void {
    if (this.#isClosed && this.#connection.hasSentEnd) this.#end(flowHalfClose(this.#id));
  }

  /** Of ours, not the agent's: no credit of it is due to anybody. */
  #answer(data: Buffer): void {
    if (this.#state === 'open' && this.#socket?.writable) this.#socket.write(data);
  }

  #write(data: Uint8Array): void {
    const socket = this.#socket as Socket;
    // What waits for long must not hold on to the batch that it came in.
    const isSmall = data.length * 2 < data.buffer.byteLength;
    this.#unwrittenBytes += data.length;
    socket.write(socket.writableLength > 0 && isSmall ? Buffer.from(data) : data, () => this.#written(data.length));
  }

  #written(bytes: number): void {
    this.#unwrittenBytes -= bytes;
    if (this.#failure !== null) this.#resetWhenWritten();
    else this.#connection.grant(this.#credit?.consumed(bytes) ?? 0);
  }

  /** What came before the reset is the local process's, as it would be in the receive queue of a direct connection. */
  #resetWhenWritten(): void {
    if (this.#failure === null || this.#state !== 'open') return;
    const reset = flowReset(this.#id, resetErrno(this.#failure));
    if (this.#unwrittenBytes === 0) this.#end(reset);
    else this.#resetTimer ??= setTimeout(() => this.#end(reset), RESET_MS);
  }

  #end(last: Buffer[] | null): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    clearTimeout(this.#resetTimer);
    this.#early = [];
    // Before the supervisor hears of it: the last descriptor that is closed makes the end.
    this.#socket?.destroy();
    if (last !== null) this.#host.link.send(last);
    this.#host.ended(this.#id);
  }
}
