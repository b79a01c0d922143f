// Memory of the supervisor's that answers to its reads are laid into, instead of sending them: it hands them on to the
// kernel from there. One copy less than by the socket, and nobody waits for room in it.

import { closeSync, openSync, writevSync } from 'node:fs';

export class SharedMemory {
  readonly #fd: number;
  readonly #bytes: number;

  private constructor(fd: number, bytes: number) {
    this.#fd = fd;
    this.#bytes = bytes;
  }

  /** Of a descriptor that another process holds. Throws what the kernel says. */
  static open(pid: number, descriptor: number, bytes: number): SharedMemory {
    return new SharedMemory(openSync(`/proc/${pid}/fd/${descriptor}`, 'r+'), bytes);
  }

  /** False: the chunks are not all there, and have to be sent. */
  lay(place: bigint, chunks: readonly Uint8Array[]): boolean {
    const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    if (place + BigInt(bytes) > BigInt(this.#bytes)) return false;
    return writevSync(this.#fd, chunks, Number(place)) === bytes;
  }

  close(): void {
    closeSync(this.#fd);
  }
}
