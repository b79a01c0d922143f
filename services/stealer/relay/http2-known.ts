// Header blocks of requests of one connection that no filter wanted, byte for byte as they came: clients that ask the same again
// send the same block again. One that leaves the header table as it is means the same every time, until another one changes the
// table, or somebody else steals from the port.

/** Blocks of one connection … */
const MAX_BLOCKS = 16;
/** … and bytes of each: 8 KiB in all. */
const MAX_BLOCK_BYTES = 512;
/** Known ones in a row, from which on more of them are expected. */
export const REPEATED = 4;

export class KnownBlocks {
  readonly #standing: () => unknown;
  /** The eldest first. */
  #blocks: Buffer[] = [];
  #stood: unknown;
  #inARow = 0;

  /** @param standing another value each time that something has changed in who wants what */
  constructor(standing: () => unknown) {
    this.#standing = standing;
  }

  get blocks(): readonly Buffer[] {
    this.#keepUp();
    return this.#blocks;
  }

  /** The last ones that were asked for have all been known. */
  get isRepeating(): boolean {
    this.#keepUp();
    return this.#inARow >= REPEATED;
  }

  has(block: Buffer): boolean {
    this.#keepUp();
    const isKnown = this.#blocks.some((one) => one.length === block.length && one.equals(block));
    this.#inARow = isKnown ? this.#inARow + 1 : 0;
    return isKnown;
  }

  /** @param block that `has` did not know, that nobody wanted, and that left the table as it was */
  learn(block: Buffer): void {
    if (block.length > MAX_BLOCK_BYTES) return;
    if (this.#blocks.length === MAX_BLOCKS) this.#blocks.shift();
    this.#blocks.push(Buffer.from(block));
  }

  /** Of what somebody may want since, nothing is known. */
  #keepUp(): void {
    const stands = this.#standing();
    if (stands === this.#stood) return;
    this.forget();
    this.#stood = stands;
    this.#inARow = 0;
  }

  /** The table has changed. */
  forget(): void {
    if (this.#blocks.length > 0) this.#blocks = [];
  }
}
