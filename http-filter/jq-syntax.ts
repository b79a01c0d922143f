// What the parts of jq's grammar have in common: reading words and symbols, and the functions that everything is made of.

import type { JqFilter, Scope } from './jq.ts';
import { asMember } from './jq-demands.ts';
import { index, JqError } from './jq-value.ts';
import type { Json } from './json-value.ts';
import type { QueryText } from './query-text.ts';

/** Names that `as` has given where the parser is. */
export type Names = Readonly<{ variables: ReadonlySet<string> }>;

export const WORD = /[A-Za-z_][A-Za-z0-9_]*/y;

export function skip(text: QueryText): void {
  text.skipBlanks();
  while (text.peek() === '#') {
    text.match(/[^\n]*/y);
    text.skipBlanks();
  }
}

/** Takes a symbol that is not the beginning of a longer one. */
export function takeSymbol(text: QueryText, symbol: string, butNot: RegExp): boolean {
  skip(text);
  if (!text.source.startsWith(symbol, text.at) || butNot.test(text.source.slice(text.at, text.at + 3))) return false;
  text.at += symbol.length;
  return true;
}

export function takeWord(text: QueryText, word: string): boolean {
  skip(text);
  const before = text.at;
  if (text.match(WORD) === word) return true;
  text.at = before;
  return false;
}

export type Operate = (a: Json, b: Json, scope: Scope) => Json;

/** Programs that give one value for each input, or an error: most of a filter's are, and a function costs a tenth of a generator. */
export type Single = (input: Json, scope: Scope) => Json;
const singles = new WeakMap<JqFilter, Single>();

/** Undefined for a program of another kind. */
export const singleOf = (filter: JqFilter): Single | undefined => singles.get(filter);

export function ofSingle(single: Single): JqFilter {
  const filter: JqFilter = (input, scope) => [single(input, scope)];
  singles.set(filter, single);
  return filter;
}

/** Like jq: every output of the right side with every one of the left. */
export function binary(left: JqFilter, right: JqFilter, operate: Operate): JqFilter {
  const [one, other] = [singleOf(left), singleOf(right)];
  if (one !== undefined && other !== undefined) {
    return ofSingle((input, scope) => {
      const b = other(input, scope);
      const a = one(input, scope);
      scope.work.spend(1);
      return operate(a, b, scope);
    });
  }
  return function* (input, scope) {
    for (const b of right(input, scope)) {
      for (const a of left(input, scope)) {
        scope.work.spend(1);
        yield operate(a, b, scope);
      }
    }
  };
}

export const identity: JqFilter = ofSingle((input) => input);

/** Programs that give one value whatever their input is. */
export const literals = new WeakMap<JqFilter, Json>();

export function constant(value: Json): JqFilter {
  const filter = ofSingle(() => value);
  literals.set(filter, value);
  return filter;
}

/** @param isOptional what cannot be indexed gives nothing (`.a?`); errors of the term and the key stay errors */
export function indexed(term: JqFilter, key: JqFilter, isOptional = false): JqFilter {
  const [one, name] = [singleOf(term), singleOf(key)];
  if (one !== undefined && name !== undefined && !isOptional) {
    const filter = ofSingle((input, scope) => {
      const value = one(input, scope);
      const at = name(input, scope);
      scope.work.spend(1);
      return index(value, at);
    });
    return term === identity && literals.has(key) ? asMember(filter) : filter;
  }
  return function* (input, scope) {
    for (const one of term(input, scope)) {
      for (const name of key(input, scope)) {
        scope.work.spend(1);
        yield* orNothing(isOptional, () => [index(one, name)]);
      }
    }
  };
}

/** @param isOptional an error is no output */
export function orNothing(isOptional: boolean, make: () => readonly Json[]): readonly Json[] {
  if (!isOptional) return make();
  try {
    return make();
  } catch (error) {
    if (error instanceof JqError) return [];
    throw error;
  }
}

export function attempt(body: JqFilter, rescue: JqFilter | undefined): JqFilter {
  return function* (input, scope) {
    try {
      yield* body(input, scope);
    } catch (error) {
      if (!(error instanceof JqError)) throw error;
      if (rescue !== undefined) yield* rescue(error.value, scope);
    }
  };
}
