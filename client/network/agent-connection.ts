// One connection or datagram socket of the target's network, dialled by the agent, as the client holds it: an id of the
// session, what waits to be sent under the agent's credit, and its end. Flows of the local process use it, and DNS.
//
// It ends by one of: both directions ended in order; RESET of the agent (a dial that failed included); `reset` of its owner;
// the end of the session. `onEnd` tells of each but the owner's own, once, and nothing comes after.

import { creditFrame, creditOf, SendCredit } from '#proto/credits.ts';
import { AppError, fromErrorDetail, toErrorDetail } from '#proto/errors.ts';
import { type Frame, MAX_DATA_BYTES, makeFrame, NO_BYTES } from '#proto/frame.ts';
import { ErrorDetail } from '#proto/gen/v1/error.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { Connect, Connected, Datagram, Transport } from '#proto/gen/v1/network.ts';
import type { Lease } from '#proto/receive-blocks.ts';
import { decodeHead } from '#proto/session-stream.ts';
import { type Address, fromSocketAddress, toSocketAddress } from '#proto/socket-address.ts';
import type { BulkDelivery, BulkTaker } from '#proto/sockets/bulk-delivery.ts';
import type { BulkOrder } from '#proto/sockets/bulk-order.ts';
import { BULK_PART, BULK_READ_BYTES } from '#proto/sockets/read-buffers.ts';
import { WireTransport } from '#proto/wire.ts';
import type { ConnectionReceiver, NetworkSession } from '../session.ts';
import type { Uplink } from './uplink.ts';

export interface ConnectionHandlers extends Partial<BulkTaker> {
  /** `onData` leaves nothing behind that looks at its data. */
  readonly keepsNothing?: boolean;
  onConnected(local: Address | null, peer: Address | null, creditBytes: number): void;
  /** peer: of a datagram of an unconnected socket. Views into a received batch, whose memory `lease` is of. */
  onData(data: Uint8Array, peer: Address | null, lease?: Lease): void | Promise<void>;
  onHalfClose(): void;
  /** On a datagram socket, which lives on. */
  onError(error: AppError): void;
  /** Bytes that were given to `send` have left it. */
  onSent(bytes: number): void;
  /** All that was given, and the end of our direction after it. */
  onEndSent?(): void;
  /** null: in order. */
  onEnd(error: AppError | null): void;
}

export interface ConnectionOptions {
  readonly session: NetworkSession;
  readonly uplink: Uplink;
  readonly transport: WireTransport;
  /** null: an unconnected datagram socket, of this family. */
  readonly peer: Address | null;
  readonly family?: 4 | 6;
  /** Sent with the dial; a datagram that is not empty. */
  readonly firstData?: Uint8Array;
}

const TRANSPORTS = {
  [WireTransport.TCP]: Transport.TRANSPORT_TCP,
  [WireTransport.UDP]: Transport.TRANSPORT_UDP,
  [WireTransport.UNIX_STREAM]: Transport.TRANSPORT_UNIX_STREAM,
  [WireTransport.UNIX_SEQPACKET]: Transport.TRANSPORT_UNIX_SEQPACKET,
};
const AF_INET = 2;
const AF_INET6 = 10;
/** Of one write of a stream, so that others get their turn. */
const PIECE_BYTES = BULK_READ_BYTES;

/** Overtakes the bulk of others, where all that a connection has to say is this. */
const SMALL_BYTES = 4 * 1024;

/**
 * Of datagrams that go before the answer to CONNECT: there is no handshake to wait for, and a resolver asks for A and AAAA
 * one right behind the other. The least that an agent grants is more.
 */
const EARLY_BYTES = 16 * 1024;

interface Piece {
  data: Uint8Array;
  readonly head: Uint8Array;
  /** As of a frame. */
  release: (() => void) | undefined;
}

export class AgentConnection implements ConnectionReceiver, BulkTaker {
  readonly #options: ConnectionOptions;
  readonly #handlers: ConnectionHandlers;
  readonly #id: number;
  readonly #isStream: boolean;
  readonly #resume = () => this.#pump();
  readonly #queue: Piece[] = [];
  #credit: SendCredit | null;
  #earlyBytes = 0;
  #state: 'dialling' | 'open' | 'ended' = 'dialling';
  #isEnding = false;
  #hasSentEnd = false;
  #hasPeerEnded = false;

