// The body of a request while filters decide by it: its content, and its JSON, parsed once for all filters.

import { type Json, parseJson } from './json-value.ts';

export class RequestBody {
  readonly bytes: Buffer;
  #json: Json | undefined;
  #isParsed = false;

  /** @param bytes the content */
  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  /** undefined when the content is no JSON. */
  get json(): Json | undefined {
    if (!this.#isParsed) this.#json = parseJson(this.bytes);
    this.#isParsed = true;
    return this.#json;
  }
}
