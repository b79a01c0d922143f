import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatIp, internet, parseIp } from '#proto/socket-address.ts';
import { fitsIp, fitsPort, normalName, parseAddressRule, readAddressRule } from './address-rule.ts';

const peer = (text: string) => internet(parseIp(text) as Uint8Array, 80);

test.each([
  ['db.internal', 'any', 'name', 0],
  ['DB.Internal.:5432', 'any', 'name', 5432],
  ['tcp://db:5432', 'tcp', 'name', 5432],
  ['UDP://10.0.0.1', 'udp', 'prefix', 0],
  ['any://10.0.0.0/8:53', 'any', 'prefix', 53],
  ['[fd00::1]', 'any', 'prefix', 0],
  ['[fd00::]/8:443', 'any', 'prefix', 443],
  [':53', 'any', 'any', 53],
  ['tcp://', 'tcp', 'any', 0],
  ['0.0.0.0', 'any', 'any', 0],
  ['0.0.0.0:80', 'any', 'any', 80],
  ['[::]:80', 'any', 'any', 80],
])('%s', (text, protocol, host, port) => {
  expect(parseAddressRule(text)).toMatchObject({ protocol, host: { kind: host }, port });
});

test.each([
  '',
  'http://db',
  'db:65536',
  'db:x',
  '10.0.0',
  '10.0.0.1/33',
  '[fd00::1]/129',
  'fd00::1',
  '[nonsense]',
  'db/24',
  'a b',
  'tcp://db:80:90',
])('%j is refused by name', (text) => {
  expect(readAddressRule(text)).toBeNull();
  expect(() => parseAddressRule(text)).toThrow(JSON.stringify(text));
});

test.each([
  ['10.0.0.0/8', '10.255.0.1', true],
  ['10.0.0.0/8', '11.0.0.1', false],
  ['10.0.0.128/25', '10.0.0.127', false],
  ['10.0.0.128/25', '10.0.0.128', true],
  ['0.0.0.0/0', '1.2.3.4', true],
  ['0.0.0.0/0', 'fd00::1', false],
  ['0.0.0.0', 'fd00::1', true],
  ['10.0.0.1', '::ffff:10.0.0.1', true],
  ['[::ffff:10.0.0.1]', '10.0.0.1', true],
  ['[fd00::]/8', 'fdff::1', true],
  ['[fd00::]/8', 'fe00::1', false],
  ['[::1]', '::1', true],
])('%s and %s: %s', (rule, ip, fits) => {
  expect(fitsIp(parseAddressRule(rule), peer(ip))).toBe(fits);
});

test('an address fits its own prefix of every length, and not one with its last bit turned', () => {
  const ip = fc.oneof(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.uint8Array({ minLength: 16, maxLength: 16 }));
  fc.assert(
    fc.property(ip, fc.nat(), (bytes, length) => {
      const { ip: own } = internet(Buffer.from(bytes), 1);
      const bits = 1 + (length % (own.length * 8));
      const text = own.length === 4 ? `${formatIp(own)}/${bits}` : `[${formatIp(own)}]/${bits}`;
      const rule = parseAddressRule(text);
      expect(fitsIp(rule, internet(own, 1))).toBe(true);
      const turned = Buffer.from(own);
      turned[(bits - 1) >> 3] = (turned[(bits - 1) >> 3] ?? 0) ^ (0x80 >> ((bits - 1) & 7));
      const other = internet(turned, 1);
      if (other.ip.length === own.length) expect(fitsIp(rule, other)).toBe(false);
    }),
  );
});

test('a rule without protocol and port is for all, with them for one', () => {
  expect(fitsPort(parseAddressRule('db'), 'udp', 1)).toBe(true);
  expect(fitsPort(parseAddressRule('tcp://db:5'), 'tcp', 5)).toBe(true);
  expect(fitsPort(parseAddressRule('tcp://db:5'), 'udp', 5)).toBe(false);
  expect(fitsPort(parseAddressRule('tcp://db:5'), 'tcp', 6)).toBe(false);
  expect(normalName('A.b.')).toBe('a.b');
});

test('whatever the text is, it is a rule or none', () => {
  const part = fc.constantFrom(
    'tcp://',
    'udp:',
    '//',
    '[',
    ']',
    '::',
    '10.0.0.1',
    '/8',
    ':53',
    'db',
    '.',
    '*',
    ' ',
    '',
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(part, { maxLength: 8 }).map((parts) => parts.join('')),
      ),
      (text) => {
        const rule = readAddressRule(text);
        if (rule !== null) expect(rule.port).toBeLessThanOrEqual(65_535);
      },
    ),
    { numRuns: 2000 },
  );
});