  constructor(options: ConnectionOptions, handlers: ConnectionHandlers) {
    this.#options = options;
    this.#handlers = handlers;
    const { session, transport, peer, family, firstData = NO_BYTES } = options;
    this.#isStream = transport === WireTransport.TCP || transport === WireTransport.UNIX_STREAM;
    this.#credit = transport === WireTransport.UDP ? new SendCredit(EARLY_BYTES) : null;
    this.#id = session.openConnection(this);
    const head = Connect.encode({
      transport: TRANSPORTS[transport],
      peer: peer === null ? undefined : toSocketAddress(peer),
      family: peer !== null ? 0 : family === 6 ? AF_INET6 : AF_INET,
      deadlineMs: 0,
    }).finish();
    session.send(makeFrame(this.#id, FrameKind.FRAME_KIND_CONNECT, head, firstData));
  }

  get hasSentEnd(): boolean {
    return this.#hasSentEnd;
  }

  get isOpen(): boolean {
    return this.#state === 'open';
  }

  /**
   * Kept until there is a connection, credit and room. peer: of a datagram of an unconnected socket. Not copied at once;
   * `release` as of a frame.
   */
  send(data: Uint8Array, peer: Address | null = null, release?: () => void): void {
    if (this.#state === 'ended' || this.#isEnding) return;
    const head = peer === null ? NO_BYTES : Datagram.encode({ peer: toSocketAddress(peer) }).finish();
    this.#queue.push({ data, head, release });
    this.#pump();
    // What waits for long must not hold on to the chunk that it came in.
    const last = this.#queue.at(-1);
    if (last?.data !== data || data.length * BULK_PART >= data.buffer.byteLength) return;
    last.data = Buffer.from(data);
    last.release?.();
    last.release = undefined;
  }

  /** Of a stream's socket, as SessionStream has it. */
  carry(order: BulkOrder): boolean {
    const credit = this.#credit;
    if (this.#state !== 'open' || this.#isEnding || this.#queue.length > 0 || credit === null) return false;
    if (!order.limit(credit.availableBytes / BULK_READ_BYTES)) return false;
    order.connection = this.#id;
    if (this.#options.session.carry?.(order) !== true) return false;
    credit.take(order.bytes);
    return true;
  }

  /** Our direction ends when all is sent. */
  end(): void {
    if (this.#state === 'ended' || this.#isEnding) return;
    this.#isEnding = true;
    this.#pump();
  }

  /** Over at once; what waits is dropped. */
  reset(): void {
    if (this.#state === 'ended') return;
    const error = toErrorDetail(new AppError('CANCELLED', 'reset by the local process'));
    this.#tell(FrameKind.FRAME_KIND_RESET, ErrorDetail.encode(error).finish());
    this.#close();
  }

  /** The agent may send so many more bytes. */
  grant(bytes: number): void {
    if (bytes > 0 && this.#state === 'open' && !this.#hasPeerEnded) {
      this.#options.session.send(creditFrame(this.#id, bytes));
    }
  }

  receive(frame: Frame): void | Promise<void> {
    switch (frame.kind) {
      case FrameKind.FRAME_KIND_CONNECTED:
        this.#onConnected(frame);
        return undefined;
      case FrameKind.FRAME_KIND_DATA:
        return this.#onData(frame);
      case FrameKind.FRAME_KIND_CREDIT:
        frame.isUsedUp = true;
        this.#credit?.grant(creditOf(frame));
        this.#pump();
        return undefined;
      case FrameKind.FRAME_KIND_HALF_CLOSE:
        this.#onHalfClose();
        return undefined;
      case FrameKind.FRAME_KIND_RESET:
        this.#fail(fromErrorDetail(decodeHead(ErrorDetail.decode, frame.head)));
        return undefined;
      case FrameKind.FRAME_KIND_ERROR:
        this.#handlers.onError(fromErrorDetail(decodeHead(ErrorDetail.decode, frame.head)));
        return undefined;
      default:
        throw new AppError('PROTOCOL_VIOLATION', `frame of kind ${frame.kind} on connection ${this.#id}`);
    }
  }

  lost(error: AppError): void {
    this.#fail(error);
  }

  #onConnected(frame: Frame): void {
    if (this.#state !== 'dialling') throw new AppError('PROTOCOL_VIOLATION', `connection ${this.#id} connected twice`);
    const { local, peer, creditBytes } = decodeHead(Connected.decode, frame.head);
    this.#state = 'open';
    this.#credit = new SendCredit(Math.max(0, creditBytes - this.#earlyBytes));
    this.#handlers.onConnected(fromSocketAddress(local), fromSocketAddress(peer), creditBytes);
    this.#pump();
  }

  #onData(frame: Frame): void | Promise<void> {
    if (this.#state !== 'open' || this.#hasPeerEnded) {
      throw new AppError('PROTOCOL_VIOLATION', `data on connection ${this.#id} where none may come`);
    }
    const peer = frame.head.length === 0 ? null : fromSocketAddress(decodeHead(Datagram.decode, frame.head).peer);
    if (this.#handlers.keepsNothing === true) frame.isUsedUp = true;
    if (this.#handlers.offer !== undefined && frame.data.length * BULK_PART >= BULK_READ_BYTES) frame.taker = this;
    return this.#handlers.onData(frame.data, peer, frame.lease);
  }

  offer(delivery: BulkDelivery): boolean {
    if (this.#state !== 'open' || this.#hasPeerEnded) return false;
    delivery.connection = this.#id;
    return this.#handlers.offer?.(delivery) === true;
  }

  delivered(delivery: BulkDelivery): void {
    this.#handlers.delivered?.(delivery);
  }

  #onHalfClose(): void {
    if (this.#hasPeerEnded) return;
    this.#hasPeerEnded = true;
    this.#handlers.onHalfClose();
    this.#endWhenBothDid();
  }

  #pump(): void {
    if (this.#state === 'ended' || this.#credit === null) return;
    const { uplink } = this.#options;
    while (this.#queue.length > 0) {
      const isSmall = this.#queue.length === 1 && (this.#queue[0] as Piece).data.length <= SMALL_BYTES;
      if (isSmall ? uplink.isStuffed : uplink.isFull) {
        uplink.whenWritable(this.#resume);
        return;
      }
      if (!this.#sendFirst(this.#queue[0] as Piece, this.#credit)) return;
    }
    if (!this.#isEnding || this.#hasSentEnd || this.#state !== 'open') return;
    this.#hasSentEnd = true;
    this.#tell(FrameKind.FRAME_KIND_HALF_CLOSE);
    this.#handlers.onEndSent?.();
    this.#endWhenBothDid();
  }

  /** False where the credit does not reach. */
  #sendFirst(piece: Piece, credit: SendCredit): boolean {
    const { length } = piece.data;
    const bytes = this.#isStream ? Math.min(length, PIECE_BYTES, credit.availableBytes) : length;
    if (!this.#isStream && length > MAX_DATA_BYTES) {
      // No kernel takes so large a packet either (SO_SNDBUF).
      this.#queue.shift();
      this.#handlers.onError(new AppError('CONNECTION_FAILED', `packet of ${length} bytes`, { errno: 90 }));
      return true;
    }
    if ((bytes === 0 && length > 0) || !credit.take(bytes)) return false;
    if (this.#state === 'dialling') this.#earlyBytes += bytes;
    const data = bytes === length ? piece.data : piece.data.subarray(0, bytes);
    const frame = makeFrame(this.#id, FrameKind.FRAME_KIND_DATA, piece.head, data);
    if (bytes === length && piece.release !== undefined) frame.release = piece.release;
    this.#options.session.send(frame);
    if (bytes === length && this.#queue.length === 1) this.#queue.pop();
    else if (bytes === length) this.#queue.shift();
    else piece.data = piece.data.subarray(bytes);
    this.#handlers.onSent(bytes);
    return this.#state !== 'ended';
  }

  #endWhenBothDid(): void {
    if (!this.#hasSentEnd || !this.#hasPeerEnded || this.#state === 'ended') return;
    this.#close();
    this.#handlers.onEnd(null);
  }

  #fail(error: AppError): void {
    if (this.#state === 'ended') return;
    this.#close();
    this.#handlers.onEnd(error);
  }

  #close(): void {
    this.#state = 'ended';
    this.#queue.length = 0;
    this.#options.uplink.forget(this.#resume);
    this.#options.session.closeConnection(this.#id);
  }

  #tell(kind: FrameKind, head: Uint8Array = NO_BYTES, data: Uint8Array = NO_BYTES): void {
    this.#options.session.send(makeFrame(this.#id, kind, head, data));
  }
}
