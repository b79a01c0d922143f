/** What looks into a stream of the local process on its way: DNS over TCP. Copies what it keeps. */
export interface StreamTap {
  /** From the target. Returns what of it goes on to the local process. */
  down(data: Uint8Array): Uint8Array;
  /** From the local process. Returns what of it goes on to the target. */
  up(data: Buffer): Buffer;
  /** Once: where answers go that the target is not asked for. */
  attach(answer: (data: Buffer) => void): void;
}
