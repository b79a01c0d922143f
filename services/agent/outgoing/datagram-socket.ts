// A UDP socket of the target's network: connected to one peer, or sending to and hearing from any. One frame is one
// datagram in either direction.
//
// Datagrams may be lost, and here they are where a byte limit is reached: what the client has no credit for, what finds too
// much waiting for the way to the client, and what waits behind a full send buffer beyond MAX_WAITING. Each is counted. A socket that is silent in both directions for
// `idleMs` ends.

import dgram from 'node:dgram';
import { ReceiveCredit, SendCredit } from '#proto/credits.ts';
import { AppError } from '#proto/errors.ts';
import { type Frame, NO_BYTES } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { Datagram } from '#proto/gen/v1/network.ts';
import { decodeHead } from '#proto/session-stream.ts';
import { endpointText, formatIp, fromEndpoint, type InternetEndpoint, toEndpoint } from './address.ts';
import {
  type Connection,
  type ConnectionHost,
  connectedFrame,
  creditFrame,
  dataFrame,
  errorFrame,
  halfCloseFrame,
  resetFrame,
  toConnectionError,
} from './connection.ts';
import type { DenyList } from './deny-list.ts';
import { hostText, toLocal } from './dial.ts';

/** Sends that the kernel has not taken yet; more is a client that sends faster than any network. */
const MAX_WAITING = 1_024;
/** A burst of datagrams of 64 KiB; the kernel's default holds three. */
const RECEIVE_BUFFER_BYTES = 1024 * 1024;
/** Holds two of the largest datagrams, so that a client that grants in halves never waits for us. */
export const DATAGRAM_CREDIT_BYTES = 256 * 1024;

export interface DatagramOptions {
  readonly id: number;
  readonly host: ConnectionHost;
  readonly denyList: DenyList;
  readonly creditBytes: number;
  readonly idleMs: number;
  readonly family: 4 | 6;
  /** null: unconnected. */
  readonly peer: InternetEndpoint | null;
  readonly firstBytes: Uint8Array;
}

export class DatagramSocket implements Connection {
  readonly #options: DatagramOptions;
  readonly #socket: dgram.Socket;
  readonly #sendCredit: SendCredit;
  readonly #receiveCredit: ReceiveCredit;
  readonly #idleTimer: NodeJS.Timeout;
  #state: 'opening' | 'open' | 'ended' = 'opening';
  #isReleased = false;
  #isFinishing = false;
  #waiting = 0;

