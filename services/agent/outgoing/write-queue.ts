// Bytes that wait for a slow peer, kept in few blocks: thousands of small frames neither cost an object each nor hold on to
// the batches in which they came. Bounded by the connection's credit. Pure.

const BLOCK_BYTES = 16 * 1024;

export class WriteQueue {
  #blocks: Uint8Array[] = [];
  /** Bytes used of the last block, when it is one of ours that has room; else null. */
  #tailBytes: number | null = null;
  #bytes = 0;

  get isEmpty(): boolean {
    return this.#bytes === 0;
  }

  push(data: Uint8Array): void {
    if (data.length === 0) return;
    this.#bytes += data.length;
    if (data.length >= BLOCK_BYTES && data.length * 2 >= data.buffer.byteLength) {
      this.#sealTail();
      this.#blocks.push(data);
      return;
    }
    for (let at = 0; at < data.length; ) at += this.#append(data.subarray(at));
  }

  /** The next piece to write, or null when there is none. */
  shift(): Uint8Array | null {
    if (this.#blocks.length <= 1) this.#sealTail();
    const block = this.#blocks.shift() ?? null;
    if (block !== null) this.#bytes -= block.length;
    return block;
  }

  clear(): void {
    this.#blocks = [];
    this.#tailBytes = null;
    this.#bytes = 0;
  }

  #append(data: Uint8Array): number {
    if (this.#tailBytes === null) {
      this.#blocks.push(Buffer.allocUnsafeSlow(BLOCK_BYTES));
      this.#tailBytes = 0;
    }
    const tail = this.#blocks.at(-1) as Uint8Array;
    const part = data.subarray(0, tail.length - this.#tailBytes);
    tail.set(part, this.#tailBytes);
    this.#tailBytes += part.length;
    if (this.#tailBytes === tail.length) this.#tailBytes = null;
    return part.length;
  }

  #sealTail(): void {
    if (this.#tailBytes === null) return;
    const tail = this.#blocks.pop();
    if (tail !== undefined && this.#tailBytes > 0) this.#blocks.push(tail.subarray(0, this.#tailBytes));
    this.#tailBytes = null;
  }
}
