// An HTTP/1 head as filters see it. Texts are made when they are asked for: a filter on the method needs none.

import type { FilteredRequest } from '#http-filter/http-filter.ts';
import type { RequestHead } from './message-head.ts';

/** Visible ASCII and white space: other values have no encoding that all agree on, and match nothing. */
const VISIBLE = /^[\t\x20-\x7e]*$/;
const VISIBLE_HEAD = /^[\t\r\n\x20-\x7e]*$/;

export class Http1Request implements FilteredRequest {
  readonly #head: RequestHead;
  readonly #start: number;
  #text: string | undefined;
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
    this.#lowerText ??= this.text.toLowerCase();
    return this.#lowerText;
  }

  /** The head, an octet a character. */
  get text(): string {
    this.#text ??= this.#head.bytes.toString('latin1', this.#start, this.#head.end);
    return this.#text;
  }

  get headerLines(): readonly string[] {
    this.#headerLines ??= this.#lines();
    return this.#headerLines;
  }

  #lines(): string[] {
    const { text, lowerText } = this;
    // One text for all is cheaper than one for each.
    const isVisible = VISIBLE_HEAD.test(text);
    const lines: string[] = [];
    for (const { nameStart, nameEnd, valueStart, valueEnd } of this.#head.fields) {
      const value = text.slice(valueStart - this.#start, valueEnd - this.#start);
      if (!isVisible && !VISIBLE.test(value)) continue;
      lines.push(`${lowerText.slice(nameStart - this.#start, nameEnd - this.#start)}: ${value}`);
    }
    return lines;
  }
}
