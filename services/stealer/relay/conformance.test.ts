// Vectors through the relay: messages as RFC 9112 and RFC 9113 write them reach the target byte for byte, and a request behind what
// two readers could read in two ways is nobody's but the target's.

import type { Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FrameType, frame, headersFrames, PREFACE, settings, windowUpdate } from '#runtime/http2/frame.ts';
import { encodeHeaderBlock, field } from '#runtime/http2/hpack-encoder.ts';
import { Http2World, SOON } from '../testing/http2-world.ts';

let world: Http2World;
/** What each connection brought. */
let atTarget: Buffer[];
let atLocal: Buffer[];
let answer: Buffer;

beforeEach(async () => {
  world = new Http2World();
  atTarget = [];
  atLocal = [];
  answer = Buffer.alloc(0);
  const record = (to: Buffer[], isTarget: boolean) => (socket: Socket) => {
    const index = to.push(Buffer.alloc(0)) - 1;
    if (isTarget && answer.length > 0) socket.write(answer);
    socket.on('data', (chunk: Buffer) => {
      to[index] = Buffer.concat([to[index] as Buffer, chunk]);
    });
    socket.on('end', () => socket.end());
  };
  await world.open(await world.serveRaw(record(atTarget, true)), await world.serveRaw(record(atLocal, false)));
});
afterEach(async () => {
  await world.close();
});

const lines = (...all: string[]): string => all.map((line) => `${line}\r\n`).join('');
const TAKEN = lines('GET /taken HTTP/1.1', 'Host: a', 'X-Take: 1', '');

describe('HTTP/1', { timeout: 60_000 }, () => {
  test.each<[string, string]>([
    [
      'section 2.1: a GET',
      lines(
        'GET /hello.txt HTTP/1.1',
        'User-Agent: curl/7.64.1',
        'Host: www.example.com',
        'Accept-Language: en, mi',
        '',
      ),
    ],
    ['section 2.2: an empty line first', lines('', 'GET / HTTP/1.1', 'Host: a', '')],
    ['section 3.2.1: origin form', lines('GET /where?q=now HTTP/1.1', 'Host: www.example.org', '')],
    [
      'section 3.2.2: absolute form',
      lines('GET http://www.example.org/pub/WWW/TheProject.html HTTP/1.1', 'Host: www.example.org', ''),
    ],
    ['section 3.2.3: authority form', lines('CONNECT www.example.com:80 HTTP/1.1', 'Host: www.example.com', '')],
    ['section 3.2.4: asterisk form', lines('OPTIONS * HTTP/1.1', 'Host: www.example.org:8001', '')],
    ['section 3.3: HTTP/1.0 without a host', lines('GET /pub HTTP/1.0', '')],
    ['section 5.1: space around values', `GET / HTTP/1.1\r\nHost:a\r\nA:  b \t \r\nC:\r\n\r\n`],
    ['section 6.2: a length', `${lines('POST / HTTP/1.1', 'Host: a', 'Content-Length: 5', '')}hello`],
    [
      'section 7.1: chunks with extensions and trailers',
      `${lines('POST / HTTP/1.1', 'Host: a', 'Transfer-Encoding: chunked', 'Trailer: Expires', '')}` +
        '5;name=value;q="a b"\r\nhello\r\n0006\r\n world\r\n0\r\nExpires: never\r\n\r\n',
    ],
    ['section 9.3.2: pipelined', lines('GET /1 HTTP/1.1', 'Host: a', '') + lines('HEAD /2 HTTP/1.1', 'Host: a', '')],
    ['section 9.6: the last one', lines('GET / HTTP/1.1', 'Host: a', 'Connection: close', '')],
    [
      'section 9.8: an upgrade',
      lines('GET /chat HTTP/1.1', 'Host: a', 'Connection: upgrade', 'Upgrade: websocket', ''),
    ],
    [
      'RFC 9110 section 10.1.1: asked for its body',
      `${lines('PUT / HTTP/1.1', 'Host: a', 'Expect: 100-continue', 'Content-Length: 1', '')}x`,
    ],
  ])('%s', async (_, request) => {
    await world.ask(
      request,
      Array.from({ length: request.length }, (__, at) => at),
    );
    await expect.poll(() => atTarget[0]?.toString('latin1'), SOON).toBe(request);
    expect(atLocal).toEqual([]);
  });
});

