import { describe, expect, test } from 'vitest';
import { fieldValue, isNamed, MAX_HEAD_BYTES, readRequestHead, readResponseHead } from './message-head.ts';

const request = (text: string) => {
  const bytes = Buffer.from(text, 'latin1');
  return readRequestHead(bytes, 0, bytes.length);
};
const response = (text: string) => {
  const bytes = Buffer.from(text, 'latin1');
  return readResponseHead(bytes, 0, bytes.length);
};

describe('request heads', () => {
  test('method, target, version and fields are where they lie', () => {
    const head = request(
      'GET /where?q=now HTTP/1.1\r\nHost: www.example.com\r\nX-Empty:\r\nX-Wide:\t a b \t\r\n\r\nrest',
    );
    if (typeof head === 'string') throw new Error(head);
    expect([head.method, head.target, head.minorVersion]).toEqual(['GET', '/where?q=now', 1]);
    expect(head.bytes.toString('latin1', head.end)).toBe('rest');
    const fields = head.fields.map((f) => [
      head.bytes.toString('latin1', f.nameStart, f.nameEnd),
      fieldValue(head.bytes, f),
    ]);
    expect(fields).toEqual([
      ['Host', 'www.example.com'],
      ['X-Empty', ''],
      ['X-Wide', 'a b'],
    ]);
    expect(isNamed(head.bytes, head.fields[0] as never, 'host')).toBe(true);
  });

  test('every form of target of RFC 9112 section 3.2 is read', () => {
    for (const line of [
      'GET /a/b?c=d HTTP/1.1',
      'GET http://www.example.org/pub/WWW/ HTTP/1.1',
      'CONNECT www.example.com:80 HTTP/1.1',
      'OPTIONS * HTTP/1.1',
      'M-SEARCH * HTTP/1.1',
      'GET / HTTP/1.0',
      'GET /gr\u00fc\u00dfe HTTP/1.1',
    ]) {
      expect(request(`${line}\r\nHost: a\r\n\r\n`)).toMatchObject({
        method: line.split(' ')[0],
        target: line.split(' ')[1],
      });
    }
  });

  test('one empty line before the request line is skipped, two are not', () => {
    expect(request('\r\nGET / HTTP/1.1\r\n\r\n')).toMatchObject({ method: 'GET' });
    expect(request('\r\n\r\nGET / HTTP/1.1\r\n\r\n')).toBe('doubtful');
  });

  test.each([
    ['a bare LF ends a line', 'GET / HTTP/1.1\nHost: a\r\n\r\n'],
    ['a bare LF in a value', 'GET / HTTP/1.1\r\nA: b\nContent-Length: 3\r\n\r\n'],
    ['a bare CR in a value', 'GET / HTTP/1.1\r\nA: b\rc\r\n\r\n'],
    ['a folded line', 'GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n'],
    ['space before the colon', 'GET / HTTP/1.1\r\nContent-Length : 3\r\n\r\n'],
    ['a field without a name', 'GET / HTTP/1.1\r\n: b\r\n\r\n'],
    ['a field without a colon', 'GET / HTTP/1.1\r\nnothing\r\n\r\n'],
    ['a NUL in a value', 'GET / HTTP/1.1\r\nA: \0\r\n\r\n'],
    ['a NUL in the target', 'GET /\0 HTTP/1.1\r\n\r\n'],
    ['two spaces in the request line', 'GET  / HTTP/1.1\r\n\r\n'],
    ['a tab in the request line', 'GET\t/ HTTP/1.1\r\n\r\n'],
    ['space in the target', 'GET /a b HTTP/1.1\r\n\r\n'],
    ['space after the version', 'GET / HTTP/1.1 \r\n\r\n'],
    ['a target of no form', 'GET a HTTP/1.1\r\n\r\n'],
    ['a CONNECT without a port', 'CONNECT a HTTP/1.1\r\n\r\n'],
    ['no version (HTTP/0.9)', 'GET /\r\n\r\n'],
    ['a lower-case version', 'GET / http/1.1\r\n\r\n'],
    ['HTTP/1.2', 'GET / HTTP/1.2\r\n\r\n'],
    ['HTTP/2 by prior knowledge', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['a first line that is a field', ' Host: a\r\n\r\n'],
  ])('%s is doubtful', (_, text) => {
    expect(request(text)).toBe('doubtful');
  });

  test('what is no HTTP is known before an empty line comes', () => {
    for (const text of [
      '\x16\x03\x01\x02\x00',
      'SSH-2.0-OpenSSH_9.2\r\n',
      '*1\r\n$4\r\nPING\r\n',
      '\0\0\0\x08',
      'GET / SMTP',
    ]) {
      expect(request(text)).toBe('doubtful');
    }
  });

  test('every beginning of a head is incomplete, and none is doubtful', () => {
    const text = '\r\nPOST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n';
    for (let length = 0; length < text.length; length++) expect(request(text.slice(0, length))).toBe('incomplete');
    expect(request(text)).toMatchObject({ method: 'POST' });
  });

  test('it does not read beyond the end that it was given', () => {
    const bytes = Buffer.from('GET / HTTP/1.1\r\n\r\n');
    expect(readRequestHead(bytes, 0, bytes.length - 1)).toBe('incomplete');
  });

  test('a head longer than the limit is doubtful, whole or not', () => {
    const long = `GET / HTTP/1.1\r\nA: ${'b'.repeat(MAX_HEAD_BYTES)}`;
    expect(request(long)).toBe('doubtful');
    expect(request(`${long}\r\n\r\n`)).toBe('doubtful');
  });
});

describe('response heads', () => {
  test('status with a reason, with an empty one, and without', () => {
    expect(response('HTTP/1.1 404 Not Found\r\nA: b\r\n\r\n')).toMatchObject({ status: 404, minorVersion: 1 });
    expect(response('HTTP/1.1 200 \r\n\r\n')).toMatchObject({ status: 200 });
    expect(response('HTTP/1.0 200\r\n\r\n')).toMatchObject({ status: 200, minorVersion: 0 });
  });

  test.each([
    ['two digits', 'HTTP/1.1 20 OK\r\n\r\n'],
    ['four digits', 'HTTP/1.1 2000 OK\r\n\r\n'],
    ['another protocol', 'ICY 200 OK\r\n\r\n'],
    ['a bare LF', 'HTTP/1.1 200 OK\nA: b\r\n\r\n'],
  ])('%s is doubtful', (_, text) => {
    expect(response(text)).toBe('doubtful');
  });

  test('another protocol is known from its first bytes', () => {
    expect(response('SSH-2.0')).toBe('doubtful');
    expect(response('HTT')).toBe('incomplete');
  });
});
