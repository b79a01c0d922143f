// One TCP connection to a port of a pod's loopback, through the API server, as kubectl makes it: SPDY/3.1 with a stream for bytes
// and one for the words of an error. Bytes wait on either side until the other takes them.

import { Duplex } from 'node:stream';
import { AppError } from '#proto/errors.ts';
import { dataHead, endStream, openStream, pong, SpdyReader } from './spdy-frames.ts';

export const SPDY_FORWARD_PROTOCOL = 'portforward.k8s.io';

/** Streams of a client have odd numbers. */
const ERROR = 1;
const DATA = 3;
/** Taken from one write into one frame: what the node reads into memory before it hands it on. */
const LONGEST_FRAME_BYTES = 128 * 1024;
const MAX_ERROR_CHARS = 2_000;

export class SpdyForward extends Duplex {
  readonly #socket: Duplex;
  #error = '';
  /** Streams that the other side has not ended: bytes first, then what was wrong. */
  readonly #open = new Set([DATA, ERROR]);
  #isOver = false;

  /** `head`: what was received behind the answer to the upgrade. */
  constructor(socket: Duplex, head: Buffer, port: number) {
    super({ highWaterMark: LONGEST_FRAME_BYTES });
    // It may be over before anybody listens: that shows in `errored` then, and must not end the process.
    this.on('error', () => {});
    this.#socket = socket;
    const reader = new SpdyReader({
      onData: (stream, piece) => this.#receive(stream, piece),
      onEnd: (stream) => this.#ended(stream),
      onReset: (stream) => (stream === null || stream === DATA) && this.#over(),
      onPing: (payload) => this.#socket.write(pong(payload)),
    });
    const push = (chunk: Buffer) => {
      try {
        reader.push(chunk);
      } catch (error) {
        this.destroy(AppError.from(error, 'PROTOCOL_VIOLATION'));
      }
    };
    socket.on('data', push);
    socket.on('error', (error) => this.destroy(error));
    socket.once('end', () => this.#over());
    socket.once('close', () => this.#over());
    const headers = { port: String(port), requestid: '0' };
    socket.write(
      Buffer.concat([
        openStream(ERROR, { streamtype: 'error', ...headers }, true),
        endStream(ERROR),
        openStream(DATA, { streamtype: 'data', ...headers }, false),
      ]),
    );
    if (head.length > 0) push(head);
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

  override _final(done: (error?: Error | null) => void): void {
    this.#socket.write(endStream(DATA), () => {
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
    const parts = framesOf(chunks);
    this.#socket.cork();
    for (const [at, part] of parts.entries()) {
      this.#socket.write(part, at === parts.length - 1 ? () => done() : undefined);
    }
    this.#socket.uncork();
    if (parts.length === 0) done();
  }

  #receive(stream: number, piece: Buffer): void {
    if (stream === DATA) {
      if (!this.#isOver && !this.push(piece)) this.#socket.pause();
    } else if (stream === ERROR) this.#error = (this.#error + piece.toString('utf8')).slice(0, MAX_ERROR_CHARS);
    else throw new AppError('PROTOCOL_VIOLATION', `port-forward: bytes of stream ${stream}`);
  }

  #ended(stream: number): void {
    this.#open.delete(stream);
    if (this.#open.size === 0) this.#over();
  }

  #over(): void {
    if (this.#isOver || this.destroyed) return;
    this.#isOver = true;
    if (this.#error !== '') {
      this.destroy(new AppError('SERVICE_UNAVAILABLE', `port-forward: ${this.#error.trim()}`));
      return;
    }
    this.push(null);
    this.#socket.resume();
  }
}

/** Heads and payloads in turn; what is small goes into one frame. */
function framesOf(chunks: readonly Buffer[]): Buffer[] {
  const parts: Buffer[] = [];
  let left = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  let room = 0;
  for (const chunk of chunks) {
    for (let rest = chunk; rest.length > 0; ) {
      if (room === 0) {
        room = Math.min(left, LONGEST_FRAME_BYTES);
        parts.push(dataHead(DATA, room));
      }
      const part = rest.subarray(0, room);
      parts.push(part);
      room -= part.length;
      left -= part.length;
      rest = rest.subarray(part.length);
    }
  }
  return parts;
}
