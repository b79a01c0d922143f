// Memory that a connection reads into, and who holds on to what lies in it. It is used again when everybody who was given a
// part of it has given it back: fresh memory costs page faults, a cold cache and the collector more than the bytes' own way.
//
// The rule: who holds a lease may look at the bytes until it gives it back, once. Who never does costs fresh memory and
// nothing else, so nobody has to. With MIRRORD_WIPE_GIVEN_BACK=1, as tests have it, what was given back is overwritten.

export const BLOCK_BYTES = 768 * 1024;
/** Kept for the next: what two sessions have on their way. */
const MAX_KEPT = 10;
/** What is wiped is full of it. */
const WIPED = 0xdb;

const isWiping = process.env['MIRRORD_WIPE_GIVEN_BACK'] === '1';
const kept: Buffer[] = [];

export class ReceiveBlock {
  readonly bytes: Buffer;
  #holders = 0;
  #isLeft = false;

  private constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  static take(): ReceiveBlock {
    return new ReceiveBlock(kept.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES));
  }

  /** One that is too small to be kept. */
  static small(bytes: number): ReceiveBlock {
    return new ReceiveBlock(Buffer.allocUnsafeSlow(bytes));
  }

  get isHeld(): boolean {
    return this.#holders > 0;
  }

  hold(): void {
    this.#holders += 1;
  }

  /** Once for each `hold`. */
  release(): void {
    this.#holders -= 1;
    if (this.#holders === 0) this.#free();
  }

  /** Nothing more is read into it. */
  leave(): void {
    this.#isLeft = true;
    if (this.#holders === 0) this.#free();
  }

  #free(): void {
    if (!this.#isLeft) return;
    wipe(this.bytes);
    if (this.bytes.length === BLOCK_BYTES && kept.length < MAX_KEPT) kept.push(this.bytes);
  }
}

/** Of one message: blocks that it lies in are held until the reader and all whom it gave a hold have ended theirs. */
export class Lease {
  readonly #blocks: ReceiveBlock[] = [];
  #holders = 1;

  /** A part of the message lies there. */
  add(block: ReceiveBlock): void {
    if (this.#blocks.at(-1) === block) return;
    block.hold();
    this.#blocks.push(block);
  }

  /** Returns what ends the hold; to call it again does nothing. */
  hold(): () => void {
    this.#holders += 1;
    let isHeld = true;
    return () => {
      if (isHeld) this.end();
      isHeld = false;
    };
  }

  /** The reader's own: nobody holds on to the message but who has a hold. Once. */
  end(): void {
    this.#holders -= 1;
    if (this.#holders > 0) return;
    for (const block of this.#blocks) block.release();
    this.#blocks.length = 0;
  }
}

/** Shows who looks at what was given back, where that is asked for. */
export function wipe(bytes: Uint8Array): void {
  if (isWiping) bytes.fill(WIPED);
}
