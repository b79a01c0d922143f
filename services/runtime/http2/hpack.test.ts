import { connect as connectHttp2, constants } from 'node:http2';
import { type AddressInfo, createServer } from 'node:net';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FrameType, headersFrames, PREFACE } from './frame.ts';
import { type FramePiece, FrameReader } from './frame-reader.ts';
import { HeaderFramesReader } from './header-frames.ts';
import { HpackDecoder } from './hpack-decoder.ts';
import { encodeHeaderBlock } from './hpack-encoder.ts';
import { Http2Request } from './http2-request.ts';

const bytes = (hex: string): Buffer => Buffer.from(hex.replaceAll(' ', ''), 'hex');
const linesOf = (decoder: HpackDecoder, hex: string) =>
  decoder.decode(bytes(hex))?.fields.map(({ name, value }) => `${name}: ${value}`);

const first = [':method: GET', ':scheme: http', ':path: /', ':authority: www.example.com'];
const third = [
  ':method: GET',
  ':scheme: https',
  ':path: /index.html',
  ':authority: www.example.com',
  'custom-key: custom-value',
];

describe('RFC 7541 appendix C', () => {
  test('C.2: a field in each of its representations', () => {
    const decode = (hex: string) => new HpackDecoder().decode(bytes(hex))?.fields;
    const value = { isSecret: false };
    expect(decode('400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572')).toEqual([
      { name: 'custom-key', value: 'custom-header', ...value },
    ]);
    expect(decode('040c 2f73 616d 706c 652f 7061 7468')).toEqual([{ name: ':path', value: '/sample/path', ...value }]);
    expect(decode('1008 7061 7373 776f 7264 0673 6563 7265 74')).toEqual([
      { name: 'password', value: 'secret', isSecret: true },
    ]);
    expect(decode('82')).toEqual([{ name: ':method', value: 'GET', ...value }]);
  });

  test('C.3: three requests of one connection, without Huffman coding', () => {
    const decoder = new HpackDecoder();
    expect(linesOf(decoder, '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d')).toEqual(first);
    expect(linesOf(decoder, '8286 84be 5808 6e6f 2d63 6163 6865')).toEqual([...first, 'cache-control: no-cache']);
    expect(linesOf(decoder, '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65')).toEqual(third);
  });

  test('C.4: the same, with Huffman coding', () => {
    const decoder = new HpackDecoder();
    expect(linesOf(decoder, '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff')).toEqual(first);
    expect(linesOf(decoder, '8286 84be 5886 a8eb 1064 9cbf')).toEqual([...first, 'cache-control: no-cache']);
    expect(linesOf(decoder, '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf')).toEqual(third);
  });
});

describe('a block', () => {
  const name = fc.stringMatching(/^[a-z0-9-]{1,40}$/);
  const value = fc.string({
    unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
    maxLength: 300,
  });

  test('means what was written, whatever the octets', () => {
    const fields = fc.array(fc.record({ name, value, isSecret: fc.boolean() }), { maxLength: 20 });
    fc.assert(
      fc.property(fields, fc.array(fc.nat(4_096), { maxLength: 2 }), (written, tableSizes) => {
        const block = encodeHeaderBlock(written, tableSizes);
        expect(new HpackDecoder().decode(block)).toEqual({ fields: written, tableSizes });
      }),
    );
  });

  test('of garbage is refused or read, and never throws', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 5 }), (blocks) => {
        const decoder = new HpackDecoder();
        for (const block of blocks) decoder.decode(Buffer.from(block));
      }),
      { numRuns: 1_000 },
    );
  });

  test('is refused beyond our limits: tables, fields, sizes, padding of Huffman codes', () => {
    const decode = (block: Buffer) => new HpackDecoder().decode(block);
    expect(decode(bytes('3fe2 1f'))).toBeUndefined();
    expect(decode(Buffer.alloc(1_025, 0x82))).toBeUndefined();
    expect(decode(Buffer.alloc(1_024, 0x82))?.fields).toHaveLength(1_024);
    expect(decode(bytes('82 20'))).toBeUndefined();
    expect(decode(bytes('be'))).toBeUndefined();
    expect(decode(bytes('80'))).toBeUndefined();
    expect(decode(bytes('ff ff ff ff ff ff ff 01'))).toBeUndefined();
    // 'w' and seven ones; 'w' and a whole octet of padding; 'w' and zeros.
    expect(decode(bytes('04 81 f1'))?.fields).toMatchObject([{ name: ':path', value: 'w' }]);
    expect(decode(bytes('04 82 f1 ff'))).toBeUndefined();
    expect(decode(bytes('04 81 f0'))).toBeUndefined();
  });
});

