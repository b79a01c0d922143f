// A unix seqpacket connection: packets both ways, in order, none lost. Node has no socket of that type, so the addon's
// descriptor is read and written here when the loop says it is ready.

import { creditFrame, ReceiveCredit, SendCredit } from '#proto/credits.ts';
import { errnoName } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import { type Frame, MAX_DATA_BYTES } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { type FdPoll, READABLE, WRITABLE, watchFd } from '#proto/sockets/addon.ts';
import { receivePacket, sendPacket, shutdownWriting } from '#runtime/netns.ts';
import {
  type Connection,
  type ConnectionHost,
  connectedFrame,
  dataFrame,
  halfCloseFrame,
  resetFrame,
} from './connection.ts';
import type { Dialled } from './dial.ts';

/** Empty packets cost no credit; more of them than this waiting is no honest client. */
const MAX_WAITING = 1_024;
/** Packets read per turn, so that one connection does not hold up the others. */
const READS_PER_TURN = 16;
const EAGAIN = -11;
const ENODATA = -61;

/** One for all: a packet is copied into its frame before the next is read. */
const buffer = Buffer.allocUnsafeSlow(MAX_DATA_BYTES);

export interface PacketOptions {
  readonly id: number;
  readonly host: ConnectionHost;
  /** At least twice the largest packet, or the credit could never cover one. */
  readonly creditBytes: number;
  readonly firstBytes: Uint8Array;
  /** Connected; ours from here on. */
  readonly fd: number;
}

export class PacketConnection implements Connection {
  readonly #options: PacketOptions;
  /** -1 once it is closed: the number is soon another's. */
  #fd: number;
  readonly #poll: FdPoll;
  readonly #sendCredit: SendCredit;
  readonly #receiveCredit: ReceiveCredit;
  readonly #resume = () => this.#updatePolling();
  #waiting: Buffer[] = [];
  #hasClientEnded = false;
  #hasPeerEnded = false;
  #isReleased = false;
  #isFinishing = false;
  #isEnded = false;

  constructor(options: PacketOptions) {
    this.#options = options;
    this.#fd = options.fd;
    this.#sendCredit = new SendCredit(options.creditBytes);
    this.#receiveCredit = new ReceiveCredit(options.creditBytes);
    this.#poll = watchFd(this.#fd, (status, events) => this.#onReady(status, events));
  }

  /** Once, right after construction. */
  start({ local, peer }: Dialled): void {
    const { id, host, creditBytes, firstBytes } = this.#options;
    host.send(connectedFrame(id, local, peer, creditBytes));
    if (firstBytes.length > 0) this.#sendOrQueue(firstBytes);
    this.#updatePolling();
  }

  receive(frame: Frame): void {
    switch (frame.kind) {
      case FrameKind.FRAME_KIND_DATA:
        this.#onClientData(frame.data);
        return;
      case FrameKind.FRAME_KIND_HALF_CLOSE:
        this.#hasClientEnded = true;
        if (this.#waiting.length === 0) this.#endWriting();
        if (this.#hasPeerEnded) this.#release();
        return;
      default:
        this.destroy();
    }
  }

  grant(bytes: number): void {
    this.#sendCredit.grant(bytes);
    this.#updatePolling();
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

  #onClientData(packet: Uint8Array): void {
    if (this.#hasClientEnded || this.#waiting.length >= MAX_WAITING) {
      this.#fail(new AppError('PROTOCOL_VIOLATION', `data on connection ${this.#options.id} where none may come`));
      return;
    }
    try {
      this.#receiveCredit.received(packet.length);
    } catch (thrown) {
      this.#fail(AppError.from(thrown, 'PROTOCOL_VIOLATION'));
      return;
    }
    this.#sendOrQueue(packet);
  }

  #sendOrQueue(packet: Uint8Array): void {
    if (this.#waiting.length === 0 && this.#trySend(packet)) return;
    if (this.#isEnded) return;
    this.#waiting.push(Buffer.from(packet));
    this.#updatePolling();
  }

  /** False while the peer's queue is full. A packet that the kernel refuses ends the connection. */
  #trySend(packet: Uint8Array): boolean {
    const result = sendPacket(this.#fd, packet);
    if (result === EAGAIN) return false;
    if (result < 0) this.#fail(systemError(result));
    else this.#giveCredit(packet.length);
    return true;
  }

  #giveCredit(bytes: number): void {
    const grantBytes = this.#receiveCredit.consumed(bytes);
    if (grantBytes > 0 && !this.#isReleased) this.#options.host.send(creditFrame(this.#options.id, grantBytes));
  }

  #onReady(status: number, events: number): void {
    if (status < 0) {
      this.#fail(systemError(status));
      return;
    }
    if (events & WRITABLE) this.#flush();
    if (events & READABLE) this.#read();
    this.#updatePolling();
  }

  #flush(): void {
    while (this.#waiting.length > 0 && !this.#isEnded) {
      if (!this.#trySend(this.#waiting[0] as Buffer)) return;
      this.#waiting.shift();
    }
    if (this.#isEnded) return;
    if (this.#isFinishing) this.#end();
    else if (this.#hasClientEnded) this.#endWriting();
  }

  #read(): void {
    for (let count = 0; count < READS_PER_TURN && this.#mayRead; count += 1) {
      const result = receivePacket(this.#fd, buffer);
      if (result === EAGAIN) return;
      if (result === ENODATA) {
        this.#onPeerEnd();
        return;
      }
      if (result < 0) {
        this.#fail(systemError(result));
        return;
      }
      this.#sendCredit.take(result);
      if (!this.#isReleased) this.#options.host.send(dataFrame(this.#options.id, buffer.subarray(0, result)));
    }
  }

  #onPeerEnd(): void {
    this.#hasPeerEnded = true;
    if (!this.#isReleased) this.#options.host.send(halfCloseFrame(this.#options.id));
    if (!this.#hasClientEnded) return;
    this.#release();
    if (this.#waiting.length === 0) this.#end();
  }

  #endWriting(): void {
    shutdownWriting(this.#fd);
    if (this.#hasPeerEnded) this.destroy();
  }

  get #mayRead(): boolean {
    const { host } = this.#options;
    return !this.#isEnded && !this.#hasPeerEnded && !host.isFull && this.#sendCredit.availableBytes >= MAX_DATA_BYTES;
  }

  #updatePolling(): void {
    if (this.#isEnded) return;
    if (this.#options.host.isFull && !this.#hasPeerEnded) this.#options.host.whenWritable(this.#resume);
    this.#poll.start((this.#mayRead ? READABLE : 0) | (this.#waiting.length > 0 ? WRITABLE : 0));
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
    this.#waiting = [];
    this.#options.host.forgetWriter(this.#resume);
    this.#fd = -1;
    this.#poll.close();
    this.#options.host.ended(this.#options.id, this);
  }
}

function systemError(result: number): AppError {
  const name = errnoName(-result);
  return new AppError('CONNECTION_FAILED', `unix seqpacket: ${name}`, { errno: -result });
}
