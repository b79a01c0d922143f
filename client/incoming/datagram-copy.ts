// The datagrams of one peer of the target, copied to the socket of the local process that stands for their port: each is sent
// once more, from an address of their own by which the layer knows whose they are. What the local process answers to it comes
// here and is thrown away.
//
// Memory: the flow's credit.

import dgram from 'node:dgram';
import { ReceiveCredit } from '#proto/credits.ts';
import type { InternetAddress } from '#proto/socket-address.ts';
import { formatIp } from '#proto/socket-address.ts';
import type { LocalLoss } from './tally.ts';

export interface DatagramCopyOptions {
  readonly connectionBytes: number;
  /** To the service: so many bytes more may come. */
  grant(bytes: number): void;
  /** To the service: nothing more is wanted. */
  reset(): void;
  /** One more datagram. */
  delivered(bytes: number): void;
  lost(why: LocalLoss, bytes: number): void;
  /** The socket is closed, or never was. Once. */
  onClosed(): void;
}

export class DatagramCopy {
  readonly #options: DatagramCopyOptions;
  readonly #credit: ReceiveCredit;
  #socket: dgram.Socket | null = null;
  #to: { port: number; host: string } | null = null;
  /** Came before the socket was there. */
  #early: Buffer[] = [];
  #sending = 0;
  #hasEnded = false;
  #isClosed = false;
  #whenClosed: (() => void)[] = [];

  constructor(options: DatagramCopyOptions) {
    this.#options = options;
    this.#credit = new ReceiveCredit(options.connectionBytes);
  }

  /** At once when it is closed already. */
  whenClosed(act: () => void): void {
    if (this.#isClosed) act();
    else this.#whenClosed.push(act);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Once. `from` is bound here; `onRefused` says that the address was taken. */
  connect(from: InternetAddress, to: InternetAddress, onRefused: (code: string) => void): void {
    if (this.#isClosed) return;
    const socket = dgram.createSocket({ type: from.ip.length === 4 ? 'udp4' : 'udp6' });
    this.#socket = socket;
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (this.#to !== null || this.#isClosed) return;
      this.#socket = null;
      socket.close();
      onRefused(error.code ?? 'EIO');
    });
    socket.on('message', () => undefined);
    socket.bind({ port: from.port, address: formatIp(from.ip), exclusive: true }, () => {
      if (this.#isClosed) return;
      this.#to = { port: to.port, host: formatIp(to.ip) };
      for (const datagram of this.#early.splice(0)) this.#send(datagram);
      this.#closeWhenDone();
    });
  }

  /** One datagram, possibly empty. Throws PROTOCOL_VIOLATION for more than was granted. */
  receive(data: Uint8Array): void {
    this.#credit.received(data.length);
    if (this.#isClosed) return;
    const datagram = Buffer.from(data);
    this.#sending += 1;
    if (this.#to === null) this.#early.push(datagram);
    else this.#send(datagram);
  }

  /** Datagrams are missing: the others are whole. The service counts them. */
  cut(): void {}

  halfClose(): void {}

  /** The peer was silent for long, or the service ended it. */
  end(): void {
    this.#hasEnded = true;
    this.#closeWhenDone();
  }

  refuse(why: LocalLoss): void {
    if (this.#isClosed) return;
    this.#options.lost(
      why,
      this.#early.reduce((sum, { length }) => sum + length, 0),
    );
    this.#options.reset();
    this.close();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#early = [];
    this.#socket?.close();
    this.#options.onClosed();
    for (const act of this.#whenClosed.splice(0)) act();
  }

  #send(datagram: Buffer): void {
    const { port, host } = this.#to as { port: number; host: string };
    this.#socket?.send(datagram, port, host, (error) => {
      this.#sending -= 1;
      if (this.#isClosed) return;
      // Larger than this machine's loopback takes, or no memory for it.
      if (error) this.#options.lost('not sent', datagram.length);
      else this.#options.delivered(datagram.length);
      const grant = this.#credit.consumed(datagram.length);
      if (grant > 0 && !this.#hasEnded) this.#options.grant(grant);
      this.#closeWhenDone();
    });
  }

  #closeWhenDone(): void {
    if (this.#hasEnded && this.#sending === 0) this.close();
  }
}