test('what node writes on one connection, with its table and Huffman coding, is read as it was meant', {
  timeout: 60_000,
}, async () => {
  const chunks: Buffer[] = [];
  const server = createServer((socket) =>
    socket.on('data', (chunk: Buffer) => chunks.push(chunk)).on('error', () => undefined),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const client = connectHttp2(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, {
    peerMaxConcurrentStreams: 200,
  });
  client.on('error', () => undefined);
  const values = Array.from(
    { length: 200 },
    (_, at) => `${'v'.repeat(at % 90)}${String.fromCharCode(33 + (at % 94))}${at}`,
  );
  for (const value of values)
    client.request({ ':path': `/${value.length}`, 'x-value': value }).on('error', () => undefined);
  const headers = (): FramePiece[] => {
    const reader = new FrameReader(() => true);
    reader.push(Buffer.concat(chunks).subarray(PREFACE.length));
    const pieces: FramePiece[] = [];
    for (let piece = reader.next(); piece !== undefined && piece !== 'doubtful'; piece = reader.next())
      pieces.push(piece);
    return pieces.filter(({ head }) => head.type === FrameType.headers);
  };
  await expect.poll(() => headers().length, { timeout: 20_000 }).toBe(values.length);
  const decoder = new HpackDecoder();
  const frames = new HeaderFramesReader();
  const got = headers().map((piece) => {
    const whole = frames.add(piece);
    if (whole === undefined || whole === 'doubtful') return undefined;
    return decoder.decode(whole.block)?.fields.find(({ name }) => name === 'x-value')?.value;
  });
  expect(got).toEqual(values);
  client.destroy(undefined, constants.NGHTTP2_NO_ERROR);
  await new Promise((resolve) => server.close(resolve));
});

describe('frames', () => {
  test('however they are cut, are the bytes that came; blocks come out whole', () => {
    const fields = [{ name: 'a', value: 'b'.repeat(40_000), isSecret: false }];
    const whole = headersFrames(5, encodeHeaderBlock(fields), true, bytes('0000 0000 10'));
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 20_000 }), { minLength: 1, maxLength: 10 }), (cuts) => {
        const reader = new FrameReader((type) => type !== FrameType.data);
        const headers = new HeaderFramesReader();
        let got: ReturnType<HeaderFramesReader['add']>;
        for (let at = 0, turn = 0; at < whole.length; turn++) {
          const length = cuts[turn % cuts.length] as number;
          reader.push(whole.subarray(at, at + length));
          at += length;
          for (let piece = reader.next(); piece !== undefined && piece !== 'doubtful'; piece = reader.next()) {
            got = headers.add(piece);
          }
        }
        if (got === undefined || got === 'doubtful') throw new Error('no block');
        expect(got.bytes.equals(whole)).toBe(true);
        expect([got.streamId, got.isEnd, got.priority?.toString('hex')]).toEqual([5, true, '0000000010']);
        expect(new HpackDecoder().decode(got.block)?.fields).toEqual(fields);
      }),
      { numRuns: 20 },
    );
  });

  test('that cannot be are doubtful', () => {
    for (const hex of [
      '000004 08 00 00000000',
      '000005 03 00 00000001',
      '000000 00 00 00000000',
      '000001 04 00 00000000',
    ]) {
      const reader = new FrameReader(() => true);
      reader.push(bytes(`${hex}00000000ff`));
      expect(reader.next() === 'doubtful').toBe(!hex.startsWith('000004'));
    }
  });
});

test('filters see the lines that HTTP/1 would have: cookies joined, the authority as host', () => {
  const field = (name: string, value: string) => ({ name, value, isSecret: false });
  const request = new Http2Request([
    field(':method', 'POST'),
    field(':path', '/Shop?a=1'),
    field(':authority', 'shop.example'),
    field('cookie', 'a=1'),
    field('x-user', 'Alice'),
    field('cookie', 'b=2'),
    field('x-binary', '\u00e9'),
  ]);
  expect([request.method, request.target]).toEqual(['POST', '/Shop?a=1']);
  expect(request.headerLines).toEqual(['x-user: Alice', 'cookie: a=1; b=2', 'host: shop.example']);
  expect(request.lowerText).toContain('/shop?a=1');
});
