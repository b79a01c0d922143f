// Answers to reads, given to the kernel itself: the client and the supervisor hold one descriptor of /dev/fuse between them.
// The supervisor takes the kernel's questions from it, and the bytes of a read go into it from where they arrived.

import { closeSync, openSync, writevSync } from 'node:fs';

/** struct fuse_out_header of linux/fuse.h: length of all, error, number of the kernel's question. */
const HEADER_BYTES = 16;
/** Of one writev; the kernel's limit is 1,024, and node would make two of more. */
const MAX_PARTS = 512;

export class KernelAnswers {
  readonly descriptor: number;
  #isClosed = false;

  private constructor(descriptor: number) {
    this.descriptor = descriptor;
  }

  /** Of no connection yet: the supervisor joins it to its own. null where this machine has no FUSE for us. */
  static open(file = '/dev/fuse'): KernelAnswers | null {
    try {
      return new KernelAnswers(openSync(file, 'r+'));
    } catch {
      return null;
    }
  }

  /** False: nobody has been answered, the bytes have to be sent. True also where the kernel no longer wants to know. */
  give(unique: bigint, bytes: number, chunks: readonly Uint8Array[]): boolean {
    if (this.#isClosed) return false;
    const header = Buffer.allocUnsafe(HEADER_BYTES);
    header.writeUInt32LE(HEADER_BYTES + bytes, 0);
    header.writeInt32LE(0, 4);
    header.writeBigUInt64LE(unique, 8);
    const parts = chunks.length < MAX_PARTS ? [header, ...chunks] : [header, Buffer.concat(chunks)];
    try {
      writevSync(this.descriptor, parts);
      return true;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'ENOENT';
    }
  }

  /** The kernel ends the connection with the last descriptor of it. */
  close(): void {
    if (!this.#isClosed) closeSync(this.descriptor);
    this.#isClosed = true;
  }
}
