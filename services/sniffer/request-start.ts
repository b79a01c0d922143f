// Where in a copied direction a request begins, as far as its bytes tell.

import { RequestReader } from '#runtime/http/request-reader.ts';
import { PREFACE } from '#runtime/http2/frame.ts';

const METHODS = ['GET ', 'POST ', 'PUT ', 'HEAD ', 'DELETE ', 'PATCH ', 'OPTIONS ', 'TRACE ', 'CONNECT '];
const REQUEST_LINE = /(?:GET|POST|PUT|HEAD|DELETE|PATCH|OPTIONS|TRACE) [!-~]+ HTTP\/1\.[01]\r\n/g;
/** `PRI * HTTP/2`: no request of HTTP/1. */
const PREFACE_BYTES = 12;

export function beginsRequest(bytes: Buffer): boolean {
  const beginning = bytes.toString('latin1', 0, 8);
  return METHODS.some((method) => beginning.startsWith(method));
}

export function beginsHttp2(bytes: Buffer): boolean {
  const count = Math.min(bytes.length, PREFACE.length);
  return count >= PREFACE_BYTES && bytes.subarray(0, count).equals(PREFACE.subarray(0, count));
}

/** Offset of the first whole head behind which everything reads as requests; -1: there is none. A body may hold what looks like one. */
export function firstRequestIn(bytes: Buffer): number {
  for (const { index } of bytes.toString('latin1').matchAll(REQUEST_LINE)) {
    if (readsAsRequests(bytes.subarray(index))) return index;
  }
  return -1;
}

function readsAsRequests(bytes: Buffer): boolean {
  const reader = new RequestReader();
  reader.push(bytes);
  let hasHead = false;
  for (let piece = reader.next(); piece !== undefined; piece = reader.next()) {
    if (piece.kind === 'opaque') return false;
    hasHead = true;
  }
  return hasHead;
}
