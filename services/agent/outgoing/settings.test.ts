import { expect, test } from 'vitest';
import { addresses, grants } from './settings.ts';

test('lists are read without their spaces, and an absent one is empty', () => {
  expect(grants('ALLOW')({ ALLOW: '169.254.169.254:80, [fd00:ec2::254]:80,/run/docker.sock' })).toEqual([
    '169.254.169.254:80',
    '[fd00:ec2::254]:80',
    '/run/docker.sock',
  ]);
  expect(addresses('NODE')({ NODE: '10.0.0.1,fd00::1' })).toEqual(['10.0.0.1', 'fd00::1']);
  expect([grants('ALLOW')({}), addresses('NODE')({})]).toEqual([[], []]);
});

test.each([
  [grants, 'metadata.internal'],
  [addresses, '10.0.0.1:80'],
  [addresses, 'fe80::1%eth0'],
])('a fault names the variable and the value', (reader, value) => {
  const fault = { code: 'CONFIG_INVALID', message: expect.stringMatching(/^LIST: .*"/) };
  expect(() => reader('LIST')({ LIST: value })).toThrow(expect.objectContaining(fault));
});
