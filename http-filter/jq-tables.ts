// The functions of jq that look at a value and make another of it.

import type { JqFilter } from './jq.ts';
import { ofSingle } from './jq-syntax.ts';
import {
  add,
  compare,
  contains,
  index,
  isTruthy,
  iterate,
  JqError,
  objectOf,
  sorted,
  sortedNames,
  split,
  textOf,
  typeOf,
} from './jq-value.ts';
import { isArray, isEqual, isObject, type Json, parseJson } from './json-value.ts';
import type { WorkLimit } from './work-limit.ts';

export type One = (input: Json, work: WorkLimit) => Json;

export const refuse = (what: string, value: Json): JqError => new JqError(`${typeOf(value)} ${what}`);

function text(value: Json, what: string): string {
  if (typeof value !== 'string') throw refuse(what, value);
  return value;
}

function list(value: Json, what: string): readonly Json[] {
  if (!isArray(value)) throw refuse(what, value);
  return value;
}

function lengthOf(value: Json, work: WorkLimit): Json {
  if (value === null) return 0;
  if (typeof value === 'boolean') throw refuse('has no length', value);
  if (typeof value === 'number') return Math.abs(value);
  if (typeof value !== 'string') return isArray(value) ? value.length : Object.keys(value).length;
  work.spendOnText(value.length);
  return [...value].length;
}

function keysOf(value: Json, work: WorkLimit): Json {
  if (isArray(value)) {
    work.spend(value.length);
    return [...value.keys()];
  }
  if (isObject(value)) return sortedNames(value, work);
  throw refuse('has no keys', value);
}

function toNumber(value: Json): Json {
  if (typeof value === 'number') return value;
  const source = text(value, 'cannot be parsed as a number').trim();
  if (!/^-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$/.test(source)) throw new JqError(`${source} is no number`);
  return Number(source);
}

function fromJson(value: Json, work: WorkLimit): Json {
  const source = text(value, 'cannot be parsed as JSON');
  work.spend(1 + (source.length >> 2));
  const parsed = parseJson(Buffer.from(source));
  if (parsed === undefined) throw new JqError('the text is no JSON');
  return parsed;
}

function addAll(value: Json, work: WorkLimit): Json {
  let sum: Json = null;
  for (const one of iterate(value)) {
    work.spend(1);
    sum = add(sum, one, work);
  }
  return sum;
}

const lower = (value: string): string => value.replace(/[A-Z]+/g, (part) => part.toLowerCase());
const upper = (value: string): string => value.replace(/[a-z]+/g, (part) => part.toUpperCase());

/** A function of a text that takes time as the text is long. */
const ofText =
  (name: string, make: (value: string) => Json): One =>
  (value, work) => {
    const source = text(value, `cannot be given to ${name}`);
    work.spendOnText(source.length);
    return make(source);
  };

export function toEntries(value: Json, work: WorkLimit): Json {
  if (!isObject(value)) throw refuse('has no entries', value);
  const entries = Object.entries(value);
  work.spend(entries.length);
  return entries.map(([key, one]) => ({ key, value: one }));
}

export function fromEntries(value: Json, work: WorkLimit): Json {
  return objectOf(
    iterate(value).map((entry): readonly [string, Json] => {
      work.spend(1);
      const names = ['key', 'k', 'name', 'Name', 'Key', 'K'].map((name) => index(entry, name));
      const key = names.find((one) => one !== null && one !== false) ?? null;
      const values = ['value', 'v', 'Value', 'V'].map((name) => index(entry, name));
      return [textOf(key, work), values.find((one) => one !== null) ?? null];
    }),
  );
}

function unique(values: readonly Json[], work: WorkLimit): Json[] {
  return sorted(values, work).filter((one, at, all) => at === 0 || !isEqual(one, all[at - 1] as Json, work));
}

function flatten(value: Json, work: WorkLimit): Json[] {
  return iterate(value).flatMap((one) => {
    work.spend(1);
    return isArray(one) ? flatten(one, work) : [one];
  });
}

function extreme(value: Json, sign: 1 | -1, work: WorkLimit): Json {
  const values = list(value, 'has no least or greatest');
  let best: Json = null;
  values.forEach((one, at) => {
    const order = at === 0 ? 1 : compare(one, best, work) * sign;
    if (order > 0 || (order === 0 && sign > 0)) best = one;
  });
  return best;
}

export const ONES: Readonly<Record<string, One>> = {
  not: (value) => !isTruthy(value),
  length: lengthOf,
  utf8bytelength: ofText('utf8bytelength', (value) => Buffer.byteLength(value)),
  type: (value) => typeOf(value),
  keys: keysOf,
  keys_unsorted: (value, work) => (isObject(value) ? Object.keys(value) : keysOf(value, work)),
  values: (value) => value,
  tostring: textOf,
  tonumber: toNumber,
  tojson: (value, work) => {
    const source = JSON.stringify(value);
    work.spendOnText(source.length);
    return source;
  },
  fromjson: fromJson,
  ascii_downcase: ofText('ascii_downcase', lower),
  ascii_upcase: ofText('ascii_upcase', upper),
  trim: ofText('trim', (value) => value.trim()),
  ltrim: ofText('ltrim', (value) => value.trimStart()),
  rtrim: ofText('rtrim', (value) => value.trimEnd()),
  explode: ofText('explode', (value) => [...value].map((char) => char.codePointAt(0) as number)),
  floor: (value) => Math.floor(number(value)),
  ceil: (value) => Math.ceil(number(value)),
  round: (value) => Math.sign(number(value)) * Math.round(Math.abs(number(value))),
  fabs: (value) => Math.abs(number(value)),
  add: addAll,
  any: (value) => iterate(value).some(isTruthy),
  all: (value) => iterate(value).every(isTruthy),
  sort: (value, work) => sorted(list(value, 'cannot be sorted'), work),
  unique: (value, work) => unique(list(value, 'cannot be sorted'), work),
  reverse: (value, work) => {
    if (value === null) return [];
    work.spendOnText(typeof value === 'string' ? value.length : 0);
    return typeof value === 'string' ? [...value].reverse().join('') : [...list(value, 'cannot be reversed')].reverse();
  },
  min: (value, work) => extreme(value, -1, work),
  max: (value, work) => extreme(value, 1, work),
  flatten: (value, work) => flatten(value, work),
  first: (value) => index(value, 0),
  last: (value) => index(value, -1),
  to_entries: toEntries,
  from_entries: fromEntries,
};

