// What stands behind the question mark of a target, as jq sees it.

import type { Json } from './json-value.ts';

/** Texts by their names; a name that comes again has a list. */
export function parametersOf(target: string): Json {
  const query = target.indexOf('?');
  if (query === -1) return {};
  const text = target.slice(query + 1);
  return plainParameters(text) ?? anyParameters(text);
}

function anyParameters(text: string): Json {
  const parameters = new Map<string, string | string[]>();
  for (const [name, value] of new URLSearchParams(text)) {
    const before = parameters.get(name);
    parameters.set(name, before === undefined ? value : [before, value].flat());
  }
  return Object.fromEntries(parameters);
}

/**
 * Of a text that stands for itself, which most do, in a tenth of the time; undefined where a character stands for another one, a
 * name comes again, or is not to be had by assigning to it.
 */
function plainParameters(text: string): Json | undefined {
  if (/[%+#?]|__proto__/.test(text)) return undefined;
  const parameters: Record<string, string> = {};
  for (let start = 0; start <= text.length; ) {
    const found = text.indexOf('&', start);
    const end = found === -1 ? text.length : found;
    const sign = text.indexOf('=', start);
    const nameEnd = sign === -1 || sign > end ? end : sign;
    const name = text.slice(start, nameEnd);
    if (end > start && Object.hasOwn(parameters, name)) return undefined;
    if (end > start) parameters[name] = text.slice(Math.min(nameEnd + 1, end), end);
    start = end + 1;
  }
  return parameters;
}