describe('a request behind what can be read in two ways goes nowhere but to the target', { timeout: 60_000 }, () => {
  const post = (...fields: string[]): string => lines('POST / HTTP/1.1', 'Host: a', ...fields, '');
  test.each<[string, string]>([
    ['two lengths', post('Content-Length: 0', 'Content-Length: 5')],
    ['the same length twice', post('Content-Length: 0', 'Content-Length: 0')],
    ['a list of lengths', post('Content-Length: 0, 0')],
    ['a length with a sign', post('Content-Length: +0')],
    ['a length in hexadecimal', post('Content-Length: 0x0')],
    ['a length of 20 digits', post('Content-Length: 18446744073709551616')],
    ['a length and chunks', `${post('Content-Length: 0', 'Transfer-Encoding: chunked')}0\r\n\r\n`],
    ['chunks and a length', `${post('Transfer-Encoding: chunked', 'Content-Length: 0')}0\r\n\r\n`],
    ['chunks twice', `${post('Transfer-Encoding: chunked', 'Transfer-Encoding: chunked')}0\r\n\r\n`],
    ['another coding behind chunks', `${post('Transfer-Encoding: chunked, identity')}0\r\n\r\n`],
    ['another coding alone', post('Transfer-Encoding: identity')],
    ['a coding that begins with a vertical tab', post('Transfer-Encoding: \x0bchunked')],
    ['a coding that is cut by a tab', post('Transfer-Encoding:\tchunked')],
    ['chunks in HTTP/1.0', lines('POST / HTTP/1.0', 'Transfer-Encoding: chunked', '')],
    ['space before a colon', post('Content-Length : 0')],
    ['space before the first field', lines('GET / HTTP/1.1', ' Host: a', '')],
    ['a folded field', lines('GET / HTTP/1.1', 'Host: a', 'X: b', ' Transfer-Encoding: chunked', '')],
    ['bare line ends', 'GET / HTTP/1.1\nHost: a\n\n'],
    ['one bare line end', 'GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n'],
    ['a bare carriage return', 'GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n'],
    ['a zero octet in a value', 'GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n'],
    ['a field without a colon', lines('GET / HTTP/1.1', 'Host', '')],
    ['a field without a name', lines('GET / HTTP/1.1', ': a', '')],
    ['two hosts', lines('GET / HTTP/1.1', 'Host: a', 'Host: b', '')],
    ['a target with a space', lines('GET /a b HTTP/1.1', 'Host: a', '')],
    ['a version that is not known', lines('GET / HTTP/1.2', 'Host: a', '')],
    ['a chunk size with a sign', `${post('Transfer-Encoding: chunked')}+0\r\n\r\n`],
    ['a chunk size in 0x', `${post('Transfer-Encoding: chunked')}0x0\r\n\r\n`],
    ['a chunk size with space', `${post('Transfer-Encoding: chunked')}0 \r\n\r\n`],
    ['a chunk that ends with a bare line end', `${post('Transfer-Encoding: chunked')}1\nx\r\n0\r\n\r\n`],
    ['a chunk that is longer than it says', `${post('Transfer-Encoding: chunked')}1\r\nxx\r\n0\r\n\r\n`],
    ['a chunk extension with a line end in it', `${post('Transfer-Encoding: chunked')}0;a="\r\n\r\n`],
    ['a CONNECT with a length', lines('CONNECT a:1 HTTP/1.1', 'Host: a', 'Content-Length: 1', '')],
    ['a request behind one that closes', lines('GET / HTTP/1.1', 'Host: a', 'Connection: close', '')],
    ['a preface of HTTP/2 that goes on otherwise', 'PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n'],
  ])('%s', async (_, doubtful) => {
    const whole = doubtful + TAKEN;
    await world.ask(whole);
    await expect.poll(() => Buffer.concat(atTarget).toString('latin1'), SOON).toBe(whole);
    expect(atLocal).toEqual([]);
  });
});

