// A request of HTTP/2 as filters see it: the same lines as the same request has in HTTP/1.

import type { FilteredRequest } from '#http-filter/http-filter.ts';
import type { HeaderField } from './hpack-table.ts';

/** Visible ASCII and white space: other values have no encoding that all agree on, and match nothing. */
const VISIBLE = /^[\t\x20-\x7e]*$/;

export class Http2Request implements FilteredRequest {
  readonly #fields: readonly HeaderField[];
  #lowerText: string | undefined;
  #headerLines: readonly string[] | undefined;

  constructor(fields: readonly HeaderField[]) {
    this.#fields = fields;
  }

  get method(): string {
    return this.#value(':method');
  }

  get target(): string {
    return this.#value(':path');
  }

  get lowerText(): string {
    this.#lowerText ??= `${this.method} ${this.target}\n${this.headerLines.join('\n')}`.toLowerCase();
    return this.#lowerText;
  }

  get headerLines(): readonly string[] {
    this.#headerLines ??= this.#lines();
    return this.#headerLines;
  }

  #value(name: string): string {
    return this.#fields.find((field) => field.name === name)?.value ?? '';
  }

  #lines(): string[] {
    const lines: string[] = [];
    // A client may cut its cookies into several fields (RFC 9113 section 8.2.3).
    const cookies: string[] = [];
    let host = this.#value(':authority');
    for (const { name, value } of this.#fields) {
      if (name.startsWith(':') || !VISIBLE.test(value)) continue;
      if (name === 'cookie') cookies.push(value);
      else lines.push(`${name}: ${value}`);
      if (name === 'host') host = '';
    }
    if (cookies.length > 0) lines.push(`cookie: ${cookies.join('; ')}`);
    if (host !== '' && VISIBLE.test(host)) lines.push(`host: ${host}`);
    return lines;
  }
}
