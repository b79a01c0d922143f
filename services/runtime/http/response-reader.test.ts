import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type ResponsePiece, ResponseReader } from './response-reader.ts';

function piecesOf(text: string, methods: string[], cuts: readonly number[] = []): ResponsePiece[] {
  const whole = Buffer.from(text, 'latin1');
  const waiting = [...methods];
  const reader = new ResponseReader(() => waiting[0]);
  const pieces: ResponsePiece[] = [];
  const ends = [...new Set(cuts.map((cut) => cut % (whole.length + 1)))].sort((a, b) => a - b);
  let start = 0;
  for (const end of [...ends, whole.length]) {
    const chunk = Buffer.from(whole.subarray(start, end));
    start = end;
    reader.push(chunk);
    for (let piece = reader.next(); piece !== undefined; piece = reader.next()) {
      pieces.push({ ...piece, bytes: Buffer.from(piece.bytes) });
      if (piece.kind !== 'opaque' && piece.isLast) waiting.shift();
    }
    chunk.fill(0);
  }
  return pieces;
}

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const CHUNKED = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nsum: 1\r\n\r\n';
const EMPTY = 'HTTP/1.1 204 No Content\r\n\r\n';
const HEAD = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n';
const CONTINUE = `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n${OK}`;

test('pipelined responses come apart at their ends, however they were cut', () => {
  const kinds = { OK, CHUNKED, EMPTY, HEAD, CONTINUE };
  const response = fc.constantFrom(...(Object.keys(kinds) as Array<keyof typeof kinds>));
  fc.assert(
    fc.property(
      fc.array(response, { minLength: 1, maxLength: 5 }),
      fc.array(fc.nat(), { maxLength: 9 }),
      (names, cuts) => {
        const text = names.map((name) => kinds[name]).join('');
        const pieces = piecesOf(
          text,
          names.map((name) => (name === 'HEAD' ? 'HEAD' : 'GET')),
          cuts,
        );
        expect(Buffer.concat(pieces.map(({ bytes }) => bytes)).toString('latin1')).toBe(text);
        expect(pieces.filter((piece) => piece.kind !== 'opaque' && piece.isLast)).toHaveLength(names.length);
        expect(pieces.some(({ kind }) => kind === 'opaque')).toBe(false);
      },
    ),
  );
});

test('a response without a length ends with its connection, and no other follows', () => {
  const reader = new ResponseReader(() => 'GET');
  reader.push(Buffer.from('HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n'));
  expect(reader.next()).toMatchObject({ kind: 'head', isLast: false, isPersistent: false });
  expect(reader.next()).toMatchObject({ kind: 'body', isLast: false });
  expect(reader.isUntilClose).toBe(true);
});

test('after 101 nothing is HTTP', () => {
  const pieces = piecesOf(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n${OK}`, ['GET', 'GET']);
  expect(pieces.map((piece) => piece.kind)).toEqual(['head', 'opaque']);
  expect(pieces[0]).toMatchObject({ leavesHttp: true });
});

test('what nobody asked for is opaque', () => {
  expect(piecesOf('HTTP/1.1 408 Request Timeout\r\n\r\n', []).map(({ kind }) => kind)).toEqual(['opaque']);
});

test('a server that closes says so with its last piece', () => {
  expect(piecesOf('HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok', ['GET']).at(-1)).toMatchObject(
    {
      isLast: true,
      isPersistent: false,
    },
  );
});
