// What joined connections of HTTP/2 read of header blocks beside the reader of services/runtime/http2, and what passes beside the
// lines that filters see: otherwise a request could pass the filters by, or the two would not go on with the same table.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { HpackDecoder } from '#runtime/http2/hpack-decoder.ts';
import { Http2Request } from '#runtime/http2/http2-request.ts';
import { NativeHead } from '../relay/native-head.ts';
import { stealerAddon } from './index.ts';

const TEXTS = ['alice', '/api', 'a=1; b=2', 'host: shop', 'r: al'];
const NAMES = [':path', ':method', ':authority', 'cookie', 'x-user', 'host', 'Cookie', ''];
const VALUES = ['alice', 'ALICE', 'al', '/API/x', 'a=1', 'b=2', 'shop', '\u00e9', 'v'.repeat(100), ''];

const plain = (octets: string): Buffer => Buffer.from([octets.length, ...Buffer.from(octets, 'latin1')]);
const text = (values: readonly string[]) =>
  fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...values).map(plain) },
    // Words of Huffman's code, and their beginnings, with and without padding.
    fc.uint8Array({ maxLength: 6 }).map((octets) => Buffer.from([0x80 | octets.length, ...octets])),
    fc.constantFrom('8cf1e3c2e5f23a6ba0ab90f4ff', '84353d8693', '81f1').map((hex) => Buffer.from(hex, 'hex')),
  );
const indexed = fc
  .oneof(fc.integer({ min: 1, max: 66 }), fc.constantFrom(0, 62, 63, 80))
  .map((at) => Buffer.of(0x80 | at));
const literal = fc
  .tuple(fc.constantFrom(0x40, 0x40, 0x00, 0x10), fc.constantFrom(0, 0, 0, 1, 2, 4, 32, 62), text(NAMES), text(VALUES))
  .map(([kind, index, name, value]) => {
    const most = kind === 0x40 ? 0x3f : 0x0f;
    const head = index < most ? [kind | index] : [kind | most, index - most];
    return Buffer.concat([Buffer.from(head), index === 0 ? name : Buffer.alloc(0), value]);
  });
const sizes = fc.constantFrom('', '', '', '', '20', '3f09', '3fe11f', '203fe11f').map((hex) => Buffer.from(hex, 'hex'));
const damage = fc.oneof(
  { weight: 4, arbitrary: fc.constant(null) },
  fc.tuple(fc.nat(), fc.nat(2), fc.uint8Array({ maxLength: 2 })),
);
const blocks = fc.array(
  fc.tuple(sizes, fc.array(fc.oneof(literal, indexed), { maxLength: 8 }), damage).map(([size, fields, spoilt]) => {
    const octets = [...Buffer.concat([size, ...fields])];
    if (spoilt !== null && octets.length > 0) octets.splice(spoilt[0] % octets.length, spoilt[1], ...spoilt[2]);
    return Buffer.from(octets);
  }),
  { minLength: 1, maxLength: 8 },
);

test('a header block that is read natively says the same, leaves the same table, and passes only without a text', () => {
  const addon = stealerAddon();
  const head = new NativeHead();
  const counts = { read: 0, taken: 0, unread: 0, passed: 0, stopped: 0, broken: 0 };
  fc.assert(
    fc.property(blocks, fc.boolean(), (conversation, isSmall) => {
      const decoder = new HpackDecoder();
      if (isSmall) decoder.decode(Buffer.from('3f61', 'hex'));
      for (const block of conversation) {
        const { limitBytes, fields: before } = decoder.pack();
        const native = addon.readHead(limitBytes, before, block, TEXTS, false, head.lines, head.facts);
        const decoded = decoder.decode(block);
        if (decoded === undefined) {
          expect(native).toBeNull();
          counts.broken++;
          return;
        }
        if (native === null) {
          counts.unread++;
          continue;
        }
        counts.read++;
        const fields = native.fields.map((pair) => pair.map((octets) => octets.toString('latin1')));
        expect(fields).toEqual(decoded.fields.map(({ name, value }) => [name, value]));
        expect(native.table.equals(decoder.pack().fields)).toBe(true);
        const request = new Http2Request(decoded.fields);
        if (native.passes) expect(TEXTS.filter((one) => request.lowerText.includes(one))).toEqual([]);
        if (native.isTaken) {
          counts.taken++;
          head.begin();
          const texts = [request.method, request.target, ...request.headerLines];
          expect([head.method, head.target, ...head.headerLines].join('\n')).toBe(texts.join('\n'));
        }
        counts[native.passes ? 'passed' : 'stopped']++;
      }
    }),
    { numRuns: 6_000 },
  );
  for (const count of Object.values(counts)) expect(count).toBeGreaterThan(100);
});

test('a table that was taken back is the one that was handed over', () => {
  const [one, other] = [new HpackDecoder(), new HpackDecoder()];
  one.decode(Buffer.concat([Buffer.of(0x40), plain('x-a'), plain('\u00e9'), Buffer.of(0x41), plain('shop')]));
  other.goOn(one.pack().fields);
  expect(other.pack()).toEqual(one.pack());
  expect(other.decode(Buffer.from('bebf', 'hex'))).toEqual(one.decode(Buffer.from('bebf', 'hex')));
});

test('a request with a body is looked at by who filters bodies, though no field says that it has one', () => {
  const { lines, facts } = new NativeHead();
  const space = [lines, facts] as const;
  const read = (texts: readonly string[], hasBody: boolean) =>
    stealerAddon().readHead(0, Buffer.alloc(0), Buffer.of(0x83), texts, hasBody, ...space)?.passes;
  expect(read(['content-length', 'transfer-encoding'], true)).toBe(false);
  expect(read(['content-length', 'transfer-encoding'], false)).toBe(true);
  expect(read(['alice'], true)).toBe(true);
});
