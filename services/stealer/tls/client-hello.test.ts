import { type AddressInfo, createServer } from 'node:net';
import { connect as connectTls } from 'node:tls';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type ClientHello, MAX_HELLO_BYTES, readClientHello } from './client-hello.ts';

/** What Node's own client says first. */
async function helloOf(options: { servername?: string; ALPNProtocols?: string[] }): Promise<Buffer> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const heard = new Promise<Buffer>((resolve) => {
    server.once('connection', (socket) => {
      socket.once('data', (bytes) => {
        socket.destroy();
        resolve(bytes);
      });
      socket.on('error', () => undefined);
    });
  });
  const { port } = server.address() as AddressInfo;
  connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options }).on('error', () => undefined);
  const bytes = await heard;
  await new Promise((resolve) => server.close(resolve));
  return bytes;
}

const extension = (type: number, value: Buffer) => Buffer.concat([uint16(type), vector(2, value)]);
const uint16 = (value: number) => Buffer.from([value >> 8, value & 255]);
const vector = (size: 1 | 2 | 3, value: Buffer) => {
  const length = Buffer.alloc(size);
  length.writeUIntBE(value.length, 0, size);
  return Buffer.concat([length, value]);
};
const record = (fragment: Buffer) => Buffer.concat([Buffer.from([22, 3, 1]), vector(2, fragment)]);
const serverName = (name: string) =>
  extension(0, vector(2, Buffer.concat([Buffer.from([0]), vector(2, Buffer.from(name))])));
const alpn = (...names: string[]) =>
  extension(16, vector(2, Buffer.concat(names.map((name) => vector(1, Buffer.from(name))))));

function handshake(...extensions: Buffer[]): Buffer {
  const fixed = Buffer.concat([Buffer.from([3, 3]), Buffer.alloc(32, 7), vector(1, Buffer.alloc(32, 9))]);
  const rest = Buffer.concat([vector(2, Buffer.from([0x13, 1])), vector(1, Buffer.from([0]))]);
  const all = extensions.length === 0 ? Buffer.alloc(0) : vector(2, Buffer.concat(extensions));
  return Buffer.concat([Buffer.from([1]), vector(3, Buffer.concat([fixed, rest, all]))]);
}

test.each([
  [
    { servername: 'Shop.Test', ALPNProtocols: ['h2', 'http/1.1'] },
    { serverName: 'shop.test', protocols: ['h2', 'http/1.1'] },
  ],
  [{ servername: 'a.b.test' }, { serverName: 'a.b.test', protocols: [] }],
  [{ ALPNProtocols: ['http/1.1'] }, { serverName: '', protocols: ['http/1.1'] }],
])('the hello of a real client tells its name and protocols, however it is cut: %j', async (options, expected) => {
  const hello = await helloOf(options);
  expect(readClientHello(hello)).toEqual(expected);
  for (let length = 0; length < hello.length; length++) expect(readClientHello(hello.subarray(0, length))).toBe('more');
  expect(readClientHello(Buffer.concat([hello, Buffer.from('what follows')]))).toEqual(expected);
});

test('a hello that is spread over records is put together, up to a number of them', () => {
  const message = handshake(serverName('shop.test'), alpn('h2'));
  const cut = (bytes: number) => {
    const records = [];
    for (let at = 0; at < message.length; at += bytes) records.push(record(message.subarray(at, at + bytes)));
    return Buffer.concat(records);
  };
  for (const bytes of [8, 13, 64, message.length]) {
    expect(readClientHello(cut(bytes))).toEqual({ serverName: 'shop.test', protocols: ['h2'] });
  }
  expect(readClientHello(cut(1))).toBe('none');
});

test.each([
  ['HTTP', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
  ['SSLv2', Buffer.from([0x80, 0x2e, 1, 0, 2])],
  ['another handshake message', record(Buffer.from([2, 0, 0, 4, 0, 0, 0, 0]))],
  ['an alert', Buffer.from([21, 3, 3, 0, 2, 1, 0])],
  ['a record without a byte', record(Buffer.alloc(0))],
  ['a record that is too long', Buffer.from([22, 3, 1, 0xff, 0xff, 1])],
  ['a message that is too long', record(Buffer.from([1, 0, (MAX_HELLO_BYTES >> 8) + 1, 0]))],
  ['an extension that leaves its list', record(handshake(Buffer.from([0, 0, 0, 9, 1])))],
  ['two names', record(handshake(serverName('a.test'), serverName('b.test')))],
  ['an empty name', record(handshake(serverName('')))],
  ['a name with a zero', record(handshake(serverName('a\0.test')))],
  ['a protocol without a letter', record(handshake(alpn('')))],
])('%s is none', (_, bytes) => {
  expect(readClientHello(bytes)).toBe('none');
});

test('a hello of a time without extensions names nobody', () => {
  expect(readClientHello(record(handshake()))).toEqual({ serverName: '', protocols: [] });
});

test('whatever is said: an answer, and never another one for what is longer once it is whole', () => {
  const valid = record(
    handshake(serverName('shop.test'), alpn('h2', 'http/1.1'), extension(43, Buffer.from([2, 3, 4]))),
  );
  const mutated = fc.array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { maxLength: 6 }).map((changes) => {
    const bytes = Buffer.from(valid);
    for (const [at, value] of changes) bytes[at] = value;
    return bytes;
  });
  const anything = fc.uint8Array({ maxLength: 600 }).map((bytes) => Buffer.from(bytes));
  const begun = fc.uint8Array({ maxLength: 600 }).map((bytes) => record(Buffer.from([1, 0, 1, 0, 3, 3, ...bytes])));
  fc.assert(
    fc.property(fc.oneof(mutated, anything, begun), (bytes) => {
      let last: ClientHello | 'more' | 'none' = 'more';
      for (let length = 0; length <= bytes.length; length++) {
        const now = readClientHello(bytes.subarray(0, length));
        if (last !== 'more') expect(now).toEqual(last);
        last = now;
      }
    }),
    { numRuns: 400 },
  );
});
