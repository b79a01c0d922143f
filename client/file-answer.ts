// The answer to a request about files, its data as the frame holds it.

import { dataPieces, type Frame } from '#proto/frame.ts';
import type { FileReply } from '#proto/gen/v1/fs_env.ts';

export interface FileAnswer {
  readonly reply: FileReply;
  /** A view into a received batch: copy what is kept for long. What came in pieces is joined when it is asked for. */
  readonly data: Uint8Array;
  /** The same as it came (`dataPieces` of proto/frame.ts). */
  readonly pieces?: readonly Uint8Array[];
}

export class ReceivedAnswer implements FileAnswer {
  readonly reply: FileReply;
  readonly #frame: Frame;

  constructor(reply: FileReply, frame: Frame) {
    this.reply = reply;
    this.#frame = frame;
  }

  get data(): Uint8Array {
    return this.#frame.data;
  }

  get pieces(): readonly Uint8Array[] {
    return dataPieces(this.#frame);
  }
}
