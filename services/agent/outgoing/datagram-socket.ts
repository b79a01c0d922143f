// A UDP socket of the target's network: connected to one peer, or sending to and hearing from any. One frame is one
// datagram in either direction.
//
// Datagrams may be lost, and here they are where a byte limit is reached: what the client has no credit for, what finds too
// much waiting for the way to the client, and what waits behind a full send buffer beyond MAX_WAITING. Each is counted. A socket that is silent in both directions for
// `idleMs` ends.

import { creditFrame, ReceiveCredit, SendCredit } from '#proto/credits.ts';
import { ERRNO, errnoName } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import { type Frame, NO_BYTES } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { Datagram } from '#proto/gen/v1/network.ts';
import { decodeHead } from '#proto/session-stream.ts';
import { type FdPoll, READABLE, WRITABLE, watchFd } from '#proto/sockets/addon.ts';
import {
  internetNames,
  lastSource,
  openUdp,
  receiveDatagram,
  sendDatagram,
  socketError,
} from '#runtime/internet-socket.ts';
import { endpointText, fromEndpoint, fromKernel, type InternetEndpoint, toEndpoint } from './address.ts';
import {
  type Connection,
  type ConnectionHost,
  connectedFrame,
  dataFrame,
  errorFrame,
  halfCloseFrame,
  resetFrame,
} from './connection.ts';
import type { DenyList } from './deny-list.ts';

/** Sends that the kernel has not taken yet; more is a client that sends faster than any network. */
const MAX_WAITING = 1_024;
/** Received per turn of the loop, so that one socket does not hold up the others. */
const READS_PER_TURN = 32;
/** A burst of datagrams of 64 KiB; the kernel's default holds three. */
const RECEIVE_BUFFER_BYTES = 1024 * 1024;
/** Holds two of the largest datagrams, so that a client that grants in halves never waits for us. */
export const DATAGRAM_CREDIT_BYTES = 256 * 1024;

/** One for all: a datagram is copied before the next is received. */
const buffer = Buffer.allocUnsafeSlow(64 * 1024);

export interface DatagramOptions {
  readonly id: number;
  readonly host: ConnectionHost;
  /** Of `/proc/PID/ns/net`. */
  readonly namespaceFd: number;
  readonly denyList: DenyList;
  readonly creditBytes: number;
  readonly idleMs: number;
  readonly family: 4 | 6;
  /** null: unconnected. */
  readonly peer: InternetEndpoint | null;
}

/** A datagram that the kernel had no room for. */
interface Waiting {
  readonly data: Uint8Array;
  readonly to: InternetEndpoint | null;
  readonly creditBytes: number;
}

export class DatagramSocket implements Connection {
  readonly #options: DatagramOptions;
  /** -1 once it is closed: the number is soon another's. */
  #fd: number;
  readonly #poll: FdPoll;
  readonly #sendCredit: SendCredit;
  readonly #receiveCredit: ReceiveCredit;
  readonly #idleTimer: NodeJS.Timeout;
  #waiting: Waiting[] = [];
  #isReleased = false;
  #isFinishing = false;
  #isEnded = false;

