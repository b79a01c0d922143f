import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { HttpDirection, type HttpPart } from './dump-http.ts';

/** Parts with neighbouring bytes joined, so that how the stream was cut does not show. */
function read(isResponse: boolean, pieces: Iterable<string>, method = 'GET'): string[] {
  const direction = new HttpDirection(isResponse, () => method);
  const parts: HttpPart[] = [];
  for (const piece of pieces) parts.push(...direction.push(Buffer.from(piece, 'latin1')));
  parts.push(...direction.end());
  const shown: string[] = [];
  let former = '';
  for (const part of parts) {
    if (part.kind === 'head') shown.push(`head ${part.head.firstLine} ${JSON.stringify(part.head.headers)}`);
    else if (part.kind === 'finished') shown.push(`finished ${part.bodyBytes}`);
    else if (former === part.kind) shown.push(`${shown.pop()}${part.data.toString('latin1')}`);
    else shown.push(`${part.kind} ${part.data.toString('latin1')}`);
    former = part.kind;
  }
  return shown;
}

const REQUESTS =
  'GET /a HTTP/1.1\r\nHost: x\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello' +
  'PUT /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0A\r\n0123456789\r\n0\r\nSum: 1\r\n\r\nHEAD / HTTP/1.0\r\n\r\n';
const READ = [
  'head GET /a HTTP/1.1 [["Host","x"]]',
  'finished 0',
  'head POST /b HTTP/1.1 [["Content-Length","5"]]',
  'body hello',
  'finished 5',
  'head PUT /c HTTP/1.1 [["Transfer-Encoding","chunked"]]',
  'body abc0123456789',
  'finished 13',
  'head HEAD / HTTP/1.0 []',
  'finished 0',
];

describe('requests', () => {
  test('are cut apart, whatever pieces they come in', () => {
    expect(read(false, [REQUESTS])).toEqual(READ);
    expect(read(false, REQUESTS)).toEqual(READ);
    fc.assert(
      fc.property(fc.array(fc.nat(REQUESTS.length), { maxLength: 8 }), (places) => {
        const cuts = [0, ...places.sort((a, b) => a - b), REQUESTS.length];
        const pieces = cuts.slice(1).map((cut, nth) => REQUESTS.slice(cuts[nth], cut));
        expect(read(false, pieces)).toEqual(READ);
      }),
    );
  });

  test.each([
    ['another protocol', '\x16\x03\x01\x02\x00\x01'],
    ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['text', 'hello there\r\nmore\r\n\r\n'],
    ['a chunk of no size', 'zz'],
    ['a head without end', `GET / HTTP/1.1\r\nX: ${'y'.repeat(70_000)}`],
  ])('%s is shown as bytes', (_, text) => {
    expect(read(false, [text])).toEqual([`bytes ${text}`]);
  });

  test('of a broken chunk are bytes from there on', () => {
    const head = 'PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n';
    expect(read(false, [`${head}xyz\r\nrest`]).slice(1)).toEqual(['bytes rest']);
  });
});

describe('responses', () => {
  test('end where their head says, or with the connection', () => {
    expect(
      read(true, [
        'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 204 No\r\n\r\n',
      ]),
    ).toEqual([
      'head HTTP/1.1 100 Continue []',
      'finished 0',
      'head HTTP/1.1 200 OK [["Content-Length","2"]]',
      'body ok',
      'finished 2',
      'head HTTP/1.1 204 No []',
      'finished 0',
    ]);
    expect(read(true, ['HTTP/1.0 200 OK\r\n\r\nall the ', 'rest'])).toEqual([
      'head HTTP/1.0 200 OK []',
      'body all the rest',
      'finished 12',
    ]);
  });

  test('to HEAD have no body, and after 101 it is another protocol', () => {
    expect(read(true, ['HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n'], 'HEAD')).toHaveLength(2);
    expect(read(true, ['HTTP/1.1 101 Up\r\n\r\n\x81\x05hello'])).toEqual([
      'head HTTP/1.1 101 Up []',
      'bytes \x81\x05hello',
    ]);
  });

  test('survive any bytes', () => {
    fc.assert(
      fc.property(fc.boolean(), fc.array(fc.uint8Array({ maxLength: 40 })), (isResponse, pieces) => {
        const direction = new HttpDirection(isResponse);
        let bytes = 0;
        for (const piece of pieces)
          for (const part of direction.push(piece)) bytes += 'data' in part ? part.data.length : 0;
        expect(bytes).toBeLessThanOrEqual(pieces.reduce((sum, { length }) => sum + length, 0));
      }),
    );
  });
});
