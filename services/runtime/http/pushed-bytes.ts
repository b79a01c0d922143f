// Bytes that were pushed and wait to be read: one chunk of the caller's, or our own copy of what was left of earlier ones.

const NOTHING = Buffer.alloc(0);

export class PushedBytes {
  #bytes: Buffer = NOTHING;
  #at = 0;
  /** True while the bytes are the caller's and not our copy. */
  #isBorrowed = false;

  get length(): number {
    return this.#bytes.length - this.#at;
  }

  push(chunk: Buffer): void {
    this.#bytes = this.length === 0 ? chunk : Buffer.concat([this.#bytes.subarray(this.#at), chunk]);
    this.#isBorrowed = this.#bytes === chunk;
    this.#at = 0;
  }

  /** Calls a reader of offsets on what waits; what it returns is an offset, or no number when it read nothing. */
  read<Result>(reader: (bytes: Buffer, start: number, end: number) => Result): Result {
    return reader(this.#bytes, this.#at, this.#bytes.length);
  }

  /** Takes what waits up to an offset that `read` was given; by default all. */
  takeTo(end: number = this.#bytes.length): Buffer {
    const taken = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }

  /** Copies what waits, so that the caller may use its chunk again. */
  keep(): void {
    if (!this.#isBorrowed) return;
    this.#bytes = this.length === 0 ? NOTHING : Buffer.from(this.#bytes.subarray(this.#at));
    this.#at = 0;
    this.#isBorrowed = false;
  }
}
