import { describe, expect, test } from 'vitest';
import { beginsRequest, Http1Exchanges } from './http1-exchanges.ts';

const bytes = (text: string) => Buffer.from(text, 'latin1');
const GET = bytes('GET /one?two HTTP/1.1\r\nHost: a\r\n\r\n');

describe('the beginning of a request', () => {
  test.each([
    ['GET / HTTP/1.1\r\n', true],
    ['M-SEARCH * HTTP/1.0\r\nHost: a', true],
    [`POST /${'a'.repeat(7_000)} HTTP/1.1\r\n`, true],
    ['get / HTTP/1.1\r\n', false],
    ['GET / HTTP/1.1\n', false],
    ['GET / HTTP/2.0\r\n', false],
    ['PRI * HTTP/2.0\r\n', false],
    [`POST /${'a'.repeat(9_000)} HTTP/1.1\r\n`, false],
    ['GET /a b HTTP/1.1\r\n', false],
    ['SELECT 1', false],
    ['\x16\x03\x01', false],
  ])('%j: %s', (text, is) => expect(beginsRequest(bytes(text))).toBe(is));
});

describe('an answer', () => {
  test('is due until it has begun, and until it is quiet', () => {
    const one = new Http1Exchanges();
    expect(one.dueMs(0)).toBe(0);
    one.asks(GET);
    one.asks(bytes('a body'));
    expect(one.dueMs(1_000)).toBe(Infinity);
    one.answers(bytes('HTTP/1.1 100 Continue\r\n\r\n'), 1_000);
    expect(one.dueMs(1_000)).toBe(Infinity);
    one.answers(bytes('HTTP/1.1 200 OK\r\n'), 1_000);
    expect(one.dueMs(1_020)).toBe(80);
    one.answers(bytes('more of it'), 1_050);
    expect(one.dueMs(1_100)).toBe(50);
    expect(one.dueMs(2_000)).toBe(0);
  });

  test('is due for each of several, and an upgrade is one', () => {
    const one = new Http1Exchanges();
    one.asks(GET);
    one.asks(GET);
    one.answers(bytes('HTTP/1.1 200 OK\r\n'), 0);
    expect(one.dueMs(1_000)).toBe(Infinity);
    one.answers(bytes('HTTP/1.1 101 Switching Protocols\r\n'), 0);
    expect(one.dueMs(1_000)).toBe(0);
  });
});
