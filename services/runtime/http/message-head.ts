// Heads of HTTP/1 messages (RFC 9112 sections 2 to 5), read where they lie and never rewritten. Whatever two parsers could
// read in two ways is no head here: bare LF, folded lines, space before a colon, two lengths. Its connection is then passed
// on as opaque bytes, so that nobody is smuggled past a filter and no peer is answered by us.

import { CLASSES, COLON, CR, LF, SPACE, TAB, TARGET, TOKEN, VALUE } from './syntax.ts';

/** Longest head that is read, in bytes; a longer one is doubtful. */
export const MAX_HEAD_BYTES = 65_536;
/** Most fields of one head; more are doubtful. */
export const MAX_FIELDS = 256;

/** One field, as offsets into the bytes it was read from; the value without the white space around it. */
export type Field = Readonly<{ nameStart: number; nameEnd: number; valueStart: number; valueEnd: number }>;

type Head = Readonly<{
  /** The bytes that all offsets point into. Not copied: valid as long as their owner keeps them. */
  bytes: Buffer;
  /** Offset of the first octet after the empty line. */
  end: number;
  /** 0 for HTTP/1.0, 1 for HTTP/1.1. */
  minorVersion: 0 | 1;
  fields: readonly Field[];
}>;

export type RequestHead = Head & Readonly<{ method: string; target: string }>;
export type ResponseHead = Head & Readonly<{ status: number }>;

/** `incomplete`: more bytes are needed. `doubtful`: this is not HTTP/1, or not so that everybody reads it the same. */
export type Unread = 'incomplete' | 'doubtful';

/** End of the start line's last octet and so of the line, or why there is none. */
function endOfLine(bytes: Buffer, from: number, end: number, allowed: number): number {
  let at = from;
  while (at < end && (CLASSES[bytes[at] as number] as number) & allowed) at++;
  return at;
}

const isCrLf = (bytes: Buffer, at: number): boolean => bytes[at] === CR && bytes[at + 1] === LF;

/**
 * Reads the fields from `start`, the beginning of a line, to the empty line.
 *
 * @param end offset after the empty line's CRLF, where the caller found it
 */
function readFields(bytes: Buffer, start: number, end: number): Field[] | 'doubtful' {
  const fields: Field[] = [];
  let at = start;
  while (!isCrLf(bytes, at)) {
    const nameStart = at;
    at = endOfLine(bytes, at, end, TOKEN);
    if (at === nameStart || bytes[at] !== COLON) return 'doubtful';
    const nameEnd = at++;
    while (bytes[at] === SPACE || bytes[at] === TAB) at++;
    const valueStart = at;
    at = endOfLine(bytes, at, end, VALUE);
    if (!isCrLf(bytes, at)) return 'doubtful';
    let valueEnd = at;
    while (valueEnd > valueStart && (bytes[valueEnd - 1] === SPACE || bytes[valueEnd - 1] === TAB)) valueEnd--;
    if (fields.push({ nameStart, nameEnd, valueStart, valueEnd }) > MAX_FIELDS) return 'doubtful';
    at += 2;
  }
  return at + 2 === end ? fields : 'doubtful';
}

const EMPTY_LINE = Buffer.from('\r\n\r\n');

/** Finds the end of the head that begins at `start`. */
function endOfHead(bytes: Buffer, start: number, end: number): number | Unread {
  const at = bytes.indexOf(EMPTY_LINE, start);
  const headEnd = at + EMPTY_LINE.length;
  if (at === -1 || headEnd > end) return end - start > MAX_HEAD_BYTES ? 'doubtful' : 'incomplete';
  return headEnd - start > MAX_HEAD_BYTES ? 'doubtful' : headEnd;
}

/** `HTTP/1.0` or `HTTP/1.1` at an offset: its minor version, or -1. */
function minorVersionAt(bytes: Buffer, at: number): 0 | 1 | -1 {
  if (bytes.toString('latin1', at, at + 7) !== 'HTTP/1.') return -1;
  const digit = bytes[at + 7];
  if (digit === 0x31) return 1;
  return digit === 0x30 ? 0 : -1;
}

/** The four forms of RFC 9112 section 3.2; anything else some readers refuse and some do not. */
function isTarget(method: string, target: string): boolean {
  if (target.startsWith('/') || target === '*') return true;
  return method === 'CONNECT' ? /^[^/@]+:[0-9]+$/.test(target) : /^[a-z]+:\/\/[^/]/i.test(target);
}

const VERSION_LENGTH = 'HTTP/1.1'.length;

/** Of a head that has come in part, what need not be looked at again, in bytes from its beginning. */
export type SeenHead = {
  /** Of a request line, when they reach into its target. */
  line: number;
  /** Whose lines end as they should. */
  lines: number;
};

export const nothingSeen = (): SeenHead => ({ line: 0, lines: 0 });

/** Another head begins. */
export function forget(seen: SeenHead): void {
  seen.line = 0;
  seen.lines = 0;
}

/** A line that ends without CR: with it no head becomes one that everybody reads the same. */
function hasBareLineEnd(bytes: Buffer, start: number, end: number, seen: SeenHead): boolean {
  for (let at = bytes.indexOf(LF, start + seen.lines); at !== -1 && at < end; at = bytes.indexOf(LF, at + 1)) {
    if (at === start || bytes[at - 1] !== CR) return true;
  }
  seen.lines = end - start;
  return false;
}