  constructor(options: DatagramOptions) {
    this.#options = options;
    this.#sendCredit = new SendCredit(options.creditBytes);
    this.#receiveCredit = new ReceiveCredit(options.creditBytes);
    this.#socket = dgram.createSocket({ type: options.family === 4 ? 'udp4' : 'udp6' });
    this.#socket.on('message', (data, { address, port }) => this.#onDatagram(data, address, port));
    this.#socket.on('error', (error) => this.#onError(error));
    this.#socket.on('close', () => this.#end());
    this.#idleTimer = setTimeout(() => {
      const message = `no datagram either way for ${options.idleMs} ms`;
      this.#fail(new AppError('DEADLINE_EXCEEDED', message, { errno: 110 }));
    }, options.idleMs);
    this.#open();
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
    if (this.#waiting === 0) this.#end();
  }

  destroy(): void {
    this.#release();
    this.#end();
  }

  #open(): void {
    const { peer } = this.#options;
    this.#socket.once('listening', () => {
      // Not every kernel gives as much (net.core.rmem_max).
      this.#socket.setRecvBufferSize(RECEIVE_BUFFER_BYTES);
      if (peer === null) this.#onOpen();
    });
    if (peer === null) this.#socket.bind({ port: 0 });
    else {
      this.#socket.connect(peer.port, hostText(peer), (error?: Error) => {
        if (error === undefined || error === null) this.#onOpen();
        else this.#fail(toConnectionError(this.#name, error));
      });
    }
  }

  #onOpen(): void {
    if (this.#state !== 'opening') return;
    this.#state = 'open';
    const { id, host, peer, creditBytes, firstBytes } = this.#options;
    const { address, port } = this.#socket.address();
    const local = fromEndpoint(toLocal(address, port));
    host.send(connectedFrame(id, local, peer === null ? undefined : fromEndpoint(peer), creditBytes));
    if (firstBytes.length > 0 && peer !== null) this.#sendDatagram(firstBytes, null, 0);
  }

  #onClientData(frame: Frame): void {
    if (this.#state !== 'open') {
      this.#fail(new AppError('PROTOCOL_VIOLATION', `data on socket ${this.#options.id} before it was open`));
      return;
    }
    try {
      this.#receiveCredit.received(frame.data.length);
      const { peer } = frame.head.length === 0 ? { peer: undefined } : decodeHead(Datagram.decode, frame.head);
      const to = this.#options.peer === null ? toEndpoint(peer) : null;
      this.#idleTimer.refresh();
      if (to !== null && !this.#mayReach(to)) {
        this.#giveCredit(frame.data.length);
        return;
      }
      this.#sendDatagram(frame.data, to, frame.data.length);
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

  #sendDatagram(data: Uint8Array, to: InternetEndpoint | null, creditBytes: number): void {
    if (this.#waiting >= MAX_WAITING) {
      this.#options.host.lost(1);
      this.#giveCredit(creditBytes);
      return;
    }
    // A piece of a batch that waits would hold on to all of it.
    const owned = this.#waiting > 0 ? Buffer.from(data) : data;
    this.#waiting += 1;
    this.#transmit(owned, to, true, (error) => {
      this.#waiting -= 1;
      if (this.#state === 'ended') return;
      if (error !== null) this.#onError(error);
      this.#giveCredit(creditBytes);
      if (this.#isFinishing && this.#waiting === 0) this.#end();
    });
  }

  /** send(2) reports an ICMP error of the datagram before and does not send its own: once more, then it does. */
  #transmit(
    data: Uint8Array,
    to: InternetEndpoint | null,
    mayRetry: boolean,
    done: (error: Error | null) => void,
  ): void {
    const sent = (error: Error | null) => {
      if (error && mayRetry && to === null && this.#state === 'open') {
        this.#transmit(data, to, false, (second) => {
          if (second === null) this.#onError(error);
          done(second);
        });
      } else done(error ?? null);
    };
    if (to === null) this.#socket.send(data, sent);
    else this.#socket.send(data, to.port, this.#destination(to), sent);
  }

  /** An IPv6 socket reaches IPv4 peers by their mapped addresses (ipv6(7)). */
  #destination(to: InternetEndpoint): string {
    const { family } = this.#options;
    return family === 6 && to.ip.length === 4 ? `::ffff:${formatIp(to.ip)}` : hostText(to);
  }

  #giveCredit(bytes: number): void {
    const grantBytes = this.#receiveCredit.consumed(bytes);
    if (grantBytes > 0 && !this.#isReleased) this.#options.host.send(creditFrame(this.#options.id, grantBytes));
  }

  #onDatagram(data: Buffer, address: string, port: number): void {
    if (this.#isReleased || this.#state !== 'open') return;
    const { id, host, peer } = this.#options;
    this.#idleTimer.refresh();
    if (!host.mayWait || !this.#sendCredit.take(data.length)) {
      host.lost(1);
      return;
    }
    const head = peer === null ? Datagram.encode({ peer: fromEndpoint(toLocal(address, port)) }).finish() : NO_BYTES;
    host.send(dataFrame(id, data, head));
  }

  /** Of an open socket: the kernel's word on one datagram. Before: the socket could not be had. */
  #onError(error: Error): void {
    const failure = toConnectionError(this.#name, error);
    if (this.#state === 'opening') this.#fail(failure);
    else if (!this.#isReleased) this.#options.host.send(errorFrame(this.#options.id, failure));
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
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    clearTimeout(this.#idleTimer);
    this.#release();
    try {
      this.#socket.close();
    } catch {
      // It was never bound, or has closed by itself.
    }
    this.#options.host.ended(this.#options.id, this);
  }
}
