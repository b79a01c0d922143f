// An HTTP/1 head as filters see it. Texts are made when they are asked for: a filter on the method needs none.

import type { FilteredRequest } from '#http-filter/http-filter.ts';
import { fieldValue, type RequestHead } from './message-head.ts';

/** Visible ASCII and white space: other values have no encoding that all agree on, and match nothing. */
const VISIBLE = /^[\t\x20-\x7e]*$/;

export class Http1Request implements FilteredRequest {
  readonly #head: RequestHead;
  readonly #start: number;
  #lowerText: string | undefined;
  #headerLines: readonly string[] | undefined;

  /** @param start offset of the request line in the head's bytes */
  constructor(head: RequestHead, start = 0) {
    this.#head = head;
    this.#start = start;
  }

  get method(): string {
    return this.#head.method;
  }

  get target(): string {
    return this.#head.target;
  }

  get lowerText(): string {
    this.#lowerText ??= this.#head.bytes.toString('latin1', this.#start, this.#head.end).toLowerCase();
    return this.#lowerText;
  }

  get headerLines(): readonly string[] {
    this.#headerLines ??= this.#lines();
    return this.#headerLines;
  }

  #lines(): string[] {
    const { bytes, fields } = this.#head;
    const lines: string[] = [];
    for (const field of fields) {
      const value = fieldValue(bytes, field);
      if (!VISIBLE.test(value)) continue;
      lines.push(`${bytes.toString('latin1', field.nameStart, field.nameEnd).toLowerCase()}: ${value}`);
    }
    return lines;
  }
}