function number(value: Json): number {
  if (typeof value !== 'number') throw refuse('is no number', value);
  return value;
}

/** Outputs that are of one type, and `recurse`. */
export const MANY: Readonly<Record<string, JqFilter>> = {
  empty: () => [],
  error: (value) => {
    throw new JqError(value);
  },
  recurse: function* recurse(value, { work }): Iterable<Json> {
    const left: Json[] = [value];
    for (let next = left.pop(); next !== undefined; next = left.pop()) {
      work.spend(1);
      yield next;
      if (typeof next === 'object' && next !== null) left.push(...[...iterate(next)].reverse());
    }
  },
  strings: (value) => (typeof value === 'string' ? [value] : []),
  numbers: (value) => (typeof value === 'number' ? [value] : []),
  booleans: (value) => (typeof value === 'boolean' ? [value] : []),
  nulls: (value) => (value === null ? [value] : []),
  arrays: (value) => (isArray(value) ? [value] : []),
  objects: (value) => (isObject(value) ? [value] : []),
  iterables: (value) => (typeof value === 'object' && value !== null ? [value] : []),
  scalars: (value) => (typeof value === 'object' && value !== null ? [] : [value]),
  values: (value) => (value === null ? [] : [value]),
};

type Two = (input: Json, argument: Json, work: WorkLimit) => Json;

const indexesOf = (input: Json, argument: Json, work: WorkLimit): readonly number[] => {
  const found: number[] = [];
  if (typeof input === 'string') {
    const wanted = text(argument, 'is no text to look for');
    work.spendOnText(input.length);
    if (wanted === '') return found;
    for (let at = input.indexOf(wanted); at !== -1; at = input.indexOf(wanted, at + 1)) {
      work.spend(1);
      found.push(at);
    }
    return found;
  }
  list(input, 'has no places').forEach((one, at) => {
    if (isEqual(one, argument, work)) found.push(at);
  });
  return found;
};

const trimmed = (input: Json, argument: Json, cut: (value: string, part: string) => string): Json =>
  typeof input === 'string' && typeof argument === 'string' ? cut(input, argument) : input;

/** Their argument's every output is asked for. */
export const TWOS: Readonly<Record<string, Two>> = {
  startswith: (input, part) => {
    if (typeof input !== 'string' || typeof part !== 'string') throw new JqError('startswith() wants texts');
    return input.startsWith(part);
  },
  endswith: (input, part) => {
    if (typeof input !== 'string' || typeof part !== 'string') throw new JqError('endswith() wants texts');
    return input.endsWith(part);
  },
  ltrimstr: (input, part) => trimmed(input, part, (one, cut) => (one.startsWith(cut) ? one.slice(cut.length) : one)),
  rtrimstr: (input, part) =>
    trimmed(input, part, (one, cut) => (cut !== '' && one.endsWith(cut) ? one.slice(0, -cut.length) : one)),
  contains: (input, part, work) => contains(input, part, work),
  inside: (input, whole, work) => contains(whole, input, work),
  has: (input, key) => {
    if (isObject(input) && typeof key === 'string') return Object.hasOwn(input, key);
    if (isArray(input) && typeof key === 'number') return key >= 0 && key < input.length;
    throw new JqError(`${typeOf(input)} has no member ${typeOf(key)}`);
  },
  in: (key, whole, work) => (TWOS['has'] as Two)(whole, key, work),
  split: (input, by, work) => split(text(input, 'cannot be split'), text(by, 'cannot split'), work),
  join: (input, by, work) => {
    const parts = iterate(input).map((one) => {
      work.spend(1);
      if (typeof one === 'object' && one !== null) throw refuse('cannot be joined', one);
      return one === null ? '' : textOf(one, work);
    });
    const whole = parts.join(text(by, 'cannot join'));
    work.spendOnText(whole.length);
    return whole;
  },
  indices: indexesOf,
  index: (input, part, work) => (input === null ? null : (indexesOf(input, part, work)[0] ?? null)),
  rindex: (input, part, work) => (input === null ? null : (indexesOf(input, part, work).at(-1) ?? null)),
};

export const ofOne = (make: One): JqFilter =>
  ofSingle((input, { work }) => {
    work.spend(1);
    return make(input, work);
  });

/** `@base64` and the like, as functions. */
export const FORMATS: ReadonlyMap<string, JqFilter> = new Map([
  ['@text', ofOne(textOf)],
  ['@json', ofOne(ONES['tojson'] as One)],
  ['@uri', ofOne((value, work) => encodeUri(textOf(value, work)))],
  ['@base64', ofOne((value, work) => Buffer.from(textOf(value, work)).toString('base64'))],
  ['@base64d', ofOne((value, work) => Buffer.from(textOf(value, work), 'base64').toString('utf8'))],
]);

const encodeUri = (value: string): string =>
  encodeURIComponent(value.replace(/[\ud800-\udfff]/gu, '\ufffd')).replace(
    /[!'()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );
