// The two tables of HPACK: what everybody has (RFC 7541 appendix A), and what one connection has heard lately.

export type HeaderField = Readonly<{
  name: string;
  /** Octets as latin1. */
  value: string;
  /** Its sender wants no table to remember it, here and on every hop behind. */
  isSecret: boolean;
}>;

const STATIC: ReadonlyArray<readonly [name: string, value?: string]> = [
  [':authority'],
  [':method', 'GET'],
  [':method', 'POST'],
  [':path', '/'],
  [':path', '/index.html'],
  [':scheme', 'http'],
  [':scheme', 'https'],
  [':status', '200'],
  [':status', '204'],
  [':status', '206'],
  [':status', '304'],
  [':status', '400'],
  [':status', '404'],
  [':status', '500'],
  ['accept-charset'],
  ['accept-encoding', 'gzip, deflate'],
  ['accept-language'],
  ['accept-ranges'],
  ['accept'],
  ['access-control-allow-origin'],
  ['age'],
  ['allow'],
  ['authorization'],
  ['cache-control'],
  ['content-disposition'],
  ['content-encoding'],
  ['content-language'],
  ['content-length'],
  ['content-location'],
  ['content-range'],
  ['content-type'],
  ['cookie'],
  ['date'],
  ['etag'],
  ['expect'],
  ['expires'],
  ['from'],
  ['host'],
  ['if-match'],
  ['if-modified-since'],
  ['if-none-match'],
  ['if-range'],
  ['if-unmodified-since'],
  ['last-modified'],
  ['link'],
  ['location'],
  ['max-forwards'],
  ['proxy-authenticate'],
  ['proxy-authorization'],
  ['range'],
  ['referer'],
  ['refresh'],
  ['retry-after'],
  ['server'],
  ['set-cookie'],
  ['strict-transport-security'],
  ['transfer-encoding'],
  ['user-agent'],
  ['vary'],
  ['via'],
  ['www-authenticate'],
];

export const STATIC_FIELDS: readonly HeaderField[] = STATIC.map(([name, value = '']) => ({
  name,
  value,
  isSecret: false,
}));

/** A dynamic table for somebody else: `fields` from the eldest on, each behind the sizes of its name and its value (UInt32LE). */
export type PackedTable = Readonly<{ limitBytes: number; fields: Buffer }>;

const PACKED_SIZES_BYTES = 8;

/** What an entry counts for beside its octets (RFC 7541 section 4.1). */
const ENTRY_OVERHEAD_BYTES = 32;

export const fieldSize = ({ name, value }: HeaderField): number => name.length + value.length + ENTRY_OVERHEAD_BYTES;

export class DynamicTable {
  /** The youngest last. */
  #fields: HeaderField[] = [];
  /** Entries at the front that are gone already: they are cut off now and then. */
  #gone = 0;
  #bytes = 0;
  #limitBytes: number;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** @param index as on the wire: the static fields first, then the youngest */
  at(index: number): HeaderField | undefined {
    if (index <= STATIC_FIELDS.length) return STATIC_FIELDS[index - 1];
    const at = this.#fields.length - (index - STATIC_FIELDS.length);
    return at >= this.#gone ? this.#fields[at] : undefined;
  }

  /** A field that is larger than the table empties it (RFC 7541 section 4.4). */
  add(field: HeaderField): void {
    const size = fieldSize(field);
    this.#evict(this.#limitBytes - size);
    if (size > this.#limitBytes) return;
    this.#fields.push(field);
    this.#bytes += size;
  }

  pack(): PackedTable {
    const fields = Buffer.allocUnsafe(this.#bytes);
    let at = 0;
    for (let nth = this.#gone; nth < this.#fields.length; nth++) {
      const { name, value } = this.#fields[nth] as HeaderField;
      fields.writeUInt32LE(name.length, at);
      fields.writeUInt32LE(value.length, at + 4);
      at += PACKED_SIZES_BYTES;
      at += fields.write(name, at, 'latin1');
      at += fields.write(value, at, 'latin1');
    }
    return { limitBytes: this.#limitBytes, fields: fields.subarray(0, at) };
  }

  /** What `pack` made of a table of the same limit, in place of all that is there. */
  unpack(packed: Buffer): void {
    this.#fields = [];
    this.#gone = 0;
    this.#bytes = 0;
    for (let at = 0; at < packed.length; ) {
      const nameAt = at + PACKED_SIZES_BYTES;
      const valueAt = nameAt + packed.readUInt32LE(at);
      at = valueAt + packed.readUInt32LE(nameAt - 4);
      const [name, value] = [packed.toString('latin1', nameAt, valueAt), packed.toString('latin1', valueAt, at)];
      this.add({ name, value, isSecret: false });
    }
  }

  resize(limitBytes: number): void {
    this.#limitBytes = limitBytes;
    this.#evict(limitBytes);
  }

  #evict(toBytes: number): void {
    while (this.#bytes > toBytes && this.#gone < this.#fields.length) {
      this.#bytes -= fieldSize(this.#fields[this.#gone] as HeaderField);
      this.#gone++;
    }
    if (this.#gone * 2 <= this.#fields.length) return;
    this.#fields = this.#fields.slice(this.#gone);
    this.#gone = 0;
  }
}
