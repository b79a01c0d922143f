// Fields that answers are given when a session asks for it: where they come from, and that nobody keeps them. Pure.

import type { ResponseHead } from '#runtime/http/message-head.ts';
import { field } from '#runtime/http2/hpack-encoder.ts';
import type { HeaderField } from '#runtime/http2/hpack-table.ts';

export type AnswerMarks = Readonly<{
  /** Add the field Mirrord-Agent. */
  namesOrigin: boolean;
  /** Put a Cache-Control of ours in place of the answer's own. */
  forbidsCaching: boolean;
}>;

export type AnswerFrom = 'target' | 'session';

const ORIGIN_FIELD = 'mirrord-agent';
const CACHE_FIELD = 'cache-control';
const ORIGINS = { target: 'passed-through', session: 'forwarded-to-client' } as const;
const NO_CACHE = 'no-cache, no-store, must-revalidate';

export const isMarked = ({ namesOrigin, forbidsCaching }: AnswerMarks): boolean => namesOrigin || forbidsCaching;

const isReplaced = (name: string, marks: AnswerMarks): boolean =>
  (marks.namesOrigin && name === ORIGIN_FIELD) || (marks.forbidsCaching && name === CACHE_FIELD);

/** @param bytes the head as it came. @returns the same with the fields, everything else byte for byte as it was */
export function markHead(
  bytes: Buffer,
  { bytes: all, end, fields }: ResponseHead,
  marks: AnswerMarks,
  from: AnswerFrom,
) {
  const start = end - bytes.length;
  const parts: Buffer[] = [];
  let at = 0;
  for (const { nameStart, nameEnd, valueEnd } of fields) {
    if (!isReplaced(all.toString('latin1', nameStart, nameEnd).toLowerCase(), marks)) continue;
    parts.push(bytes.subarray(at, nameStart - start));
    at = bytes.indexOf('\r\n', valueEnd - start) + 2;
  }
  parts.push(bytes.subarray(at, bytes.length - 2));
  if (marks.namesOrigin) parts.push(Buffer.from(`Mirrord-Agent: ${ORIGINS[from]}\r\n`, 'latin1'));
  if (marks.forbidsCaching) parts.push(Buffer.from(`Cache-Control: ${NO_CACHE}\r\n`, 'latin1'));
  return Buffer.concat([...parts, bytes.subarray(bytes.length - 2)]);
}

/** The fields of a block of HTTP/2: of an answer with the marks, of an interim one or of trailers as they are. */
export function markFields(
  fields: readonly HeaderField[],
  marks: AnswerMarks,
  from: AnswerFrom,
): readonly HeaderField[] {
  const status = fields.find(({ name }) => name === ':status')?.value;
  if (status === undefined || /^1\d\d$/.test(status)) return fields;
  const marked = fields.filter(({ name }) => !isReplaced(name, marks));
  if (marks.namesOrigin) marked.push(field(ORIGIN_FIELD, ORIGINS[from]));
  if (marks.forbidsCaching) marked.push(field(CACHE_FIELD, NO_CACHE));
  return marked;
}
