import { expect, test } from 'vitest';
import { hostNameOf } from './host-name.ts';

test.each([
  ['shop-6d5f9c7b8-x2x9q\n', 'shop-6d5f9c7b8-x2x9q'],
  ['shop', 'shop'],
  ['# of this pod\n\n  shop-1 \nother\n', 'shop-1'],
  ['x'.repeat(64), 'x'.repeat(64)],
  // Names that uname(2) has no room for, or that are none, are not cut: this machine's stays.
  ['x'.repeat(65), ''],
  ['two words\n', ''],
  ['nul\0\n', ''],
  ['\xff\xfe\n', ''],
  ['', ''],
])('the name in %j is %j', (file, name) => {
  expect(hostNameOf(Buffer.from(file, 'latin1')).toString()).toBe(name);
});
