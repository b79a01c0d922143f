// The types of values a key can have: how a value of a file is read, how a text of the environment becomes one, and how
// the JSON schema calls it.

import type { JsonSchema, Reading, ValueType } from './dsl.ts';

function asIs(text: string): unknown {
  return text;
}

export const bool: ValueType<boolean> = {
  name: 'true or false',
  read: (value) => (typeof value === 'boolean' ? { ok: value } : { bad: 'wants true or false' }),
  fromText: (text) => (text === 'true' ? true : text === 'false' ? false : text),
  json: { type: 'boolean' },
  words: ['true', 'false'],
};

export const text: ValueType<string> = {
  name: 'a text',
  read: (value) => (typeof value === 'string' ? { ok: value } : { bad: 'wants a text' }),
  fromText: asIs,
  json: { type: 'string' },
};

export const nonEmptyText: ValueType<string> = {
  name: 'a text that is not empty',
  read: (value) =>
    typeof value === 'string' && value !== '' ? { ok: value } : { bad: 'wants a text that is not empty' },
  fromText: asIs,
  json: { type: 'string', minLength: 1 },
};

export function integer(min: number, max: number): ValueType<number> {
  const name = max === Number.MAX_SAFE_INTEGER ? `a whole number from ${min}` : `a whole number from ${min} to ${max}`;
  return {
    name,
    read: (value) =>
      Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max
        ? { ok: value as number }
        : { bad: `wants ${name}` },
    fromText: (text) => (/^\d{1,16}$/.test(text) ? Number(text) : text),
    json: { type: 'integer', minimum: min, ...(max === Number.MAX_SAFE_INTEGER ? {} : { maximum: max }) },
  };
}

export const u16 = integer(0, 65_535);
export const u32 = integer(0, 4_294_967_295);
export const u64 = integer(0, Number.MAX_SAFE_INTEGER);
const port = integer(1, 65_535);

export function oneOf<const W extends string>(...words: readonly W[]): ValueType<W> {
  const name = `one of ${words.join(', ')}`;
  return {
    name,
    read: (value) => ((words as readonly unknown[]).includes(value) ? { ok: value as W } : { bad: `wants ${name}` }),
    fromText: asIs,
    json: { enum: words },
    words,
  };
}

export function optional<T>(type: ValueType<T>): ValueType<T | null> {
  return {
    ...type,
    read: (value) => (value === null ? { ok: null } : type.read(value)),
    json: { anyOf: [type.json, { type: 'null' }] },
  };
}

/** A list, or one value in its place. A text of the environment holds the values with `;` between them. */
export function listOf<T>(item: ValueType<T>, options: { splitsText?: boolean } = {}): ValueType<readonly T[]> {
  const name = `a list of values that are each ${item.name}, or one such value`;
  return {
    name,
    read: (value) => {
      const single = options.splitsText === true && typeof value === 'string' ? splitList(value) : [value];
      const items = Array.isArray(value)
        ? value.flatMap((one) => (options.splitsText ? splitItem(one) : [one]))
        : single;
      const list: T[] = [];
      for (const [index, one] of items.entries()) {
        const reading = item.read(one);
        if ('bad' in reading) return { bad: Array.isArray(value) ? `${reading.bad} (item ${index + 1})` : reading.bad };
        list.push(reading.ok);
      }
      return { ok: list };
    },
    fromText: (text) => splitList(text).map((one) => item.fromText(one)),
    json: { anyOf: [item.json, { type: 'array', items: item.json }] },
  };
}

export const textList: ValueType<readonly string[]> = { ...listOf(text), name: 'a text or a list of texts' };
/** Names of variables or processes, none of which holds a semicolon. */
export const nameList: ValueType<readonly string[]> = {
  ...listOf(text, { splitsText: true }),
  name: 'a text or a list of texts',
};

function splitList(value: string): string[] {
  return value
    .split(';')
    .map((one) => one.trim())
    .filter((one) => one !== '');
}

function splitItem(value: unknown): unknown[] {
  return typeof value === 'string' ? splitList(value) : [value];
}

export function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

/** Entries in the order of the file: the first that fits is used. */
export type TextMap = readonly (readonly [name: string, value: string])[];

/** Numbers, `true` and `false` become texts: in YAML they are easily written where a text is meant. */
export const textMap: ValueType<TextMap> = {
  name: 'a map of texts',
  read: (value) => {
    if (!isPlainObject(value)) return { bad: 'wants a map of texts' };
    const entries: [string, string][] = [];
    for (const [name, one] of Object.entries(value)) {
      if (!['string', 'number', 'boolean'].includes(typeof one))
        return { bad: `wants a text for ${JSON.stringify(name)}` };
      entries.push([name, String(one)]);
    }
    return { ok: entries };
  },
  fromText: asIs,
  json: { type: 'object', additionalProperties: { type: ['string', 'number', 'boolean'] } },
};

/** A list of pairs of ports, one-to-one: no port twice on either side. */
export const portPairs: ValueType<readonly (readonly [number, number])[]> = {
  name: 'a list of pairs of ports',
  read: readPortPairs,
  fromText: asIs,
  json: { type: 'array', items: { type: 'array', items: port.json, minItems: 2, maxItems: 2 } },
};

function readPortPairs(value: unknown): Reading<readonly (readonly [number, number])[]> {
  const bad = { bad: 'wants a list of pairs of ports, such as [[8080, 80]]' };
  if (!Array.isArray(value)) return bad;
  const pairs: [number, number][] = [];
  for (const pair of value) {
    if (!Array.isArray(pair) || pair.length !== 2 || pair.some((one) => 'bad' in port.read(one))) return bad;
    const [left, right] = pair as [number, number];
    if (pairs.some(([l, r]) => l === left || r === right)) return { bad: `names port ${left} or ${right} twice` };
    pairs.push([left, right]);
  }
  return { ok: pairs };
}

export const portList: ValueType<readonly number[]> = { ...listOf(port), name: 'a port or a list of ports' };

/** For keys that are refused whatever they hold: only its being there is read. */
export function anything(json: JsonSchema = {}): ValueType<unknown> {
  return { name: 'any value', read: (value) => ({ ok: value }), fromText: asIs, json };
}

export function check<T>(type: ValueType<T>, fault: (value: T) => string | null): ValueType<T> {
  return {
    ...type,
    read: (value) => {
      const reading = type.read(value);
      if ('bad' in reading) return reading;
      const bad = fault(reading.ok);
      return bad === null ? reading : { bad };
    },
  };
}
