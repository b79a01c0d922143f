// The head of a request that joined sockets have read (native/head_lines.h), as filters see it. One for all, there until the next
// one is; texts are made when they are asked for.

import type { FilteredRequest } from '#http-filter/http-filter.ts';
import { HEAD_FACTS, HEAD_LINES_BYTES } from '../native/index.ts';

export class NativeHead implements FilteredRequest {
  readonly lines = Buffer.from(new ArrayBuffer(HEAD_LINES_BYTES));
  readonly facts = new Uint32Array(HEAD_FACTS);
  #text: string | undefined;
  #lowerText: string | undefined;
  #headerLines: readonly string[] | undefined;

  /** Another head lies there. */
  begin(): void {
    this.#text = undefined;
    this.#lowerText = undefined;
    this.#headerLines = undefined;
  }

  get screen(): number {
    return this.#fact(0);
  }

  get hasBody(): boolean {
    return this.#fact(1) !== 0;
  }

  get method(): string {
    return this.#all.slice(0, this.#fact(2));
  }

  get target(): string {
    return this.#all.slice(this.#fact(2) + 1, this.#fact(3));
  }

  get lowerText(): string {
    this.#lowerText ??= this.#all.toLowerCase();
    return this.#lowerText;
  }

  get headerLines(): readonly string[] {
    this.#headerLines ??= this.#fact(3) === this.#fact(4) ? [] : this.#all.slice(this.#fact(3) + 1).split('\n');
    return this.#headerLines;
  }

  get #all(): string {
    this.#text ??= this.lines.toString('latin1', 0, this.#fact(4));
    return this.#text;
  }

  #fact(at: number): number {
    return this.facts[at] as number;
  }
}
