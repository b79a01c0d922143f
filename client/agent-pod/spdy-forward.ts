// A port-forward as kubectl makes it: SPDY/3.1 with a stream for bytes and one for the words of an error.

import type { Duplex } from 'node:stream';
import { AppError } from '#proto/errors.ts';
import { ForwardStream, LONGEST_FRAME_BYTES } from './forward-stream.ts';
import { dataHead, endStream, openStream, pong, SpdyReader } from './spdy-frames.ts';

export const SPDY_FORWARD_PROTOCOL = 'portforward.k8s.io';

/** Streams of a client have odd numbers. */
const ERROR = 1;
const DATA = 3;

export class SpdyForward extends ForwardStream {
  /** Streams that the other side has not ended: bytes first, then what was wrong. */
  readonly #open = new Set([DATA, ERROR]);

  /** `head`: what was received behind the answer to the upgrade. */
  constructor(socket: Duplex, head: Buffer, port: number) {
    super(socket);
    const headers = { port: String(port), requestid: '0' };
    const streams = [
      openStream(ERROR, { streamtype: 'error', ...headers }, true),
      endStream(ERROR),
      openStream(DATA, { streamtype: 'data', ...headers }, false),
    ];
    this.say([Buffer.concat(streams)]);
    const reader = new SpdyReader({
      onData: (stream, piece) => this.#receive(stream, piece),
      onEnd: (stream) => this.#ended(stream),
      onReset: (stream) => (stream === null || stream === DATA) && this.over(),
      onPing: (payload) => this.say([pong(payload)]),
    });
    this.begin(reader, head);
  }

  #receive(stream: number, piece: Buffer): void {
    if (stream === DATA) this.receive(piece);
    else if (stream === ERROR) this.receiveError(piece);
    else throw new AppError('PROTOCOL_VIOLATION', `port-forward: bytes of stream ${stream}`);
  }

  #ended(stream: number): void {
    this.#open.delete(stream);
    if (this.#open.size === 0) this.over();
  }

  protected override endFrame(): Buffer {
    return endStream(DATA);
  }

  /** What is small goes into one frame. */
  protected override framesOf(chunks: readonly Buffer[]): Buffer[] {
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
}