describe('behind what can be read in two ways of a session nothing goes to its local process', {
  timeout: 60_000,
}, () => {
  const post = lines('POST /taken HTTP/1.1', 'Host: a', 'X-Take: 1', 'Transfer-Encoding: chunked', '');
  const OTHER = lines('GET /other HTTP/1.1', 'Host: a', '');

  test.each<[string, string]>([
    ['a chunk size with space', '1 \r\nx\r\n0\r\n\r\n'],
    ['a chunk size that ends with a bare line end', '1\nx\r\n0\r\n\r\n'],
    ['a chunk that ends with a bare return', '1\r\nx\r0\r\n\r\n'],
    ['a folded trailer', '0\r\nA: b\r\n c\r\n\r\n'],
    ['a chunk extension of 5,000 octets', `1;a=${'b'.repeat(5_000)}\r\nx\r\n0\r\n\r\n`],
  ])('%s in a request: 400, and the end', async (_, body) => {
    const said = (await world.ask(post + body + OTHER)).toString('latin1');
    expect(said).toMatch(/^HTTP\/1.1 400 Bad Request\r\n(?:.*\r\n)*Connection: close\r\n\r\nmirrord: [^\n]*\n$/);
    expect(Buffer.concat(atLocal).toString('latin1')).not.toContain('other');
    expect(Buffer.concat(atTarget).toString('latin1')).toBe('');
  });

  test.each<[string, string]>([
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi'],
    ['bare line ends', 'HTTP/1.1 200 OK\nContent-Length: 2\n\nhi'],
  ])('%s in an answer: it comes as it is, to the end of its connection', async (_, said) => {
    const local = await world.serveRaw((socket) => socket.once('data', () => socket.end(said)));
    await world.open(await world.serveRaw((socket) => socket.resume()), local);
    expect((await world.ask(TAKEN + OTHER)).toString('latin1')).toBe(said);
  });

  test('more than one answer: the second is nobody’s, and what others ask is answered by the target', async () => {
    const says = (body: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    const local = await world.serveRaw((socket) =>
      socket.on('data', () => socket.write(says('local') + says('forged'))),
    );
    const target = await world.serveRaw((socket) => socket.on('data', () => socket.end(says('target'))));
    await world.open(target, local);
    expect((await world.ask(TAKEN + OTHER)).toString('latin1')).toBe(says('local') + says('target'));
  });
});

describe('what does not become a head that everybody reads the same is waited for by nobody', {
  timeout: 60_000,
}, () => {
  const behind = lines('GET /1 HTTP/1.1', 'Host: a', '');

  test.each<[string, string]>([
    ['bare line ends', 'GET / HTTP/1.0\n\n'],
    ['a bare line end behind the others', 'GET / HTTP/1.1\r\nHost: a\n\n'],
    ['bare line ends behind a request', `${behind}GET / HTTP/1.1\nHost: a\n\n`],
  ])('%s', async (_, text) => {
    answer = Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    world.connect().write(text, 'latin1');
    await expect.poll(() => Buffer.concat(atTarget).toString('latin1'), SOON).toBe(text);
  });

  test.each<[string, string]>([
    ['a head', 'GET / HTTP/1.1\r\nHost: a\r\n'],
    ['a method', 'GE'],
    ['a head behind a request', `${behind}GET / HT`],
  ])('the beginning of %s is the target business when the client has ended', async (_, text) => {
    await world.ask(text);
    await expect.poll(() => Buffer.concat(atTarget).toString('latin1'), SOON).toBe(text);
  });

  test.each<[string, string]>([
    ['bare line ends', 'HTTP/1.1 200 OK\nContent-Length: 2\n\nhi'],
    ['a head that does not end', 'HTTP/1.1 200 OK\r\nContent-Le'],
  ])('an answer of the target with %s', async (_, said) => {
    const target = await world.serveRaw((socket) => socket.once('data', () => socket.end(said)));
    await world.open(target, world.takerPort);
    expect((await world.ask(behind)).toString('latin1')).toBe(said);
  });
});

describe('HTTP/2', { timeout: 60_000 }, () => {
  const block = encodeHeaderBlock([
    field(':method', 'POST'),
    field(':scheme', 'http'),
    field(':path', '/'),
    field(':authority', 'a'),
  ]);
  const half = Math.ceil(block.length / 2);
  const priority = Buffer.from([0x80, 0, 0, 0, 15]);
  const data = Buffer.from('hello');

  test.each<[string, Buffer[]]>([
    ['section 3.4: the preface and no frame but SETTINGS', []],
    [
      'section 6.1: DATA with padding',
      [headersFrames(1, block, false), frame(0, 0x9, 1, Buffer.concat([Buffer.from([3]), data, Buffer.alloc(3)]))],
    ],
    [
      'section 6.1: DATA that is all padding',
      [headersFrames(1, block, false), frame(0, 0x9, 1, Buffer.from([2, 0, 0]))],
    ],
    [
      'section 6.2: HEADERS with padding and priority',
      [frame(1, 0x2d, 1, Buffer.concat([Buffer.from([1]), priority, block, Buffer.alloc(1)]))],
    ],
    ['section 6.3: PRIORITY of a stream that is idle', [frame(FrameType.priority, 0, 9, priority)]],
    ['section 6.4: RST_STREAM', [headersFrames(1, block, false), frame(3, 0, 1, Buffer.from([0, 0, 0, 8]))]],
    ['section 6.5: SETTINGS of a kind that nobody knows', [settings([[0xfafa, 7]])]],
    ['section 6.7: PING', [frame(FrameType.ping, 0, 0, Buffer.from('12345678'))]],
    ['section 6.8: GOAWAY with words', [frame(FrameType.goaway, 0, 0, Buffer.from('\0\0\0\0\0\0\0\0bye'))]],
    [
      'section 6.9: WINDOW_UPDATE of both',
      [headersFrames(1, block, false), windowUpdate(0, 100), windowUpdate(1, 100)],
    ],
    ['section 6.10: CONTINUATION', [frame(1, 1, 1, block.subarray(0, half)), frame(9, 4, 1, block.subarray(half))]],
    [
      'section 5.5: a frame of a type that nobody knows',
      [frame(0xbe, 0xff, 0, data), headersFrames(1, block, true), frame(0xbe, 0xff, 1, data)],
    ],
    [
      'section 8.1: trailers',
      [
        headersFrames(1, block, false),
        frame(0, 0, 1, data),
        headersFrames(1, encodeHeaderBlock([field('x-end', '1')]), true),
      ],
    ],
  ])('%s', async (_, frames) => {
    answer = settings([]);
    const whole = Buffer.concat([PREFACE, settings([]), ...frames]);
    await world.ask(
      whole.toString('latin1'),
      Array.from({ length: whole.length }, (__, at) => at),
    );
    await expect.poll(() => atTarget[0]?.toString('hex'), SOON).toBe(whole.toString('hex'));
    expect(atLocal).toEqual([]);
  });
});
