// JSON as queries see it: parsed within limits, compared as RFC 9535 and jq do it.

import type { WorkLimit } from './work-limit.ts';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };
export type JsonObject = { readonly [name: string]: Json };

/** Deeper documents are nobody's requests, and queries walk them by recursion. */
const MAX_JSON_DEPTH = 256;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** False when brackets that are not in a text are nested deeper than we walk. */
function isShallow(bytes: Buffer): boolean {
  let depth = 0;
  let isText = false;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if (isText) {
      if (byte === BACKSLASH) at++;
      else if (byte === QUOTE) isText = false;
    } else if (byte === QUOTE) isText = true;
    else if (byte === 0x5b || byte === 0x7b) {
      if (++depth > MAX_JSON_DEPTH) return false;
    } else if (byte === 0x5d || byte === 0x7d) depth--;
  }
  return true;
}

/** @returns undefined when the bytes are no JSON in UTF-8, or are nested too deep */
export function parseJson(bytes: Buffer): Json | undefined {
  if (!isShallow(bytes)) return undefined;
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as Json;
  } catch {
    // No JSON: an ordinary body.
    return undefined;
  }
}

export const isArray = (value: unknown): value is readonly Json[] => Array.isArray(value);
export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A member's value; undefined when there is none of that name. */
export const memberOf = (value: JsonObject, name: string): Json | undefined =>
  Object.hasOwn(value, name) ? value[name] : undefined;

export function isEqual(a: Json, b: Json, work: WorkLimit): boolean {
  work.spend(1);
  if (typeof a === 'string' && typeof b === 'string') {
    work.spendOnText(Math.min(a.length, b.length));
    return a === b;
  }
  if (isArray(a)) {
    return isArray(b) && a.length === b.length && a.every((one, index) => isEqual(one, b[index] as Json, work));
  }
  if (isObject(a)) {
    if (!isObject(b)) return false;
    const names = Object.keys(a);
    work.spend(names.length);
    return (
      names.length === Object.keys(b).length &&
      names.every((name) => Object.hasOwn(b, name) && isEqual(a[name] as Json, b[name] as Json, work))
    );
  }
  return a === b;
}

/** By code points, as both query languages order texts; UTF-16 would put some of them elsewhere. */
export function compareTexts(a: string, b: string, work: WorkLimit): number {
  work.spendOnText(Math.min(a.length, b.length));
  if (a === b) return 0;
  let at = 0;
  while (at < a.length && at < b.length && a.charCodeAt(at) === b.charCodeAt(at)) at++;
  if (at === a.length || at === b.length) return a.length - b.length;
  // In the middle of a pair the code point begins one unit earlier.
  const start = at > 0 && (a.charCodeAt(at - 1) & 0xfc00) === 0xd800 ? at - 1 : at;
  return (a.codePointAt(start) as number) - (b.codePointAt(start) as number);
}