  /** Throws CONNECTION_FAILED where the socket cannot be had. */
  constructor(options: DatagramOptions) {
    this.#options = options;
    this.#sendCredit = new SendCredit(options.creditBytes);
    this.#receiveCredit = new ReceiveCredit(options.creditBytes);
    this.#fd = openUdp(options.namespaceFd, options.family, options.peer, RECEIVE_BUFFER_BYTES);
    this.#poll = watchFd(this.#fd, (status, events) => this.#onReady(status, events));
    this.#idleTimer = setTimeout(() => {
      const message = `no datagram either way for ${options.idleMs} ms`;
      this.#fail(new AppError('DEADLINE_EXCEEDED', message, { errno: ERRNO.ETIMEDOUT }));
    }, options.idleMs);
  }

  /** Once, right after construction. */
  start(firstBytes: Uint8Array): void {
    const { id, host, peer, creditBytes } = this.#options;
    const local = fromEndpoint(fromKernel(internetNames(this.#fd).local));
    host.send(connectedFrame(id, local, peer === null ? undefined : fromEndpoint(peer), creditBytes));
    if (firstBytes.length > 0 && peer !== null) this.#sendOrQueue({ data: firstBytes, to: null, creditBytes: 0 });
    this.#updatePolling();
  }

  receive(frame: Frame): void {
    if (frame.kind === FrameKind.FRAME_KIND_DATA) {
      this.#onClientData(frame);
      return;
    }
    // A datagram socket has no half: either way the client is done with it, and an end in order gets one back.
    if (frame.kind === FrameKind.FRAME_KIND_HALF_CLOSE && !this.#isReleased) {
      this.#options.host.send(halfCloseFrame(this.#options.id));
    }
    this.#release();
    this.finish();
  }

  grant(bytes: number): void {
    this.#sendCredit.grant(bytes);
  }

  finish(): void {
    this.#release();
    this.#isFinishing = true;
    if (this.#waiting.length === 0) this.#end();
  }

  destroy(): void {
    this.#release();
    this.#end();
  }

  #onClientData(frame: Frame): void {
    try {
      this.#receiveCredit.received(frame.data.length);
      const { peer } = frame.head.length === 0 ? { peer: undefined } : decodeHead(Datagram.decode, frame.head);
      const to = this.#options.peer === null ? toEndpoint(peer) : null;
      this.#idleTimer.refresh();
      if (to !== null && !this.#mayReach(to)) {
        this.#giveCredit(frame.data.length);
        return;
      }
      this.#sendOrQueue({ data: frame.data, to, creditBytes: frame.data.length });
    } catch (thrown) {
      this.#fail(AppError.from(thrown, 'PROTOCOL_VIOLATION'));
    }
  }

  /** sendto(2) of a forbidden destination fails, and the socket lives on. */
  #mayReach(to: InternetEndpoint): boolean {
    try {
      this.#options.denyList.assertInternet(to);
      return true;
    } catch (thrown) {
      this.#options.host.send(errorFrame(this.#options.id, AppError.from(thrown, 'NOT_PERMITTED')));
      return false;
    }
  }

  #sendOrQueue(datagram: Waiting): void {
    if (this.#waiting.length === 0 && this.#trySend(datagram)) return;
    if (this.#waiting.length >= MAX_WAITING) {
      this.#options.host.lost(1);
      this.#giveCredit(datagram.creditBytes);
      return;
    }
    // A piece of a batch that waits would hold on to all of it.
    this.#waiting.push({ ...datagram, data: Buffer.from(datagram.data) });
    this.#updatePolling();
  }

  /** False while the send buffer is full. What the kernel refuses is told, and the socket lives on. */
  #trySend({ data, to, creditBytes }: Waiting): boolean {
    let result = this.#transmit(data, to);
    if (result === -ERRNO.EAGAIN) return false;
    if (result < 0 && to === null) {
      // send(2) reports an ICMP error of the datagram before and does not send its own: once more, then it does.
      const former = result;
      result = this.#transmit(data, to);
      if (result === 0) this.#tellError(former);
      if (result === -ERRNO.EAGAIN) return false;
    }
    if (result < 0) this.#tellError(result);
    this.#giveCredit(creditBytes);
    return true;
  }

  #transmit(data: Uint8Array, to: InternetEndpoint | null): number {
    return sendDatagram(this.#fd, this.#options.family, data, to);
  }

  #giveCredit(bytes: number): void {
    const grantBytes = this.#receiveCredit.consumed(bytes);
    if (grantBytes > 0 && !this.#isReleased) this.#options.host.send(creditFrame(this.#options.id, grantBytes));
  }

  #onReady(status: number, events: number): void {
    if (status < 0) {
      this.#onPollError(status);
      return;
    }
    if (events & WRITABLE) this.#flush();
    if (events & READABLE) this.#receiveSome();
  }

  /** libuv says EBADF of every error and stops (uv__poll_io); what it is the socket knows, which forgets it by that. */
  #onPollError(status: number): void {
    const errno = socketError(this.#fd);
    if (errno === ERRNO.EBADF) this.#fail(this.#toError(status));
    else {
      if (errno !== 0) this.#tellError(-errno);
      this.#updatePolling();
    }
  }

  #flush(): void {
    let sent = 0;
    for (const datagram of this.#waiting) {
      if (!this.#trySend(datagram)) break;
      sent += 1;
    }
    this.#waiting.splice(0, sent);
    if (this.#isFinishing && this.#waiting.length === 0) this.#end();
    else this.#updatePolling();
  }

  #receiveSome(): void {
    for (let count = 0; count < READS_PER_TURN && !this.#isEnded; count += 1) {
      const result = receiveDatagram(this.#fd, buffer);
      if (result === -ERRNO.EAGAIN) return;
      if (result < 0) this.#tellError(result);
      else this.#onDatagram(buffer.subarray(0, result));
    }
  }

  #onDatagram(data: Buffer): void {
    if (this.#isReleased) return;
    const { id, host, peer } = this.#options;
    this.#idleTimer.refresh();
    if (!host.mayWait || !this.#sendCredit.take(data.length)) {
      host.lost(1);
      return;
    }
    host.send(dataFrame(id, Buffer.from(data), peer === null ? sourceHead() : NO_BYTES));
  }

  #updatePolling(): void {
    if (!this.#isEnded) this.#poll.start(this.#waiting.length > 0 ? READABLE | WRITABLE : READABLE);
  }

  /** The kernel's word on one datagram. */
  #tellError(result: number): void {
    if (!this.#isReleased) this.#options.host.send(errorFrame(this.#options.id, this.#toError(result)));
  }

  #toError(result: number): AppError {
    return new AppError('CONNECTION_FAILED', `${this.#name}: ${errnoName(-result)}`, { errno: -result });
  }

  get #name(): string {
    const { peer } = this.#options;
    return peer === null ? 'udp' : `udp ${endpointText(peer)}`;
  }

  #fail(error: AppError): void {
    if (!this.#isReleased) {
      this.#options.host.send(resetFrame(this.#options.id, error));
      this.#release();
    }
    this.#end();
  }

  #release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    this.#options.host.release(this.#options.id);
  }

  #end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    clearTimeout(this.#idleTimer);
    this.#release();
    this.#waiting = [];
    this.#fd = -1;
    this.#poll.close();
    this.#options.host.ended(this.#options.id, this);
  }
}

function sourceHead(): Uint8Array {
  const source = lastSource();
  return source === null ? NO_BYTES : Datagram.encode({ peer: fromEndpoint(fromKernel(source)) }).finish();
}
