// What the local process answers on a stolen connection, on its way back: read from its socket only as fast as the service
// grants, so that a slow peer slows the local process and nothing is kept here.

import type net from 'node:net';
import { SendCredit } from '#proto/credits.ts';
import { type Frame, makeFrame } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';

/** Of one DATA frame. */
const FRAME_BYTES = 64 * 1024;

export class Answers {
  readonly #id: number;
  readonly #credit: SendCredit;
  readonly #send: (frame: Frame) => void;
  readonly #endHead: () => Uint8Array | undefined;
  #socket: net.Socket | null = null;
  #hasEnded = false;

  /**
   * @param creditBytes of Arrived: what may be sent before the first CREDIT
   * @param endHead of the local process's FIN
   */
  constructor(
    id: number,
    creditBytes: number,
    send: (frame: Frame) => void,
    endHead = (): Uint8Array | undefined => undefined,
  ) {
    this.#id = id;
    this.#credit = new SendCredit(creditBytes);
    this.#send = send;
    this.#endHead = endHead;
  }

  /** The local process's FIN has been seen. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Once, with a socket that nobody has read from. */
  from(socket: net.Socket): void {
    this.#socket = socket;
    socket.on('readable', () => this.#pump());
    socket.on('end', () => this.#end());
  }

  /** Throws PROTOCOL_VIOLATION for a sum that nobody grants. */
  grant(bytes: number): void {
    this.#credit.grant(bytes);
    this.#pump();
  }

  #pump(): void {
    const socket = this.#socket;
    if (socket === null) return;
    for (;;) {
      const room = Math.min(this.#credit.availableBytes, socket.readableLength, FRAME_BYTES);
      // Asked for even with nothing there: that is how a stream tells its end.
      const data = this.#credit.availableBytes === 0 ? null : (socket.read(room) as Buffer | null);
      if (data === null || data.length === 0) return;
      this.#credit.take(data.length);
      this.#send(makeFrame(this.#id, FrameKind.FRAME_KIND_DATA, undefined, data));
    }
  }

  #end(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#send(makeFrame(this.#id, FrameKind.FRAME_KIND_HALF_CLOSE, this.#endHead()));
  }
}
