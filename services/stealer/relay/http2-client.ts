// The client's end: frames of the target's, and between them ours, within one connection window.
//
// The target believes that the whole window is its own. What our answers use of it is owed: so much of the client's next
// window updates is kept from the target, and until they come its DATA waits where the window is too small for it.

import { goaway, settings } from '#runtime/http2/frame.ts';
import { Deadline } from './deadline.ts';
import type { Endpoint } from './endpoint.ts';
import { Batch, type Outbox, Sender, type Sent } from './http2-sender.ts';
import { CUT_FRAME_MS } from './times.ts';

/** Frames of ours, without DATA, that wait for the client: one that makes us answer and reads nothing is cut. */
export const MAX_WAITING_FRAME_BYTES = 1024 * 1024;

export type ClientSideOptions = Readonly<{
  /** False while a frame of the target's, or its header block, is cut in two. */
  isAtBoundary: () => boolean;
  onFull: () => void;
  /** More waits than may, or longer behind a frame that the target does not end. */
  onClogged: () => void;
  onSent: (outbox: Outbox, sent: Sent) => void;
}>;

export class ClientSide {
  readonly #endpoint: Endpoint;
  readonly #options: ClientSideOptions;
  readonly #out: Batch;
  readonly #sender: Sender;
  /** Frames without a window that wait for the boundary. */
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  readonly #boundary = new Deadline();
  /** Of the window: used by us, and not given back. */
  #owed = 0;
  isFull = false;

  constructor(endpoint: Endpoint, options: ClientSideOptions) {
    this.#endpoint = endpoint;
    this.#options = options;
    this.#out = new Batch((bytes) => {
      if (endpoint.write(bytes)) return;
      this.isFull = true;
      options.onFull();
    });
    this.#sender = new Sender({
      maySend: () => !this.isFull && options.isAtBoundary(),
      write: (bytes) => this.#out.add(bytes),
      onSent: (outbox, sent) => {
        this.#owed += sent.dataBytes;
        options.onSent(outbox, sent);
      },
    });
  }

  /** Nothing waits for the client, and none of its window is ours. */
  get isAtRest(): boolean {
    return !this.isFull && this.#waiting.length === 0 && this.#sender.isIdle && this.#owed === 0;
  }

  get window(): number {
    return this.#sender.window;
  }

  /** The target's bytes, as they are. */
  pass(bytes: Buffer): boolean {
    this.#boundary.stop();
    if (this.#endpoint.write(bytes)) return true;
    this.isFull = true;
    return false;
  }

  /** The target has sent DATA. */
  use(bytes: number): void {
    this.#sender.window -= bytes;
  }

  /** The client's window update. @returns what of it is the target's */
  grant(bytes: number): number {
    this.#sender.window += bytes;
    const ours = Math.min(bytes, this.#owed);
    this.#owed -= ours;
    return bytes - ours;
  }

  /** A frame that needs no window. */
  send(bytes: Buffer): void {
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    if (this.#waitingBytes > MAX_WAITING_FRAME_BYTES) this.#options.onClogged();
  }

  /** In the target's stead; SETTINGS go before all else (RFC 9113 section 3.4). */
  sayGoaway(lastId: number, code: number, hasHadSettings: boolean): void {
    if (!hasHadSettings) this.send(settings([]));
    this.send(goaway(lastId, code));
  }

  add(outbox: Outbox): void {
    this.#sender.add(outbox);
    this.#watchBoundary();
  }

  forget(outbox: Outbox): void {
    this.#sender.forget(outbox);
  }

  onDrain(): void {
    this.isFull = false;
    this.pump();
  }

  /** Sends what may be sent now. */
  pump(): void {
    this.flush();
    this.#sender.pump();
    this.flush();
    this.#watchBoundary();
  }

  /** A target that stops in the middle of a frame, or never begins, holds up what sessions have for the client. */
  #watchBoundary(): void {
    const isWaiting = this.#waiting.length > 0 || !this.#sender.isIdle;
    if (!isWaiting || this.isFull || this.#options.isAtBoundary()) this.#boundary.stop();
    else if (!this.#boundary.isSet) this.#boundary.start(CUT_FRAME_MS, () => this.#options.onClogged());
  }

  close(): void {
    this.#boundary.stop();
  }

  flush(): void {
    if (this.isFull || !this.#options.isAtBoundary()) return;
    for (const bytes of this.#waiting) this.#out.add(bytes);
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#out.flush();
  }
}
