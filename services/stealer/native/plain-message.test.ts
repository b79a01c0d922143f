import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RequestReader } from '#runtime/http/request-reader.ts';
import { ResponseReader } from '#runtime/http/response-reader.ts';
import { withoutHttp2Offer } from '#runtime/http/upgrade-offer.ts';
import { stealerAddon } from './index.ts';

const FIELDS = [
  'Host: shop',
  'host:shop',
  'X-User: alice',
  'Content-Length: 5',
  'content-length:  0 ',
  'Content-Length: 5\t',
  'Content-Length: 05',
  'Transfer-Encoding: chunked',
  'Connection: keep-alive',
  'Connection: Keep-Alive, x',
  'Connection: close',
  'Connection:',
  'Connection: upgrade',
  'Upgrade: h2c',
  'HTTP2-Settings: AA',
  'Expect: 100-continue',
  'Upgrade-Insecure-Requests: 1',
  'x:\t\x80\xff ',
  'X-Empty:',
  ' folded',
  'spaced : x',
  'Keep-Alive: timeout=5',
];
const REQUEST_LINES = ['GET / HTTP/1.1', 'HEAD /a?b=%20 HTTP/1.1', 'POST /\x80 HTTP/1.1', 'CONNECT a:1 HTTP/1.1'];
const RESPONSE_LINES = ['HTTP/1.1 200 OK', 'HTTP/1.1 404', 'HTTP/1.1 204 ', 'HTTP/1.1 304 x', 'HTTP/1.1 101 x'];
const OTHER_LINES = ['GET * HTTP/1.1', 'GET / HTTP/1.0', 'get / HTTP/1.1', 'GET http://a/ HTTP/1.1', 'HTTP/1.0 200 OK'];

const CHUNKED = [
  '5\r\nhello\r\n0\r\n\r\n',
  '0A\r\n0123456789\r\n01\r\nx\r\n000\r\n\r\n',
  '2;a\r\nab\r\n0\r\n\r\n',
  '0\r\na: b\r\n\r\n',
];
const BODIES = ['', '', 'hello', 'GET / HTTP/1.1\r\n\r\n', ...CHUNKED];

type Message = Readonly<{ line: string; fields: string[]; body: string; damage: Array<[number, number, number]> }>;

/** A message of parts that fit, or nearly, or not at all, with octets put in, changed and taken out. */
const messages = (lines: readonly string[]) =>
  fc
    .record<Message>({
      line: fc.oneof({ weight: 8, arbitrary: fc.constantFrom(...lines) }, fc.constantFrom(...OTHER_LINES)),
      fields: fc.array(fc.constantFrom(...FIELDS, 'Transfer-Encoding:  Chunked ', 'Transfer-Encoding: chunked'), {
        maxLength: 4,
      }),
      body: fc.constantFrom(...BODIES),
      damage: fc.array(fc.tuple(fc.nat(), fc.nat(2), fc.nat(255)), { maxLength: 1 }),
    })
    .map(({ line, fields, body, damage }) => {
      const octets = [...Buffer.from(`${[line, ...fields].join('\r\n')}\r\n\r\n${body}`, 'latin1')];
      for (const [at, take, octet] of damage) octets.splice(at % octets.length, take, ...(take === 2 ? [] : [octet]));
      return Buffer.from(octets);
    });

/** One whole request, of which nothing is left, and nothing would be changed; and whether another one may follow. */
function wholeRequest(bytes: Buffer): 'kept' | 'last' | null {
  const reader = new RequestReader();
  reader.push(bytes);
  const head = reader.next();
  if (head?.kind !== 'head' || head.mayLeaveHttp || withoutHttp2Offer(head.head, 0) !== undefined) return null;
  for (let isLast = head.isLast; !isLast; ) {
    const piece = reader.next();
    if (piece?.kind !== 'body') return null;
    isLast = piece.isLast;
  }
  if (reader.waitingBytes > 0 || !reader.isBetweenRequests) return null;
  return reader.isAtRequest ? 'kept' : 'last';
}

function wholeResponse(bytes: Buffer, method: string): 'kept' | 'last' | null {
  const reader = new ResponseReader(() => method);
  reader.push(bytes);
  const head = reader.next();
  if (head?.kind !== 'head' || head.isInterim || head.leavesHttp || reader.isUntilClose) return null;
  for (let isLast = head.isLast; !isLast; ) {
    const piece = reader.next();
    if (piece?.kind !== 'body') return null;
    isLast = piece.isLast;
  }
  if (!reader.isAtResponse) return null;
  return head.isPersistent ? 'kept' : 'last';
}

describe('what is passed on without being looked at', () => {
  test('is one whole request to the reader of requests too', () => {
    const plain = { kept: 0, last: 0 };
    fc.assert(
      fc.property(messages(REQUEST_LINES), (bytes) => {
        const kind = stealerAddon().isPlainRequest(bytes);
        if (kind !== null) plain[kind]++;
        return kind === null || wholeRequest(bytes) === kind;
      }),
      { numRuns: 20_000 },
    );
    expect(plain.kept).toBeGreaterThan(500);
    expect(plain.last).toBeGreaterThan(20);
  });

  test('is one whole answer to the reader of answers too, to HEAD as to others', () => {
    const plain = { kept: 0, last: 0 };
    fc.assert(
      fc.property(messages(RESPONSE_LINES), fc.boolean(), (bytes, isToHead) => {
        const kind = stealerAddon().isPlainResponse(bytes, isToHead);
        if (kind !== null) plain[kind]++;
        return kind === null || wholeResponse(bytes, isToHead ? 'HEAD' : 'GET') === kind;
      }),
      { numRuns: 20_000 },
    );
    expect(plain.kept).toBeGreaterThan(500);
    expect(plain.last).toBeGreaterThan(20);
  });
});
