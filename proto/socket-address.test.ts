import { isIPv6 } from 'node:net';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  addressText,
  formatIp,
  fromSocketAddress,
  internet,
  isLoopback,
  isSameAddress,
  isUnspecified,
  parseIp,
  toMapped,
  toSocketAddress,
} from './socket-address.ts';

// RFC 5952 section 4 and 5.
test.each([
  ['10.0.0.1', '10.0.0.1'],
  ['2001:0DB8::0001', '2001:db8::1'],
  ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
  ['::', '::'],
  ['::1', '::1'],
  ['fe80::', 'fe80::'],
  ['fe80::1%eth0', 'fe80::1'],
  ['10:0:0:0:0:0:0:10', '10::10'],
  ['::ffff:10.0.0.1', '10.0.0.1'],
])('%s is %s', (text, short) => {
  expect(formatIp(parseIp(text) as Uint8Array)).toBe(short);
});

test('what is no address is none', () => {
  for (const text of ['', 'localhost', '1.2.3', '1.2.3.4.5', ':::', '10.0.0.1:80']) expect(parseIp(text)).toBeNull();
});

test('an address comes back from its text and from the wire', () => {
  const ip = fc.oneof(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.uint8Array({ minLength: 16, maxLength: 16 }));
  fc.assert(
    fc.property(ip, fc.nat(65_535), (bytes, port) => {
      const address = internet(Buffer.from(bytes), port);
      expect(parseIp(formatIp(address.ip))).toEqual(address.ip);
      if (address.ip.length === 16) expect(isIPv6(formatIp(address.ip))).toBe(true);
      expect(fromSocketAddress(toSocketAddress(address))).toEqual(address);
      expect(isSameAddress(address, internet(Buffer.from(bytes), port))).toBe(true);
      expect(toMapped(address.ip)).toHaveLength(16);
    }),
  );
});

test('unix names are told as people write them', () => {
  expect(addressText({ kind: 'unix', path: Buffer.from('\0name') })).toBe('@name');
  expect(addressText({ kind: 'unix', path: Buffer.from('/run/x') })).toBe('/run/x');
  expect(addressText(internet(parseIp('fd00::1') as Uint8Array, 80))).toBe('[fd00::1]:80');
});

test('loopback and unspecified addresses of both families are known', () => {
  for (const text of ['127.0.0.1', '127.1.2.3', '::1']) expect(isLoopback(parseIp(text) as Uint8Array)).toBe(true);
  for (const text of ['10.0.0.1', '::2', '1::1']) expect(isLoopback(parseIp(text) as Uint8Array)).toBe(false);
  for (const text of ['0.0.0.0', '::']) expect(isUnspecified(parseIp(text) as Uint8Array)).toBe(true);
});

test('an address that no kernel could have is refused', () => {
  const bad = { address: { $case: 'internet' as const, value: { ip: Buffer.alloc(5), port: 1, scopeId: 0 } } };
  expect(() => fromSocketAddress(bad)).toThrow('5 bytes');
  expect(fromSocketAddress(undefined)).toBeNull();
});
