// Where in a copied direction a request begins, as far as its bytes tell.

import { RequestReader } from '#runtime/http/request-reader.ts';
import { PREFACE } from '#runtime/http2/frame.ts';

const METHODS = ['GET ', 'POST ', 'PUT ', 'HEAD ', 'DELETE ', 'PATCH ', 'OPTIONS ', 'TRACE ', 'CONNECT '];
const REQUEST_LINE = /(?:GET|POST|PUT|HEAD|DELETE|PATCH|OPTIONS|TRACE) [!-~]+ HTTP\/1\.[01]\r\n/g;
/** `PRI * HTTP/2`: no request of HTTP/1. */
const PREFACE_BYTES = 12;
const CR = 0x0d;
/** Of what looks like a request within a body, in what comes at once. */
const MAX_TRIES = 64;

export function beginsRequest(bytes: Buffer): boolean {
  const beginning = bytes.toString('latin1', 0, 8);
  return METHODS.some((method) => beginning.startsWith(method));
}

export function beginsHttp2(bytes: Buffer): boolean {
  const count = Math.min(bytes.length, PREFACE.length);
  return count >= PREFACE_BYTES && bytes.subarray(0, count).equals(PREFACE.subarray(0, count));
}

/**
 * Offset of the first whole head behind which everything reads as requests; -1: there is none. A body may hold what looks like one,
 * and thousands of times: no head is read twice, and no more than `MAX_TRIES` are begun with.
 */
export function firstRequestIn(bytes: Buffer): number {
  const refused = new Set<number>();
  let tries = 0;
  for (const { index } of bytes.toString('latin1').matchAll(REQUEST_LINE)) {
    if (refused.has(index)) continue;
    if (readsAsRequests(bytes, index, refused)) return index;
    if (++tries === MAX_TRIES) break;
  }
  return -1;
}

/** @param refused offsets of heads behind which something is no request; those that are read here join them if it is so */
function readsAsRequests(bytes: Buffer, start: number, refused: Set<number>): boolean {
  const reader = new RequestReader();
  const heads: number[] = [];
  let at = start;
  let isRefused = false;
  reader.push(bytes.subarray(start));
  for (let piece = reader.next(); piece !== undefined && !isRefused; piece = reader.next()) {
    // An empty line may be in front of it.
    const head = bytes[at] === CR ? at + 2 : at;
    isRefused = piece.kind === 'opaque' || (piece.kind === 'head' && refused.has(head));
    if (piece.kind === 'head') heads.push(head);
    at += piece.bytes.length;
  }
  if (isRefused) for (const head of heads) refused.add(head);
  return heads.length > 0 && !isRefused;
}
