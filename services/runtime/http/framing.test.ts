import { describe, expect, test } from 'vitest';
import { asksForUpgrade, isPersistent, requestFraming, responseFraming } from './framing.ts';
import { readRequestHead, readResponseHead } from './message-head.ts';

function request(fields: string, line = 'POST / HTTP/1.1') {
  const bytes = Buffer.from(`${line}\r\n${fields}\r\n`, 'latin1');
  const head = readRequestHead(bytes, 0, bytes.length);
  if (typeof head === 'string') throw new Error(head);
  return head;
}

function response(status: number, fields = '', version = '1.1') {
  const bytes = Buffer.from(`HTTP/${version} ${status} x\r\n${fields}\r\n`, 'latin1');
  const head = readResponseHead(bytes, 0, bytes.length);
  if (typeof head === 'string') throw new Error(head);
  return head;
}

describe('bodies of requests (RFC 9112 section 6.3)', () => {
  test('no length is no body; a length is that many bytes; chunked is chunked', () => {
    expect(requestFraming(request(''))).toEqual({ kind: 'length', bytes: 0 });
    expect(requestFraming(request('Content-Length: 12\r\n'))).toEqual({ kind: 'length', bytes: 12 });
    expect(requestFraming(request('Transfer-Encoding: Chunked\r\n'))).toEqual({ kind: 'chunked' });
  });

  test.each([
    ['both a length and chunks', 'Content-Length: 3\r\nTransfer-Encoding: chunked\r\n'],
    ['chunks and a length, in that order', 'Transfer-Encoding: chunked\r\nContent-Length: 3\r\n'],
    ['two lengths', 'Content-Length: 3\r\nContent-Length: 4\r\n'],
    ['the same length twice', 'Content-Length: 3\r\nContent-Length: 3\r\n'],
    ['a list of lengths', 'Content-Length: 3, 3\r\n'],
    ['a signed length', 'Content-Length: +3\r\n'],
    ['a hexadecimal length', 'Content-Length: 0x3\r\n'],
    ['an empty length', 'Content-Length:\r\n'],
    ['a length beyond what a number holds', 'Content-Length: 9007199254740993\r\n'],
    ['another coding before chunked', 'Transfer-Encoding: gzip, chunked\r\n'],
    ['another coding after chunked', 'Transfer-Encoding: chunked, identity\r\n'],
    ['a coding with a trick', 'Transfer-Encoding: xchunked\r\n'],
    ['chunked twice', 'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n'],
    ['a length before a tab', 'Content-Length: 3\t\r\n'],
    ['a length behind a tab', 'Content-Length:\t3\r\n'],
    ['two hosts', 'Host: a\r\nHost: b\r\n'],
  ])('%s is doubtful', (_, fields) => {
    expect(requestFraming(request(fields))).toBe('doubtful');
  });

  test('chunks in HTTP/1.0 are doubtful', () => {
    expect(requestFraming(request('Transfer-Encoding: chunked\r\n', 'POST / HTTP/1.0'))).toBe('doubtful');
  });

  test('CONNECT opens a tunnel, and one with a body is doubtful', () => {
    expect(requestFraming(request('', 'CONNECT a:1 HTTP/1.1'))).toEqual({ kind: 'tunnel' });
    expect(requestFraming(request('Content-Length: 1\r\n', 'CONNECT a:1 HTTP/1.1'))).toBe('doubtful');
  });
});

describe('bodies of responses', () => {
  test('HEAD, 1xx, 204 and 304 have none, whatever their fields say', () => {
    const length = 'Content-Length: 12\r\n';
    expect(responseFraming(response(200, length), 'HEAD')).toEqual({ kind: 'length', bytes: 0 });
    for (const status of [100, 103, 204, 304]) {
      expect(responseFraming(response(status, length), 'GET')).toEqual({ kind: 'length', bytes: 0 });
    }
  });

  test('no length at all goes on until the connection ends', () => {
    expect(responseFraming(response(200), 'GET')).toEqual({ kind: 'until-close' });
  });

  test('101, and 2xx to CONNECT, leave HTTP; a refused CONNECT does not', () => {
    expect(responseFraming(response(101, 'Upgrade: websocket\r\n'), 'GET')).toEqual({ kind: 'tunnel' });
    expect(responseFraming(response(200), 'CONNECT')).toEqual({ kind: 'tunnel' });
    expect(responseFraming(response(407, 'Content-Length: 2\r\n'), 'CONNECT')).toEqual({ kind: 'length', bytes: 2 });
  });
});

test('connections persist as RFC 9112 section 9.3 says', () => {
  expect(isPersistent(request(''))).toBe(true);
  expect(isPersistent(request('Connection: foo, Close\r\n'))).toBe(false);
  expect(isPersistent(request('', 'GET / HTTP/1.0'))).toBe(false);
  expect(isPersistent(request('Connection: Keep-Alive\r\n', 'GET / HTTP/1.0'))).toBe(true);
  expect(isPersistent(response(200, 'Connection: close\r\n'))).toBe(false);
});

test('an upgrade is asked for by Connection, not by Upgrade alone', () => {
  expect(asksForUpgrade(request('Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n'))).toBe(true);
  expect(asksForUpgrade(request('Upgrade: h2c\r\n'))).toBe(false);
});
