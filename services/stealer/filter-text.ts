// A filter in words, for those who meet it on their port. Its patterns come from another user: control characters are shown
// as escapes, and what is long is cut.

import type { HttpCondition, HttpFilter } from '#proto/gen/v1/incoming.ts';

const MAX_CHARS = 200;

/** `header "^x-user: alice$" and path "^/api"`. */
export function filterText({ conditions, isAny }: HttpFilter): string {
  const text = conditions.map(conditionText).join(isAny ? ' or ' : ' and ');
  return text.length > MAX_CHARS ? `${text.slice(0, MAX_CHARS)}…` : text;
}

function conditionText({ condition }: HttpCondition): string {
  if (condition === undefined) return 'nothing';
  if (condition.$case !== 'jsonBody') return `${condition.$case} ${quoted(condition.value)}`;
  const { query, matches } = condition.value;
  return `body ${quoted(query)} ${quoted(matches)}`;
}

/** JSON.stringify leaves DEL and the C1 controls as they are. */
function quoted(text: string): string {
  const escaped = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return JSON.stringify(text).replace(/[\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, escaped);
}
