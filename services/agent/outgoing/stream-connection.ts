// A TCP connection or a unix stream: bytes both ways under credit, each direction ending on its own.
//
// It ends by one of: both directions ended in order; RESET of the client (RST towards the peer); an error of the peer's
// side, RST included (RESET towards the client); the session closing. In every one
// `#end` releases what is held, once.

import type { Socket } from 'node:net';
import { ReceiveCredit, SendCredit } from '#proto/credits.ts';
import { AppError } from '#proto/errors.ts';
import type { Frame } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import type { SocketAddress } from '#proto/gen/v1/network.ts';
import {
  type Connection,
  type ConnectionHost,
  connectedFrame,
  creditFrame,
  dataFrame,
  FULL_READ_BYTES,
  halfCloseFrame,
  readSizeFor,
  resetFrame,
  toConnectionError,
} from './connection.ts';
import { WriteQueue } from './write-queue.ts';

export interface StreamOptions {
  readonly id: number;
  readonly host: ConnectionHost;
  /** In both directions. */
  readonly creditBytes: number;
  /** Peer in words, for messages. */
  readonly name: string;
  readonly firstBytes: Uint8Array;
}

/** `onread` of a socket: where it reads to, and who takes it. */
export interface Reading {
  readonly buffer: () => Uint8Array;
  readonly callback: (count: number, buffer: Uint8Array) => boolean;
}

export interface DialledStream {
  readonly socket: Socket;
  readonly local: SocketAddress;
  readonly peer: SocketAddress;
  /** RST where the transport has one. */
  reset(): void;
}

/** All connections that bring little read into it, and what they brought is copied. */
const sharedBuffer = Buffer.allocUnsafeSlow(FULL_READ_BYTES);
/** A connection that brings less is not the one that fills the way to the client: it goes on. */
const LIGHT_BYTES = 16 * 1024;

export class StreamConnection implements Connection {
  readonly #options: StreamOptions;
  readonly #sendCredit: SendCredit;
  readonly #receiveCredit: ReceiveCredit;
  readonly #readBytes: number;
  readonly #queue = new WriteQueue();
  readonly #resume = () => this.#updateReading();
  #dialled: DialledStream | null = null;
  #state: 'new' | 'open' | 'ended' = 'new';
  /** Read since the way to the client was full. */
  #whileFullBytes = 0;
  #isWriting = false;
  #isPaused = false;
  /** What came last filled at least half of the buffer. */
  #isBulk = false;
  /** The client's direction has ended. */
  #hasClientEnded = false;
  #hasPeerEnded = false;
  /** No frame of this id may be sent: the client has its end, or knows of none. */
  #isReleased = false;
  /** The session is closing: end when all is written. */
  #isFinishing = false;

  constructor(options: StreamOptions) {
    this.#options = options;
    this.#sendCredit = new SendCredit(options.creditBytes);
    this.#receiveCredit = new ReceiveCredit(options.creditBytes);
    this.#readBytes = readSizeFor(options.creditBytes);
  }

