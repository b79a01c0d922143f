// One TCP connection to a port of a pod's loopback, through the API server: the port-forward of Kubernetes over a WebSocket
// (v4.channel.k8s.io). The first byte of a frame is its channel, 0 for data and 1 for the words of an error; the first frame
// of either channel says the port. Bytes wait on either side until the other takes them.

import { Duplex } from 'node:stream';
import { AppError } from '#proto/errors.ts';
import { FrameReader, frameHead, OPCODE } from './websocket-frames.ts';

export const WEBSOCKET_FORWARD_PROTOCOL = 'v4.channel.k8s.io';

const DATA = 0;
const ERROR = 1;
const PORT_BYTES = 2;
/** Taken from one write into one frame: what the server reads into memory before it hands it on. */
const MAX_FRAME_BYTES = 128 * 1024;
const MAX_ERROR_CHARS = 2_000;

export class WebSocketForward extends Duplex {
  readonly #socket: Duplex;
  readonly #isBelowTls: boolean;
  /** Bytes of each channel's port that are still to come. */
  readonly #portLeft = [PORT_BYTES, PORT_BYTES];
  #channel = -1;
  #error = '';
  #isOver = false;

  /** `head`: what was received behind the answer to the handshake. */
  constructor(socket: Duplex, head: Buffer, isBelowTls: boolean) {
    super({ highWaterMark: MAX_FRAME_BYTES });
    // It may be over before anybody listens: that shows in `errored` then, and must not end the process.
    this.on('error', () => {});
    this.#socket = socket;
    this.#isBelowTls = isBelowTls;
    const reader = new FrameReader({
      onData: (piece, isStart) => this.#receive(piece, isStart),
      onControl: (opcode, payload) => this.#receiveControl(opcode, payload),
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

  /** The protocol knows no half-close: the end of ours is the end of both. */
  override _final(done: (error?: Error | null) => void): void {
    this.#socket.write(frameHead(OPCODE.close, [], true), () => {
      done();
      this.destroy();
    });
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#socket.destroy();
    done(error);
  }

  /** Calls back when the kernel has taken all of it. */
  #send(chunks: Buffer[], done: (error?: Error | null) => void): void {
    if (this.#socket.destroyed) {
      done(new AppError('SERVICE_UNAVAILABLE', 'the port-forward is closed'));
      return;
    }
    this.#socket.cork();
    let last: (() => void) | undefined;
    const frames = framesOf(chunks);
    for (const [index, frame] of frames.entries()) {
      if (index === frames.length - 1) last = () => done();
      const payload = this.#isBelowTls ? frame : frame.map((part) => Buffer.from(part));
      this.#socket.write(frameHead(OPCODE.binary, payload, this.#isBelowTls));
      for (const [at, part] of payload.entries()) {
        this.#socket.write(part, at === payload.length - 1 ? last : undefined);
      }
    }
    this.#socket.uncork();
    if (last === undefined) done();
  }

  #receive(piece: Buffer, isStart: boolean): void {
    let rest = piece;
    if (isStart) {
      this.#channel = rest[0] as number;
      rest = rest.subarray(1);
    }
    const portLeft = this.#portLeft[this.#channel];
    if (portLeft === undefined) throw new AppError('PROTOCOL_VIOLATION', `port-forward: channel ${this.#channel}`);
    const skipped = Math.min(portLeft, rest.length);
    this.#portLeft[this.#channel] = portLeft - skipped;
    rest = rest.subarray(skipped);
    if (rest.length === 0) return;
    if (this.#channel === DATA && !this.push(rest)) this.#socket.pause();
    if (this.#channel === ERROR) this.#error = (this.#error + rest.toString('utf8')).slice(0, MAX_ERROR_CHARS);
  }

  #receiveControl(opcode: number, payload: Buffer): void {
    if (opcode === OPCODE.close) this.#over();
    if (opcode !== OPCODE.ping) return;
    const answer = [Buffer.from(payload)];
    this.#socket.cork();
    this.#socket.write(frameHead(OPCODE.pong, answer, this.#isBelowTls));
    for (const part of answer) this.#socket.write(part);
    this.#socket.uncork();
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

/** Payloads of frames: the channel, then bytes. */
function framesOf(chunks: readonly Buffer[]): Buffer[][] {
  const frames: Buffer[][] = [];
  let bytes = MAX_FRAME_BYTES;
  for (const chunk of chunks) {
    for (let rest = chunk; rest.length > 0; ) {
      if (bytes >= MAX_FRAME_BYTES) {
        frames.push([Buffer.from([DATA])]);
        bytes = 0;
      }
      const part = rest.subarray(0, MAX_FRAME_BYTES - bytes);
      frames.at(-1)?.push(part);
      bytes += part.length;
      rest = rest.subarray(part.length);
    }
  }
  return frames;
}
