// The baseline of bench/relay.ts: frames on a unix socket with nothing around them but their length. What a session could
// at best be.

import { once } from 'node:events';
import net from 'node:net';

const HEADER_BYTES = 4;

/** Whole frames out of what the socket brings, each in a buffer of its own. */
export class Deframer {
  #header = Buffer.alloc(HEADER_BYTES);
  #headerFilled = 0;
  #body: Buffer | null = null;
  #bodyFilled = 0;
  readonly #onFrame: (frame: Buffer) => void;

  constructor(onFrame: (frame: Buffer) => void) {
    this.#onFrame = onFrame;
  }

  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#body === null) {
        const copied = chunk.copy(this.#header, this.#headerFilled, at, at + HEADER_BYTES - this.#headerFilled);
        at += copied;
        this.#headerFilled += copied;
        if (this.#headerFilled < HEADER_BYTES) return;
        this.#body = Buffer.allocUnsafe(this.#header.readUInt32LE());
        this.#headerFilled = 0;
        this.#bodyFilled = 0;
      }
      const copied = chunk.copy(this.#body, this.#bodyFilled, at);
      at += copied;
      this.#bodyFilled += copied;
      if (this.#bodyFilled < this.#body.length) return;
      const frame = this.#body;
      this.#body = null;
      this.#onFrame(frame);
    }
  }
}

/** False when the socket is full. */
export function writeFrame(socket: net.Socket, frame: Buffer): boolean {
  const header = Buffer.allocUnsafe(HEADER_BYTES);
  header.writeUInt32LE(frame.length);
  socket.cork();
  socket.write(header);
  const goesOn = socket.write(frame);
  socket.uncork();
  return goesOn;
}

export class PlainSocket {
  readonly #socket: net.Socket;
  #onFrame: () => void = () => undefined;

  private constructor(socket: net.Socket) {
    this.#socket = socket;
    const deframer = new Deframer(() => this.#onFrame());
    socket.on('data', (chunk) => deframer.push(chunk));
  }

  static async connect(socketPath: string): Promise<PlainSocket> {
    const socket = net.connect(socketPath);
    await once(socket, 'connect');
    return new PlainSocket(socket);
  }

  receive(count: number): Promise<void> {
    let left = count;
    return new Promise((resolve) => {
      this.#onFrame = () => {
        left -= 1;
        if (left === 0) resolve();
      };
      const order = Buffer.alloc(4);
      order.writeUInt32LE(count);
      writeFrame(this.#socket, order);
    });
  }

  close(): void {
    this.#socket.destroy();
  }
}
