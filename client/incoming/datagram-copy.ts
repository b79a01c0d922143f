// The datagrams of one peer of the target, copied to the socket of the local process that stands for their port: each is sent
// once more, from an address of their own by which the layer knows whose they are. What the local process answers to it comes
// here and is thrown away.
//
// Memory: the flow's credit.

import dgram from 'node:dgram';
import type { InternetAddress } from '#proto/socket-address.ts';
import { formatIp } from '#proto/socket-address.ts';
import { Arrival } from './arrival.ts';

/** `delivered` is called for each datagram. */
export class DatagramCopy extends Arrival {
  #socket: dgram.Socket | null = null;
  #to: { port: number; host: string } | null = null;
  /** Came before the socket was there. */
  #early: Buffer[] = [];
  #sending = 0;
  #hasEnded = false;

  connect(from: InternetAddress, to: InternetAddress, onRefused: (code: string) => void): void {
    if (this.isClosed) return;
    const socket = dgram.createSocket({ type: from.ip.length === 4 ? 'udp4' : 'udp6' });
    this.#socket = socket;
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (this.#to !== null || this.isClosed) return;
      this.#socket = null;
      socket.close();
      onRefused(error.code ?? 'EIO');
    });
    socket.on('message', () => undefined);
    socket.bind({ port: from.port, address: formatIp(from.ip), exclusive: true }, () => {
      if (this.isClosed) return;
      this.#to = { port: to.port, host: formatIp(to.ip) };
      for (const datagram of this.#early.splice(0)) this.#send(datagram);
      this.#closeWhenDone();
    });
  }

  /** Datagrams are missing: the others are whole. The service counts them. */
  cut(): void {}

  halfClose(): void {}

  /** The peer was silent for long, or the service ended it. */
  end(): void {
    this.#hasEnded = true;
    this.#closeWhenDone();
  }

  /** One datagram, possibly empty. */
  protected take(data: Uint8Array): void {
    const datagram = Buffer.from(data);
    this.#sending += 1;
    if (this.#to === null) this.#early.push(datagram);
    else this.#send(datagram);
  }

  protected get waitingBytes(): number {
    return this.#early.reduce((sum, { length }) => sum + length, 0);
  }

  protected release(): void {
    this.#early = [];
    this.#socket?.close();
  }

  #send(datagram: Buffer): void {
    const { port, host } = this.#to as { port: number; host: string };
    this.#socket?.send(datagram, port, host, (error) => {
      this.#sending -= 1;
      if (this.isClosed) return;
      // Larger than this machine's loopback takes, or no memory for it.
      if (error) this.options.lost('not sent', datagram.length);
      else this.options.delivered(datagram.length);
      this.consumed(datagram.length, !this.#hasEnded);
      this.#closeWhenDone();
    });
  }

  #closeWhenDone(): void {
    if (this.#hasEnded && this.#sending === 0) this.close();
  }
}
