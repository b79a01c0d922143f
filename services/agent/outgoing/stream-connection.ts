// A TCP connection or a unix stream: bytes both ways under credit, each direction ending on its own.
//
// It ends by one of: both directions ended in order; RESET of the client (RST towards the peer); an error of the peer's
// side, RST included (RESET towards the client); the session closing. In every one
// `#end` releases what is held, once.

import { creditFrame, MOST_CREDIT_BYTES, ReceiveCredit, SendCredit } from '#proto/credits.ts';
import { errnoName } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import { type Frame, makeFrame, NO_BYTES } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import type { SocketAddress } from '#proto/gen/v1/network.ts';
import type { Lease } from '#proto/receive-blocks.ts';
import type { BulkDelivery, BulkTaker } from '#proto/sockets/bulk-delivery.ts';
import type { BulkOrder } from '#proto/sockets/bulk-order.ts';
import { BULK_PART, BULK_READ_BYTES, ReadRoom } from '#proto/sockets/read-buffers.ts';
import { ownDescriptor, type StreamHandlers, StreamSocket } from '#proto/sockets/stream-socket.ts';
import {
  type Connection,
  type ConnectionHost,
  connectedFrame,
  halfCloseFrame,
  readSizeFor,
  resetFrame,
} from './connection.ts';

export interface StreamOptions {
  readonly id: number;
  readonly host: ConnectionHost;
  /** In both directions. */
  readonly creditBytes: number;
  /** Peer in words, for messages. */
  readonly name: string;
  readonly firstBytes: Uint8Array;
}

export interface DialledStream {
  /** Connected; the connection's from here on. */
  readonly fd: number;
  readonly local: SocketAddress;
  readonly peer: SocketAddress;
}

/** A connection that brings less is not the one that fills the way to the client: it goes on. */
const LIGHT_BYTES = 16 * 1024;
/** The peer does not keep up when more waits for it than its kernel's buffer takes. */
const BEHIND_BYTES = 256 * 1024;
/** For the peer's own end, when the session closes. */
const LINGER_MS = 200;

export class StreamConnection implements Connection, StreamHandlers, BulkTaker {
  readonly #options: StreamOptions;
  readonly #sendCredit: SendCredit;
  readonly #receiveCredit: ReceiveCredit;
  readonly #readBytes: number;
  readonly #room: ReadRoom;
  readonly #resume = () => this.#updateReading();
  #socket: StreamSocket | null = null;
  #state: 'new' | 'open' | 'ended' = 'new';
  /** Read since the way to the client was full. */
  #whileFullBytes = 0;
  /** Of what waits: came with CONNECT, under no credit. */
  #firstBytes = 0;
  /** The client's direction has ended. */
  #hasClientEnded = false;
  #hasPeerEnded = false;
  /** No frame of this id may be sent: the client has its end, or knows of none. */
  #isReleased = false;
  /** The session is closing: end when all is written. */
  #isFinishing = false;
  #lingering: NodeJS.Timeout | undefined;

  constructor(options: StreamOptions) {
    this.#options = options;
    this.#sendCredit = new SendCredit(options.creditBytes);
    const growth = { mostBytes: MOST_CREDIT_BYTES, room: options.host.creditRoom };
    this.#receiveCredit = new ReceiveCredit(options.creditBytes, growth);
    this.#readBytes = readSizeFor(options.creditBytes);
    this.#room = new ReadRoom(this.#readBytes);
  }

  /** Once, right after construction. */
  start({ fd, local, peer }: DialledStream): void {
    const { id, host, creditBytes, firstBytes } = this.#options;
    this.#state = 'open';
    this.#socket = new StreamSocket(ownDescriptor(fd), this);
    host.send(connectedFrame(id, local, peer, creditBytes));
    if (firstBytes.length > 0) this.#firstBytes = firstBytes.length - this.#socket.write([firstBytes], true);
    this.#updateReading();
  }

