// Values of jq: how they are ordered, added, divided, and what goes wrong with them. Work is counted where it grows with a
// value, so that no program builds what memory does not hold.

import { compareTexts, isArray, isEqual, isObject, type Json, type JsonObject, memberOf } from './json-value.ts';
import type { WorkLimit } from './work-limit.ts';

/** An error of the program, which its `try` and `?` may catch. */
export class JqError extends Error {
  readonly value: Json;

  constructor(value: Json) {
    super(typeof value === 'string' ? value : JSON.stringify(value));
    this.value = value;
  }
}

export function typeOf(value: Json): string {
  if (value === null) return 'null';
  return isArray(value) ? 'array' : typeof value;
}

export const isTruthy = (value: Json): boolean => value !== null && value !== false;

/** null, false, true, numbers, texts, arrays, objects. */
function rankOf(value: Json): number {
  if (value === null) return 0;
  if (typeof value === 'boolean') return value ? 2 : 1;
  if (typeof value === 'number') return 3;
  if (typeof value === 'string') return 4;
  return isArray(value) ? 5 : 6;
}

export function compare(a: Json, b: Json, work: WorkLimit): number {
  work.spend(1);
  const byRank = rankOf(a) - rankOf(b);
  if (byRank !== 0) return byRank;
  if (typeof a === 'number') return a - (b as number);
  if (typeof a === 'string') return compareTexts(a, b as string, work);
  if (isArray(a)) return compareLists(a, b as readonly Json[], work);
  if (!isObject(a)) return 0;
  const other = b as JsonObject;
  const [names, otherNames] = [sortedNames(a, work), sortedNames(other, work)];
  const byNames = compareLists(names, otherNames, work);
  return byNames !== 0
    ? byNames
    : compareLists(
        names.map((name) => a[name] as Json),
        names.map((name) => other[name] as Json),
        work,
      );
}

function compareLists(a: readonly Json[], b: readonly Json[], work: WorkLimit): number {
  for (let at = 0; at < Math.min(a.length, b.length); at++) {
    const order = compare(a[at] as Json, b[at] as Json, work);
    if (order !== 0) return order;
  }
  return a.length - b.length;
}

export function sorted(values: readonly Json[], work: WorkLimit): Json[] {
  return [...values].sort((a, b) => compare(a, b, work));
}

export function sortedNames(value: JsonObject, work: WorkLimit): string[] {
  return Object.keys(value).sort((a, b) => compareTexts(a, b, work));
}

export function textOf(value: Json, work: WorkLimit): string {
  if (typeof value === 'string') return value;
  const text = JSON.stringify(value);
  work.spendOnText(text.length);
  return text;
}

function cannot(what: string, a: Json, b: Json): JqError {
  return new JqError(`${typeOf(a)} and ${typeOf(b)} cannot be ${what}`);
}

/** A new object; a name such as __proto__ is a name like any other. */
export function objectOf(entries: Iterable<readonly [string, Json]>): JsonObject {
  return Object.fromEntries(entries);
}

export function add(a: Json, b: Json, work: WorkLimit): Json {
  if (a === null) return b;
  if (b === null) return a;
  if (typeof a === 'number' && typeof b === 'number') return a + b;
  if (typeof a === 'string' && typeof b === 'string') {
    work.spendOnText(a.length + b.length);
    return a + b;
  }
  if (isArray(a) && isArray(b)) {
    work.spend(a.length + b.length);
    return [...a, ...b];
  }
  if (!isObject(a) || !isObject(b)) throw cannot('added', a, b);
  const entries = [...Object.entries(a), ...Object.entries(b)];
  work.spend(entries.length);
  return objectOf(entries);
}

export function subtract(a: Json, b: Json, work: WorkLimit): Json {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  if (!isArray(a) || !isArray(b)) throw cannot('subtracted', a, b);
  return a.filter((one) => !b.some((other) => isEqual(one, other, work)));
}