  /** One who fills buffers gets a fresh one each time, which goes on as it is: thousands of others need none of their own. */
  readonly reading: Reading = {
    buffer: () => {
      if (this.#isBulk) return Buffer.allocUnsafeSlow(this.#readBytes);
      return sharedBuffer.subarray(0, this.#readBytes);
    },
    callback: (count, buffer) => {
      this.#onBytes(count, buffer);
      return true;
    },
  };

  /** Once, right after construction. */
  start(dialled: DialledStream): void {
    const { id, host, creditBytes, firstBytes } = this.#options;
    const { socket, local, peer } = dialled;
    this.#dialled = dialled;
    this.#state = 'open';
    socket.on('error', (error) => this.#fail(toConnectionError(this.#options.name, error)));
    socket.on('end', () => this.#onPeerEnd());
    socket.on('close', () => this.#end());
    host.send(connectedFrame(id, local, peer, creditBytes));
    if (firstBytes.length > 0) this.#write(firstBytes, false);
    this.#updateReading();
  }

  receive(frame: Frame): void {
    switch (frame.kind) {
      case FrameKind.FRAME_KIND_DATA:
        this.#onClientData(frame.data);
        return;
      case FrameKind.FRAME_KIND_HALF_CLOSE:
        this.#onClientEnd();
        return;
      default:
        this.#release();
        if (this.#state === 'open') this.#dialled?.reset();
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
    if (this.#state !== 'open' || !this.#isWriting) this.#end();
  }

  destroy(): void {
    this.#release();
    this.#end();
  }

  #onBytes(count: number, buffer: Uint8Array): void {
    const isOwn = buffer.buffer !== sharedBuffer.buffer;
    this.#isBulk = count * 2 >= this.#readBytes;
    if (this.#isReleased || this.#state !== 'open') return;
    this.#sendCredit.take(count);
    this.#whileFullBytes = this.#options.host.isFull ? this.#whileFullBytes + count : 0;
    const data = buffer.subarray(0, count);
    this.#options.host.send(dataFrame(this.#options.id, isOwn && this.#isBulk ? data : Buffer.from(data)));
    this.#updateReading();
  }

  #onClientData(data: Uint8Array): void {
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
    if (this.#isWriting) this.#queue.push(data);
    else if (data.length > 0) this.#write(data, true);
  }

  #write(data: Uint8Array, isUnderCredit: boolean): void {
    this.#isWriting = true;
    // A small piece of a batch would hold on to all of it while the peer is slow.
    const owned = data.length * 2 >= data.buffer.byteLength ? data : Buffer.from(data);
    this.#dialled?.socket.write(owned, (error) => {
      this.#isWriting = false;
      // 'error' tells what happened.
      if (error || this.#state === 'ended') return;
      if (isUnderCredit) this.#giveCredit(data.length);
      const next = this.#queue.shift();
      if (next !== null) this.#write(next, true);
      else if (this.#isFinishing) this.#end();
      else if (this.#hasClientEnded) this.#dialled?.socket.end();
    });
  }

  #giveCredit(bytes: number): void {
    const grantBytes = this.#receiveCredit.consumed(bytes);
    if (grantBytes === 0 || this.#isReleased || this.#hasClientEnded) return;
    this.#options.host.send(creditFrame(this.#options.id, grantBytes));
  }

  #onClientEnd(): void {
    if (this.#hasClientEnded) return;
    this.#hasClientEnded = true;
    if (this.#state === 'open' && !this.#isWriting) this.#dialled?.socket.end();
    if (this.#hasPeerEnded) this.#release();
  }

  #onPeerEnd(): void {
    if (this.#hasPeerEnded || this.#state !== 'open') return;
    this.#hasPeerEnded = true;
    if (this.#isReleased) return;
    this.#options.host.send(halfCloseFrame(this.#options.id));
    if (this.#hasClientEnded) this.#release();
  }

  /** Reads only while a whole buffer is within the credit and the way to the client has room. */
  #updateReading(): void {
    const socket = this.#dialled?.socket;
    if (socket === undefined || this.#state !== 'open') return;
    const { host } = this.#options;
    const hasCredit = this.#sendCredit.availableBytes >= this.#readBytes;
    const isHeldUp = host.isFull && (this.#whileFullBytes > LIGHT_BYTES || host.isStuffed);
    if (hasCredit && isHeldUp) host.whenWritable(this.#resume);
    const shouldPause = !hasCredit || isHeldUp;
    if (shouldPause === this.#isPaused) return;
    this.#isPaused = shouldPause;
    if (shouldPause) socket.pause();
    else socket.resume();
  }

  #fail(error: AppError): void {
    if (!this.#isReleased) {
      this.#options.host.send(resetFrame(this.#options.id, error));
      this.#release();
    }
    if (error.code === 'PROTOCOL_VIOLATION' && this.#state === 'open') this.#dialled?.reset();
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
    this.#queue.clear();
    this.#options.host.forgetWriter(this.#resume);
    const socket = this.#dialled?.socket;
    if (socket !== undefined && !socket.destroyed) socket.destroy();
    if (!this.#isReleased) {
      // The socket closed without having said why: the client is not left waiting.
      this.#options.host.send(resetFrame(this.#options.id, new AppError('CONNECTION_FAILED', 'connection closed')));
      this.#release();
    }
    this.#options.host.ended(this.#options.id, this);
  }
}