  receive(frame: Frame): void {
    switch (frame.kind) {
      case FrameKind.FRAME_KIND_DATA:
        frame.isUsedUp = true;
        this.#onClientData(frame.data, frame.lease);
        if (frame.data.length * BULK_PART >= BULK_READ_BYTES) frame.taker = this;
        return;
      case FrameKind.FRAME_KIND_HALF_CLOSE:
        this.#onClientEnd();
        return;
      default:
        this.#release();
        if (this.#state === 'open') this.#socket?.reset();
        this.#end();
    }
  }

  grant(bytes: number): void {
    this.#sendCredit.grant(bytes);
    if (this.#state === 'open') this.#updateReading();
  }

  finish(): void {
    this.#release();
    this.#isFinishing = true;
    if (this.#state !== 'open') {
      this.#end();
      return;
    }
    this.#socket?.end();
    this.#socket?.resume();
    this.#finishWhenWritten();
  }

  destroy(): void {
    this.#release();
    this.#end();
  }

  // ---- from the socket

  room(): Uint8Array {
    return this.#room.take();
  }

  onBytes(count: number): void {
    if (this.#isReleased || this.#state !== 'open') return;
    const { id, host } = this.#options;
    this.#sendCredit.take(count);
    this.#whileFullBytes = host.isFull ? this.#whileFullBytes + count : 0;
    const { data, release } = this.#room.took(count);
    const frame = makeFrame(id, FrameKind.FRAME_KIND_DATA, NO_BYTES, data);
    if (release !== undefined) frame.release = release;
    host.send(frame);
    this.#updateReading();
  }

  carry(order: BulkOrder): boolean {
    const { id, host } = this.#options;
    const credit = this.#sendCredit;
    if (!this.#room.isBulk || this.#isReleased || this.#state !== 'open' || this.#readBytes < BULK_READ_BYTES)
      return false;
    if (!order.limit(credit.availableBytes / BULK_READ_BYTES)) return false;
    order.connection = id;
    order.onRoom = this.#resume;
    if (!host.carry(order)) return false;
    if (order.isWaiting) this.#socket?.pause();
    else if (order.frames > 0) {
      credit.take(order.bytes);
      this.#room.passed(order.bytesOf(order.frames - 1));
      this.#updateReading();
    }
    return true;
  }

  onReadEnd(): void {
    if (this.#hasPeerEnded || this.#state !== 'open') return;
    this.#hasPeerEnded = true;
    if (!this.#isReleased) {
      this.#options.host.send(halfCloseFrame(this.#options.id));
      if (this.#hasClientEnded) this.#release();
    }
    if (this.#isFinishing) this.#finishWhenWritten();
    else this.#endWhenBothDid();
  }

  onTaken(bytes: number): void {
    const first = Math.min(bytes, this.#firstBytes);
    this.#firstBytes -= first;
    this.#giveCredit(bytes - first);
    if (this.#isFinishing) this.#finishWhenWritten();
    else this.#endWhenBothDid();
  }

  onFailed({ errno }: AppError): void {
    this.#fail(new AppError('CONNECTION_FAILED', `${this.#options.name}: ${errnoName(errno)}`, { errno }));
  }

  // ---- from the client

  #onClientData(data: Uint8Array, lease: Lease | undefined): void {
    if (this.#hasClientEnded) {
      this.#fail(new AppError('PROTOCOL_VIOLATION', `data on connection ${this.#options.id} where none may come`));
      return;
    }
    try {
      this.#receiveCredit.received(data.length);
    } catch (thrown) {
      this.#fail(AppError.from(thrown, 'PROTOCOL_VIOLATION'));
      return;
    }
    if (data.length > 0 && this.#socket !== null) this.#giveCredit(this.#socket.write([data], true, lease));
  }

  offer(delivery: BulkDelivery): boolean {
    if (this.#hasClientEnded || this.#isReleased || this.#state !== 'open' || this.#firstBytes > 0) return false;
    delivery.connection = this.#options.id;
    return delivery.limit(this.#receiveCredit.grantedBytes) && this.#socket?.offer(delivery) === true;
  }

  delivered(delivery: BulkDelivery): void {
    this.#receiveCredit.received(delivery.bytes);
    this.#giveCredit(this.#socket?.delivered(delivery) ?? 0);
  }

  #giveCredit(bytes: number): void {
    const isPrompt = (this.#socket?.waitingBytes ?? 0) <= BEHIND_BYTES;
    const grantBytes = this.#receiveCredit.consumed(bytes, isPrompt);
    if (grantBytes === 0 || this.#isReleased || this.#hasClientEnded) return;
    this.#options.host.send(creditFrame(this.#options.id, grantBytes));
  }

  #onClientEnd(): void {
    if (this.#hasClientEnded) return;
    this.#hasClientEnded = true;
    if (this.#state === 'open') this.#socket?.end();
    if (this.#hasPeerEnded) this.#release();
    this.#endWhenBothDid();
  }

  /** Closed with bytes unread, or before some that are on their way, it would be reset, and what we sent with it. */
  #finishWhenWritten(): void {
    if (this.#socket?.waitingBytes !== 0) return;
    if (this.#hasPeerEnded) this.#end();
    else this.#lingering ??= setTimeout(() => this.#end(), LINGER_MS);
  }

  /** The kernel has all of it: what it has not sent yet it sends without us. */
  #endWhenBothDid(): void {
    if (this.#hasPeerEnded && this.#hasClientEnded && this.#socket?.waitingBytes === 0) this.#end();
  }

  /** Reads only while a whole buffer is within the credit and the way to the client has room. */
  #updateReading(): void {
    const socket = this.#socket;
    if (socket === null || this.#state !== 'open') return;
    const { host } = this.#options;
    const hasCredit = this.#sendCredit.availableBytes >= this.#readBytes;
    const isHeldUp = host.isFull && (this.#whileFullBytes > LIGHT_BYTES || host.isStuffed);
    if (hasCredit && isHeldUp) host.whenWritable(this.#resume);
    if (!hasCredit || isHeldUp) socket.pause();
    else socket.resume();
  }

  #fail(error: AppError): void {
    if (!this.#isReleased) {
      this.#options.host.send(resetFrame(this.#options.id, error));
      this.#release();
    }
    if (error.code === 'PROTOCOL_VIOLATION' && this.#state === 'open') this.#socket?.reset();
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
    clearTimeout(this.#lingering);
    this.#receiveCredit.close();
    this.#options.host.forgetWriter(this.#resume);
    this.#room.close();
    this.#socket?.close();
    if (!this.#isReleased) {
      // The socket closed without having said why: the client is not left waiting.
      this.#options.host.send(resetFrame(this.#options.id, new AppError('CONNECTION_FAILED', 'connection closed')));
      this.#release();
    }
    this.#options.host.ended(this.#options.id, this);
  }
}
