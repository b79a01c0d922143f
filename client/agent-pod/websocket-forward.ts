// A port-forward over a WebSocket (v4.channel.k8s.io). The first byte of a frame is its channel, 0 for data and 1 for the words of
// an error; the first frame of either channel says the port. It knows no half-close.

import type { Duplex } from 'node:stream';
import { AppError } from '#proto/errors.ts';
import { ForwardStream, LONGEST_FRAME_BYTES } from './forward-stream.ts';
import { FrameReader, frameHead, OPCODE } from './websocket-frames.ts';

export const WEBSOCKET_FORWARD_PROTOCOL = 'v4.channel.k8s.io';

const DATA = 0;
const ERROR = 1;
const PORT_BYTES = 2;

export class WebSocketForward extends ForwardStream {
  readonly #isBelowTls: boolean;
  /** Bytes of each channel's port that are still to come. */
  readonly #portLeft = [PORT_BYTES, PORT_BYTES];
  #channel = -1;

  /** `head`: what was received behind the answer to the handshake. */
  constructor(socket: Duplex, head: Buffer, isBelowTls: boolean) {
    super(socket);
    this.#isBelowTls = isBelowTls;
    const reader = new FrameReader({
      onData: (piece, isStart) => this.#receive(piece, isStart),
      onControl: (opcode, payload) => this.#receiveControl(opcode, payload),
    });
    this.begin(reader, head);
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
    if (this.#channel === DATA) this.receive(rest);
    if (this.#channel === ERROR) this.receiveError(rest);
  }

  #receiveControl(opcode: number, payload: Buffer): void {
    if (opcode === OPCODE.close) this.over();
    if (opcode === OPCODE.ping) this.say(this.#frame(OPCODE.pong, [Buffer.from(payload)]));
  }

  /** Masking changes the payload. */
  #frame(opcode: number, payload: readonly Buffer[]): Buffer[] {
    return [frameHead(opcode, payload, this.#isBelowTls), ...payload];
  }

  protected override endFrame(): Buffer {
    return frameHead(OPCODE.close, [], true);
  }

  /** The channel, then bytes. */
  protected override framesOf(chunks: readonly Buffer[]): Buffer[] {
    const frames: Buffer[][] = [];
    let bytes = LONGEST_FRAME_BYTES;
    for (const chunk of chunks) {
      for (let rest = chunk; rest.length > 0; ) {
        if (bytes >= LONGEST_FRAME_BYTES) {
          frames.push([Buffer.from([DATA])]);
          bytes = 0;
        }
        const part = rest.subarray(0, LONGEST_FRAME_BYTES - bytes);
        frames.at(-1)?.push(this.#isBelowTls ? part : Buffer.from(part));
        bytes += part.length;
        rest = rest.subarray(part.length);
      }
    }
    return frames.flatMap((payload) => this.#frame(OPCODE.binary, payload));
  }
}
