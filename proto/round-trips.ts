// Frames whose answer is a PONG, and who waits for it: pongs come in the order of what they answer. Pure.

import { type Frame, makeFrame, NO_BYTES } from './frame.ts';
import { FrameKind } from './gen/v1/frame.ts';

export class RoundTrips {
  readonly #now: () => number;
  readonly #waiters: { readonly sentMs: number; readonly resolve: (roundTripMs: number) => void }[] = [];

  constructor(now: () => number) {
    this.#now = now;
  }

  /** To be sent at once, in the order of these calls. `resolve` is never called when no answer comes. */
  ask(
    resolve: (roundTripMs: number) => void,
    kind: FrameKind.FRAME_KIND_PING | FrameKind.FRAME_KIND_SESSION_SUSPEND = FrameKind.FRAME_KIND_PING,
  ): Frame {
    this.#waiters.push({ sentMs: this.#now(), resolve });
    return makeFrame(0, kind);
  }

  /** A PONG has come. */
  answered(): void {
    const waiter = this.#waiters.shift();
    waiter?.resolve(this.#now() - waiter.sentMs);
  }
}

/** With what the PING brought. */
export function pongTo({ data }: Frame): Frame {
  return makeFrame(0, FrameKind.FRAME_KIND_PONG, NO_BYTES, data);
}