/** True when `bytes` from `start` cannot become a request line any more, however it goes on. */
function isHopelessRequestLine(bytes: Buffer, start: number, end: number, seen: SeenHead): boolean {
  let targetStart = start + seen.line;
  if (seen.line === 0) {
    const methodEnd = endOfLine(bytes, start, end, TOKEN);
    if (methodEnd === end) return false;
    if (methodEnd === start || bytes[methodEnd] !== SPACE) return true;
    targetStart = methodEnd + 1;
  }
  const targetEnd = endOfLine(bytes, targetStart, end, TARGET);
  if (targetEnd === end) {
    if (targetEnd > targetStart) seen.line = end - start;
    return false;
  }
  if ((seen.line === 0 && targetEnd === targetStart) || bytes[targetEnd] !== SPACE) return true;
  const version = bytes.toString('latin1', targetEnd + 1, Math.min(end, targetEnd + 1 + VERSION_LENGTH));
  return !('HTTP/1.0'.startsWith(version) || 'HTTP/1.1'.startsWith(version));
}

/**
 * Reads the head of a request at `start`; never looks at or beyond `end`.
 *
 * A single empty line before it is skipped (RFC 9112 section 2.2). Says `doubtful` as early as the bytes do, so that what is
 * not HTTP does not wait for an empty line that never comes.
 *
 * @param seen of this head, from the calls before
 */
export function readRequestHead(
  bytes: Buffer,
  start: number,
  end: number,
  seen: SeenHead = nothingSeen(),
): RequestHead | Unread {
  let at = start;
  if (bytes[at] === CR && at < end) {
    if (at + 1 >= end) return 'incomplete';
    if (bytes[at + 1] !== LF) return 'doubtful';
    at += 2;
    if (at >= end) return 'incomplete';
  }
  const headEnd = endOfHead(bytes, at, end);
  if (headEnd === 'incomplete') {
    const isHopeless = isHopelessRequestLine(bytes, at, end, seen) || hasBareLineEnd(bytes, at, end, seen);
    return isHopeless ? 'doubtful' : 'incomplete';
  }
  if (headEnd === 'doubtful') return 'doubtful';
  const methodEnd = endOfLine(bytes, at, headEnd, TOKEN);
  if (methodEnd === at || bytes[methodEnd] !== SPACE) return 'doubtful';
  const targetStart = methodEnd + 1;
  const targetEnd = endOfLine(bytes, targetStart, headEnd, TARGET);
  if (targetEnd === targetStart || bytes[targetEnd] !== SPACE) return 'doubtful';
  const minorVersion = minorVersionAt(bytes, targetEnd + 1);
  const lineEnd = targetEnd + 1 + VERSION_LENGTH;
  if (minorVersion === -1 || !isCrLf(bytes, lineEnd)) return 'doubtful';
  const fields = readFields(bytes, lineEnd + 2, headEnd);
  if (fields === 'doubtful') return 'doubtful';
  const method = bytes.toString('latin1', at, methodEnd);
  const target = bytes.toString('latin1', targetStart, targetEnd);
  if (!isTarget(method, target)) return 'doubtful';
  return { bytes, end: headEnd, minorVersion, fields, method, target };
}

const isDigits = (text: string): boolean => /^[0-9]{3}$/.test(text);

/** Reads the head of a response at `start`; never looks at or beyond `end`. */
export function readResponseHead(
  bytes: Buffer,
  start: number,
  end: number,
  seen: SeenHead = nothingSeen(),
): ResponseHead | Unread {
  const headEnd = endOfHead(bytes, start, end);
  if (headEnd === 'incomplete') {
    const version = bytes.toString('latin1', start, Math.min(end, start + VERSION_LENGTH));
    const isOne = 'HTTP/1.0'.startsWith(version) || 'HTTP/1.1'.startsWith(version);
    return isOne && !hasBareLineEnd(bytes, start, end, seen) ? 'incomplete' : 'doubtful';
  }
  if (headEnd === 'doubtful') return 'doubtful';
  const minorVersion = minorVersionAt(bytes, start);
  const statusStart = start + VERSION_LENGTH + 1;
  const digits = bytes.toString('latin1', statusStart, statusStart + 3);
  if (minorVersion === -1 || bytes[statusStart - 1] !== SPACE || !isDigits(digits)) return 'doubtful';
  // RFC 9112 section 4: a space and a reason that may be empty; servers leave the space out too.
  let lineEnd = statusStart + 3;
  if (bytes[lineEnd] === SPACE) lineEnd = endOfLine(bytes, lineEnd, headEnd, VALUE);
  if (!isCrLf(bytes, lineEnd)) return 'doubtful';
  const fields = readFields(bytes, lineEnd + 2, headEnd);
  if (fields === 'doubtful') return 'doubtful';
  return { bytes, end: headEnd, minorVersion, fields, status: Number(digits) };
}

/**
 * True when the field's name is `name`: letters in lower case and hyphens. Without making a text of it: among the octets of
 * names only the letters of both cases, and the hyphen, become what `name` has when the bit of the case is set.
 */
export function isNamed(bytes: Buffer, { nameStart, nameEnd }: Field, name: string): boolean {
  if (nameEnd - nameStart !== name.length) return false;
  for (let at = 0; at < name.length; at++) {
    if (((bytes[nameStart + at] as number) | 0x20) !== name.charCodeAt(at)) return false;
  }
  return true;
}

export const fieldValue = (bytes: Buffer, field: Field): string =>
  bytes.toString('latin1', field.valueStart, field.valueEnd);
