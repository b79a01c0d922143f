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