export function multiply(a: Json, b: Json, work: WorkLimit): Json {
  if (typeof a === 'number' && typeof b === 'number') return a * b;
  if (isObject(a) && isObject(b)) return merge(a, b, work);
  const [text, times] = typeof a === 'string' ? [a, b] : [b, a];
  if (typeof text !== 'string' || typeof times !== 'number') throw cannot('multiplied', a, b);
  if (!(times > 0)) return null;
  const whole = Math.max(1, Math.ceil(times));
  work.spendOnText(text.length * whole);
  return text.repeat(whole);
}

function merge(a: JsonObject, b: JsonObject, work: WorkLimit): JsonObject {
  const merged = new Map(Object.entries(a));
  work.spend(merged.size);
  for (const [name, value] of Object.entries(b)) {
    work.spend(1);
    const before = merged.get(name);
    merged.set(name, before !== undefined && isObject(before) && isObject(value) ? merge(before, value, work) : value);
  }
  return objectOf(merged);
}

export function divide(a: Json, b: Json, work: WorkLimit): Json {
  if (typeof a === 'string' && typeof b === 'string') return split(a, b, work);
  if (typeof a !== 'number' || typeof b !== 'number') throw cannot('divided', a, b);
  if (b === 0) throw new JqError('division by zero');
  return a / b;
}

export function remainder(a: Json, b: Json): Json {
  if (typeof a !== 'number' || typeof b !== 'number') throw cannot('divided', a, b);
  const [whole, by] = [Math.trunc(a), Math.abs(Math.trunc(b))];
  if (by === 0) throw new JqError('division by zero');
  return whole % by;
}

export function split(text: string, by: string, work: WorkLimit): string[] {
  work.spendOnText(text.length);
  if (text === '') return [];
  const parts = by === '' ? [...text] : text.split(by);
  work.spend(parts.length);
  return parts;
}

/** `a | contains(b)`. */
export function contains(a: Json, b: Json, work: WorkLimit): boolean {
  work.spend(1);
  if (typeof a === 'string' && typeof b === 'string') {
    work.spendOnText(a.length);
    return a.includes(b);
  }
  if (isArray(a) && isArray(b)) {
    return b.every((wanted) => a.some((one) => typeOf(one) === typeOf(wanted) && contains(one, wanted, work)));
  }
  if (isObject(a) && isObject(b)) {
    return Object.entries(b).every(([name, wanted]) => {
      const one = memberOf(a, name);
      return one !== undefined && typeOf(one) === typeOf(wanted) && contains(one, wanted, work);
    });
  }
  if (typeOf(a) === typeOf(b)) return isEqual(a, b, work);
  throw new JqError(`${typeOf(a)} and ${typeOf(b)} cannot have their containment checked`);
}

/** `.[key]`. */
export function index(value: Json, key: Json): Json {
  if (typeof key === 'string' && isObject(value)) return memberOf(value, key) ?? null;
  if (typeof key === 'number' && isArray(value)) return value.at(Math.floor(key)) ?? null;
  if (value === null && (typeof key === 'string' || typeof key === 'number' || key === null)) return null;
  throw new JqError(
    `${typeOf(value)} cannot be indexed with ${typeof key === 'string' ? JSON.stringify(key) : typeOf(key)}`,
  );
}

/** `.[from:to]`. */
export function slice(value: Json, from: Json, to: Json, work: WorkLimit): Json {
  if (value === null) return null;
  const isBound = (one: Json) => one === null || typeof one === 'number';
  if (!isBound(from) || !isBound(to)) throw new JqError('a slice begins and ends at numbers');
  const [start, end] = [
    from === null ? 0 : Math.floor(from as number),
    to === null ? undefined : Math.ceil(to as number),
  ];
  if (typeof value === 'string') {
    work.spendOnText(value.length);
    return [...value].slice(start, end).join('');
  }
  if (!isArray(value)) throw new JqError(`${typeOf(value)} cannot be sliced`);
  work.spend(value.length);
  return value.slice(start, end);
}

export function iterate(value: Json): readonly Json[] {
  if (isArray(value)) return value;
  if (isObject(value)) return Object.values(value);
  throw new JqError(`${typeOf(value)} cannot be iterated over`);
}
