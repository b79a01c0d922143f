// One TCP connection to a port of a pod's loopback, through the API server, whatever its bytes are framed in. Bytes wait on either
// side until the other takes them; the words of an error are the reason of its end. Ours, because it is the way of every byte of a
// session: the library's PortForward takes each chunk through a WebSocket's events and a copy, and asks nobody to wait.

import { Duplex } from 'node:stream';
import { AppError } from '#proto/errors.ts';
import { reachFar } from '#proto/raw-socket.ts';

/** Taken from one write into one frame: what the other side reads into memory before it hands it on. */
export const LONGEST_FRAME_BYTES = 128 * 1024;
const MAX_ERROR_CHARS = 2_000;

export abstract class ForwardStream extends Duplex {
  readonly #socket: Duplex;
  #error = '';
  #isOver = false;

  constructor(socket: Duplex) {
    super({ highWaterMark: LONGEST_FRAME_BYTES });
    // It may be over before anybody listens: that shows in `errored` then, and must not end the process.
    this.on('error', () => {});
    this.#socket = socket;
  }

  /** Heads and payloads in turn, in frames of LONGEST_FRAME_BYTES at most. */
  protected abstract framesOf(chunks: readonly Buffer[]): Buffer[];
  /** The frame that ends our half. */
  protected abstract endFrame(): Buffer;

  /** `head`: what was received behind the answer to the upgrade. */
  protected begin(reader: { push(chunk: Buffer): void }, head: Buffer): void {
    const push = (chunk: Buffer) => {
      try {
        reader.push(chunk);
      } catch (error) {
        this.destroy(AppError.from(error, 'PROTOCOL_VIOLATION'));
      }
    };
    reachFar(this.#socket);
    this.#socket.on('data', push);
    this.#socket.on('error', (error) => this.destroy(error));
    this.#socket.once('end', () => this.over());
    this.#socket.once('close', () => this.over());
    if (head.length > 0) push(head);
  }

  /** What the protocol says for itself. */
  protected say(parts: readonly Buffer[], done?: () => void): void {
    this.#socket.cork();
    for (const [at, part] of parts.entries()) this.#socket.write(part, at === parts.length - 1 ? done : undefined);
    this.#socket.uncork();
  }

  protected receive(piece: Buffer): void {
    if (!this.#isOver && !this.push(piece)) this.#socket.pause();
  }

  protected receiveError(piece: Buffer): void {
    this.#error = (this.#error + piece.toString('utf8')).slice(0, MAX_ERROR_CHARS);
  }

  protected over(): void {
    if (this.#isOver || this.destroyed) return;
    this.#isOver = true;
    if (this.#error !== '') {
      this.destroy(new AppError('SERVICE_UNAVAILABLE', `port-forward: ${this.#error.trim()}`));
      return;
    }
    this.push(null);
    this.#socket.resume();
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#send([chunk], done);
  }

  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this.#send(
      chunks.map(({ chunk }) => chunk),
      done,
    );
  }

  /** The end of ours is the end of both: the agent ends its half first. */
  override _final(done: (error?: Error | null) => void): void {
    this.#socket.write(this.endFrame(), () => {
      done();
      this.destroy();
    });
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#socket.destroy();
    done(error);
  }

  /** Calls back when the kernel has taken all of it. */
  #send(chunks: readonly Buffer[], done: (error?: Error | null) => void): void {
    if (this.#socket.destroyed) {
      done(new AppError('SERVICE_UNAVAILABLE', 'the port-forward is closed'));
      return;
    }
    const parts = this.framesOf(chunks);
    if (parts.length === 0) done();
    else this.say(parts, done);
  }
}
