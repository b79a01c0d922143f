// Reads header blocks (RFC 7541). It keeps the same dynamic table as the decoder that the bytes were meant for, so it must see
// every block of its direction, in order; after a failure it knows nothing any more.

import { DynamicTable, fieldSize, type HeaderField, type PackedTable } from './hpack-table.ts';
import { decodeHuffman } from './huffman.ts';

/** What a connection begins with (RFC 9113 section 6.5.2). */
const DEFAULT_TABLE_BYTES = 4_096;
/** The largest dynamic table that is kept; a connection that uses a larger one is not read. */
export const MAX_TABLE_BYTES = 64 * 1024;
/** All fields of one block, unpacked. */
const MAX_FIELDS_BYTES = 256 * 1024;
/** Fields of one block: an indexed one costs its sender a single byte. */
export const MAX_FIELDS = 1_024;

export type HeaderBlock = Readonly<{
  fields: readonly HeaderField[];
  /** Changes of the table's size at the block's start, in bytes: whoever gets the fields anew has to hear of them too. */
  tableSizes: readonly number[];
}>;

/** More bits than any length here needs, and far from losing precision. */
const MAX_INTEGER_SHIFT = 28;

export class HpackDecoder {
  readonly #table = new DynamicTable(DEFAULT_TABLE_BYTES);
  #allowedTableBytes = DEFAULT_TABLE_BYTES;
  #bytes: Buffer = Buffer.alloc(0);
  #at = 0;
  #hasChanged = false;
  /** Of the last block's fields, unpacked; of a broken one as far as it was read. */
  fieldBytes = 0;

  /** The last block has changed the table: a block with the same bytes may mean something else from here on. */
  get hasChanged(): boolean {
    return this.#hasChanged;
  }

  /** The receiver of the blocks has announced this SETTINGS_HEADER_TABLE_SIZE. Only ever raises: a sender may not know yet. */
  allowTable(bytes: number): void {
    this.#allowedTableBytes = Math.max(this.#allowedTableBytes, Math.min(bytes, MAX_TABLE_BYTES));
  }

  /** For somebody who reads blocks in its stead, until `goOn`. */
  pack(): PackedTable {
    return this.#table.pack();
  }

  /** @param fields of the table as it is now */
  goOn(fields: Buffer): void {
    this.#table.unpack(fields);
  }

  /** @returns undefined when the block is broken, or larger than our limits */
  decode(block: Buffer): HeaderBlock | undefined {
    this.#bytes = block;
    this.#at = 0;
    this.#hasChanged = false;
    this.fieldBytes = 0;
    const fields: HeaderField[] = [];
    const tableSizes: number[] = [];
    while (this.#at < block.length) {
      const first = block[this.#at] as number;
      if ((first & 0xe0) === 0x20) {
        const size = this.#integer(5);
        // Only at the start, and twice at most (RFC 7541 section 4.2).
        if (size === undefined || size > this.#allowedTableBytes || fields.length > 0 || tableSizes.length === 2) {
          return undefined;
        }
        this.#table.resize(size);
        this.#hasChanged = true;
        tableSizes.push(size);
        continue;
      }
      const field = (first & 0x80) !== 0 ? this.#indexed() : this.#literal(first);
      if (field === undefined) return undefined;
      this.fieldBytes += fieldSize(field);
      if (this.fieldBytes > MAX_FIELDS_BYTES || fields.push(field) > MAX_FIELDS) return undefined;
    }
    return { fields, tableSizes };
  }

  #indexed(): HeaderField | undefined {
    const index = this.#integer(7);
    return index === undefined ? undefined : this.#table.at(index);
  }

  #literal(first: number): HeaderField | undefined {
    const isAdded = (first & 0x40) !== 0;
    const index = this.#integer(isAdded ? 6 : 4);
    if (index === undefined) return undefined;
    const name = index === 0 ? this.#text() : this.#table.at(index)?.name;
    const value = name === undefined ? undefined : this.#text();
    if (name === undefined || value === undefined) return undefined;
    const field = { name, value, isSecret: !isAdded && (first & 0x10) !== 0 };
    if (isAdded) this.#table.add(field);
    this.#hasChanged ||= isAdded;
    return field;
  }

  #integer(prefixBits: number): number | undefined {
    const most = (1 << prefixBits) - 1;
    let value = (this.#bytes[this.#at++] as number) & most;
    if (value < most) return value;
    for (let shift = 0; shift <= MAX_INTEGER_SHIFT; shift += 7) {
      const octet = this.#bytes[this.#at++];
      if (octet === undefined) return undefined;
      value += (octet & 0x7f) * 2 ** shift;
      if ((octet & 0x80) === 0) return value;
    }
    return undefined;
  }

  #text(): string | undefined {
    const first = this.#bytes[this.#at];
    if (first === undefined) return undefined;
    const length = this.#integer(7);
    if (length === undefined || length > this.#bytes.length - this.#at) return undefined;
    const start = this.#at;
    this.#at += length;
    if ((first & 0x80) !== 0) return decodeHuffman(this.#bytes, start, this.#at);
    return this.#bytes.toString('latin1', start, this.#at);
  }
}
