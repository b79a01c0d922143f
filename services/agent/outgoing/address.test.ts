import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { endpointText, formatIp, fromEndpoint, parseIp, toEndpoint, toMapped } from './address.ts';

describe('text to bytes', () => {
  test.each([
    ['10.0.0.1', '0a000001'],
    ['255.255.255.255', 'ffffffff'],
    ['::', '00000000000000000000000000000000'],
    ['::1', '00000000000000000000000000000001'],
    ['fe80::1%eth0', 'fe800000000000000000000000000001'],
    ['2001:db8::ff00:42:8329', '20010db8000000000000ff0000428329'],
    ['1:2:3:4:5:6:7:8', '00010002000300040005000600070008'],
    ['1::', '00010000000000000000000000000000'],
    ['64:ff9b::192.0.2.33', '0064ff9b0000000000000000c0000221'],
    ['::ffff:192.0.2.33', 'c0000221'],
    ['::ffff:c000:221', 'c0000221'],
  ])('%s', (text, hex) => {
    expect(parseIp(text)?.toString('hex')).toBe(hex);
  });

  test.each(['', 'localhost', '1.2.3', '1.2.3.4.5', '256.1.1.1', ':::', '1:2:3', '::ffff:1.2.3'])(
    '%j is none',
    (text) => {
      expect(parseIp(text)).toBeNull();
    },
  );

  test('every address comes back from its text', () => {
    const ips = fc.oneof(
      fc.uint8Array({ minLength: 4, maxLength: 4 }),
      fc.uint8Array({ minLength: 16, maxLength: 16 }),
    );
    fc.assert(
      fc.property(ips, (ip) => {
        const back = parseIp(formatIp(ip));
        expect(back === null ? null : toMapped(back)).toEqual(toMapped(ip));
      }),
    );
  });
});

describe('the wire', () => {
  const wire = (ip: Buffer, port = 80, scopeId = 0) =>
    ({ address: { $case: 'internet', value: { ip, port, scopeId } } }) as const;

  test('an endpoint comes back as it went', () => {
    const endpoint = { ip: Buffer.from([10, 0, 0, 1]), port: 65_535, scopeId: 3 };
    expect(toEndpoint(fromEndpoint(endpoint))).toEqual(endpoint);
    expect(endpointText(endpoint)).toBe('10.0.0.1:65535');
  });

  test('a v4-mapped address is taken as the four bytes it means', () => {
    expect(toEndpoint(wire(toMapped(Buffer.from([10, 0, 0, 1])))).ip).toEqual(Buffer.from([10, 0, 0, 1]));
  });

  test.each([
    ['no address', undefined],
    ['a path', { address: { $case: 'unixPath', value: Buffer.from('/x') } } as const],
    ['five bytes', wire(Buffer.alloc(5))],
    ['a port beyond 65535', wire(Buffer.alloc(4), 65_536)],
  ])('%s is a violation', (_, address) => {
    expect(() => toEndpoint(address)).toThrow(expect.objectContaining({ code: 'PROTOCOL_VIOLATION' }));
  });
});
