// How long the body of an HTTP/1 message is (RFC 9112 section 6), decided from its head alone and only where every reader
// decides the same.

import { type Field, fieldValue, isNamed, type RequestHead, type ResponseHead } from './message-head.ts';
import { SPACE, TAB } from './syntax.ts';

/** What follows a head: so many bytes; chunks; everything until the connection ends; or no HTTP any more. */
export type Framing =
  | Readonly<{ kind: 'length'; bytes: number }>
  | Readonly<{ kind: 'chunked' }>
  | Readonly<{ kind: 'until-close' }>
  | Readonly<{ kind: 'tunnel' }>;

const NO_BODY: Framing = { kind: 'length', bytes: 0 };
const CHUNKED: Framing = { kind: 'chunked' };
const UNTIL_CLOSE: Framing = { kind: 'until-close' };
const TUNNEL: Framing = { kind: 'tunnel' };

/** Digits of a Content-Length that a double still counts exactly. */
const MAX_LENGTH_DIGITS = 15;

type Lengths = Readonly<{ contentLength: number | undefined; isChunked: boolean }>;

/** A value such as `1, 1`, `+1` or 20 digits is read differently by different readers. */
function readLength(text: string): number | 'doubtful' {
  return /^[0-9]+$/.test(text) && text.length <= MAX_LENGTH_DIGITS ? Number(text) : 'doubtful';
}

/** Tabs around a value are white space to the RFC and a fault to some readers: not where a body's length depends on it. */
function hasTabAround(bytes: Buffer, field: Field): boolean {
  if (bytes.subarray(field.nameEnd, field.valueStart).includes(TAB)) return true;
  let at = field.valueEnd;
  while (bytes[at] === SPACE) at++;
  return bytes[at] === TAB;
}

function lengthsOf(bytes: Buffer, fields: readonly Field[], minorVersion: 0 | 1): Lengths | 'doubtful' {
  let contentLength: number | undefined;
  let isChunked = false;
  for (const field of fields) {
    const nameLength = field.nameEnd - field.nameStart;
    if (nameLength === 14 && isNamed(bytes, field, 'content-length')) {
      const length = readLength(fieldValue(bytes, field));
      if (length === 'doubtful' || hasTabAround(bytes, field) || contentLength !== undefined) return 'doubtful';
      contentLength = length;
    } else if (nameLength === 17 && isNamed(bytes, field, 'transfer-encoding')) {
      // Another coding than chunked would be read as such by some only; one in HTTP/1.0 likewise (section 6.1).
      if (isChunked || minorVersion === 0 || hasTabAround(bytes, field)) return 'doubtful';
      if (fieldValue(bytes, field).toLowerCase() !== 'chunked') return 'doubtful';
      isChunked = true;
    }
  }
  return isChunked && contentLength !== undefined ? 'doubtful' : { contentLength, isChunked };
}

/**
 * @returns the framing of a request's body; `tunnel` for CONNECT, whose bytes are no HTTP if the answer is 2xx. An Upgrade
 *   leaves the framing as it is: what follows is decided by the answer (`responseFraming` of a 101).
 */
export function requestFraming(head: RequestHead): Framing | 'doubtful' {
  const lengths = lengthsOf(head.bytes, head.fields, head.minorVersion);
  if (lengths === 'doubtful' || hasTwoHosts(head)) return 'doubtful';
  if (head.method === 'CONNECT') return lengths.isChunked || (lengths.contentLength ?? 0) > 0 ? 'doubtful' : TUNNEL;
  if (lengths.isChunked) return CHUNKED;
  return lengths.contentLength === undefined ? NO_BODY : { kind: 'length', bytes: lengths.contentLength };
}

/** Two Host fields name two places: RFC 9112 section 3.2 wants a 400, and a filter on either would be half the truth. */
function hasTwoHosts(head: RequestHead): boolean {
  let count = 0;
  for (const field of head.fields) if (isNamed(head.bytes, field, 'host')) count++;
  return count > 1;
}

/** @param method of the request that is answered */
export function responseFraming(head: ResponseHead, method: string): Framing | 'doubtful' {
  const { status } = head;
  if (status === 101) return TUNNEL;
  if (method === 'CONNECT' && status >= 200 && status < 300) return TUNNEL;
  const lengths = lengthsOf(head.bytes, head.fields, head.minorVersion);
  if (lengths === 'doubtful') return 'doubtful';
  if (method === 'HEAD' || status < 200 || status === 204 || status === 304) return NO_BODY;
  if (lengths.isChunked) return CHUNKED;
  return lengths.contentLength === undefined ? UNTIL_CLOSE : { kind: 'length', bytes: lengths.contentLength };
}

const isListed = (list: string, token: string): boolean =>
  list === token || list.split(',').some((one) => one.trim() === token);

function hasToken(bytes: Buffer, fields: readonly Field[], name: string, token: string): boolean {
  for (const field of fields) {
    if (isNamed(bytes, field, name) && isListed(fieldValue(bytes, field).toLowerCase(), token)) return true;
  }
  return false;
}

/** True when another message may follow this one on its connection (RFC 9112 section 9.3). */
export function isPersistent(head: RequestHead | ResponseHead): boolean {
  if (hasToken(head.bytes, head.fields, 'connection', 'close')) return false;
  return head.minorVersion === 1 || hasToken(head.bytes, head.fields, 'connection', 'keep-alive');
}

/** True when the request asks to leave HTTP (RFC 9110 section 7.8); whether it does is told by a 101. */
export function asksForUpgrade(head: RequestHead): boolean {
  return hasToken(head.bytes, head.fields, 'connection', 'upgrade');
}
