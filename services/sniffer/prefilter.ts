// What of a filter the kernel can look at: how request lines begin that it may match. Without a certain answer there is none,
// and everything is copied: the filter itself decides later.

import type { HttpCondition, HttpFilter } from '#proto/gen/v1/incoming.ts';

/** bpf/capture.h. */
const MAX_PREFIX_BYTES = 32;

/** `GET ` or ` /orders`; one of them begins every request that the filter matches. Empty: that is not known. */
export function requestPrefixes(filter: HttpFilter | undefined): string[] {
  if (filter === undefined) return [];
  const each = filter.conditions.map(prefixOf);
  if (filter.isAny) return each.every((prefix) => prefix !== null) ? each.filter((prefix) => prefix !== null) : [];
  // All must match, so any of them will do: the longest leaves out most.
  const best = each.filter((prefix) => prefix !== null).sort((a, b) => b.length - a.length)[0];
  return best === undefined ? [] : [best];
}

function prefixOf({ condition }: HttpCondition): string | null {
  // The kernel looks at GET and HEAD only, in upper case as HTTP has them (RFC 9110 section 9.1).
  if (condition?.$case === 'method') return `${condition.value.toUpperCase()} `.slice(0, MAX_PREFIX_BYTES);
  if (condition?.$case !== 'path') return null;
  const literal = literalBeginning(condition.value);
  return literal === null ? null : ` ${literal}`.slice(0, MAX_PREFIX_BYTES);
}

/** The plain text that an expression begins with when it is tied to the beginning: `^/orders/[0-9]+` gives `/orders/`. */
function literalBeginning(source: string): string | null {
  const plain = /^\^((?:[A-Za-z0-9/_~%:@!,;=&-]|\\[./-])+)/.exec(source);
  if (plain === null || source.includes('|')) return null;
  const whole = plain[1] as string;
  const next = source[1 + whole.length];
  // A quantifier is about the last character, which then need not be there.
  const sure = next !== undefined && '?*{+'.includes(next) ? whole.replace(/\\?.$/, '') : whole;
  const text = sure.replaceAll('\\', '');
  return text.startsWith('/') ? text : null;
}
