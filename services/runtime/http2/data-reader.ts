// Reads DATA frames (RFC 9113 section 6.1) in the pieces in which they come.

import { Flag, FRAME_HEAD_BYTES } from './frame.ts';
import type { FramePiece } from './frame-reader.ts';

/** Cuts the padding off DATA frames that come in pieces. */
export class DataReader {
  /** Of the frame at hand: data that is still to come. */
  #missing = 0;

  /** @returns undefined when the padding is longer than the frame */
  read({ head, bytes, isFirst, isLast }: FramePiece): Readonly<{ data: Buffer; isEnd: boolean }> | undefined {
    let start = 0;
    if (isFirst) {
      start = FRAME_HEAD_BYTES;
      this.#missing = head.length;
      if ((head.flags & Flag.padded) !== 0) {
        const padding = bytes[start];
        // The length of the padding has not come: it is the next piece's first byte.
        if (padding === undefined) {
          this.#missing = -1;
          return head.length === 0 ? undefined : { data: bytes.subarray(start), isEnd: false };
        }
        start += 1;
        this.#missing = head.length - 1 - padding;
      }
    } else if (this.#missing === -1) {
      start = 1;
      this.#missing = head.length - 1 - (bytes[0] as number);
    }
    if (this.#missing < 0) return undefined;
    const data = bytes.subarray(start, start + this.#missing);
    this.#missing -= data.length;
    return { data, isEnd: isLast && (head.flags & Flag.endStream) !== 0 };
  }
}
