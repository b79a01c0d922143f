// The answer to a request about files, its data as the frame holds it.

import { dataBytes, dataPieces, type Frame } from '#proto/frame.ts';
import type { FileReply } from '#proto/gen/v1/fs_env.ts';

export interface FileAnswer {
  readonly reply: FileReply;
  /** A view into a received batch: copy what is kept for long. What came in pieces is joined when it is asked for. */
  readonly data: Uint8Array;
  /** The same as it came (`dataPieces` of proto/frame.ts). */
  readonly pieces?: readonly Uint8Array[];
  /** Nobody looks at reply or data any more: their memory may be used again. Who does not say so keeps it from that. */
  giveBack?(): void;
}

export class ReceivedAnswer implements FileAnswer {
  readonly reply: FileReply;
  readonly #frame: Frame;
  readonly #endHold: (() => void) | undefined;

  /** Takes a hold of the frame's memory, for whoever takes the answer. */
  constructor(reply: FileReply, frame: Frame) {
    this.reply = reply;
    this.#frame = frame;
    this.#endHold = frame.lease?.hold();
    if (this.#endHold !== undefined) frame.isUsedUp = true;
    if (holdsNothing(reply, frame)) this.giveBack();
  }

  giveBack(): void {
    this.#endHold?.();
  }

  get data(): Uint8Array {
    return this.#frame.data;
  }

  get pieces(): readonly Uint8Array[] {
    return dataPieces(this.#frame);
  }
}

/** An answer of numbers alone. */
function holdsNothing({ result }: FileReply, frame: Frame): boolean {
  const hasOnlyNumbers = result === undefined || result.$case === 'stat' || result.$case === 'written';
  return hasOnlyNumbers && dataBytes(frame) === 0;
}
