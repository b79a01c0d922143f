// Reading a query's source from left to right, and what is said when it cannot be.

import type { RE2JSException } from 're2js';
import { AppError } from '#proto/errors.ts';
import { filterError } from './filter-fault.ts';
import { patternFault } from './pattern-fault.ts';

/** Longest query or program in characters. */
const MAX_QUERY_LENGTH = 4_096;
/** Parentheses, brackets and operators inside of each other. */
const MAX_DEPTH = 64;

const BLANK = /[ \t\n\r]/;

export class QueryText {
  readonly source: string;
  readonly #where: string;
  at = 0;
  #depth = 0;

  /** @param where what the user wrote it in, for messages */
  constructor(source: string, where: string) {
    this.source = source;
    this.#where = where;
    if (source === '') throw new AppError('CONFIG_INVALID', `${where} is empty`);
    if (source.length > MAX_QUERY_LENGTH) {
      throw new AppError('CONFIG_INVALID', `${where} is longer than ${MAX_QUERY_LENGTH} characters`);
    }
  }

  get isAtEnd(): boolean {
    return this.at >= this.source.length;
  }

  peek(): string {
    return this.source[this.at] ?? '';
  }

  skipBlanks(): void {
    while (BLANK.test(this.peek())) this.at++;
  }

  /** Takes this text when it is next. */
  take(text: string): boolean {
    if (!this.source.startsWith(text, this.at)) return false;
    this.at += text.length;
    return true;
  }

  expect(text: string): void {
    if (!this.take(text)) this.fail(`${JSON.stringify(text)} is missing`);
  }

  /** Takes what a sticky expression finds here. */
  match(sticky: RegExp): string | undefined {
    sticky.lastIndex = this.at;
    const found = sticky.exec(this.source)?.[0];
    if (found !== undefined) this.at += found.length;
    return found;
  }

  /** The rest of what `read` reads is one level deeper. */
  nested<Result>(read: () => Result): Result {
    if (++this.#depth > MAX_DEPTH) this.fail(`it is nested deeper than ${MAX_DEPTH}`);
    const result = read();
    this.#depth--;
    return result;
  }

  /** @throws AppError CONFIG_INVALID: no such language */
  fail(why: string, at: number = this.at, instead?: string): never {
    throw filterError(this.#where, this.source, { why, at, length: this.#wordLength(at), instead });
  }

  /** @throws AppError UNSUPPORTED: the language has it, and we do not */
  refuse(what: string, at: number, instead?: string): never {
    const fault = { why: `${what} is not offered`, at, length: this.#wordLength(at), instead };
    throw filterError(this.#where, this.source, fault, 'UNSUPPORTED');
  }

  /**
   * A pattern that is a text in here cannot be.
   * @param at where that text begins
   * @throws AppError CONFIG_INVALID with the part marked where it can be found in here
   */
  failPattern(pattern: string, error: RE2JSException, at: number): never {
    const { why, instead, ...part } = patternFault(pattern, error);
    const found = this.source.indexOf(pattern.slice(part.at, part.at + part.length), at);
    const place = found === -1 ? { at, length: this.#wordLength(at) } : { at: found, length: part.length };
    const whole = `in the pattern ${JSON.stringify(pattern)}: ${why}`;
    throw filterError(this.#where, this.source, { why: whole, instead, ...place }, 'CONFIG_INVALID', error);
  }

  #wordLength(at: number): number {
    return /^[$@.]*[A-Za-z_0-9]+/.exec(this.source.slice(at))?.[0].length ?? 1;
  }
}
