import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseEnvironment } from './environment.ts';

/** No measure of speed: work that grows with the square of its input takes minutes. */
const LINEAR_MS = 10_000;

const parsed = (content: string | Buffer) =>
  parseEnvironment(Buffer.from(content as string, 'latin1')).map(
    ({ name, value }) => `${name.toString('latin1')}=${value.toString('latin1')}`,
  );

test.each([
  ['entries in their order', 'B=1\0A=2\0', ['B=1', 'A=2']],
  ['a value may have an equals sign', 'A=b=c\0', ['A=b=c']],
  ['a value may be empty or have lines', 'A=\0B=x\ny\0', ['A=', 'B=x\ny']],
  ['the last of the same name counts', 'A=1\0B=2\0A=3\0', ['A=3', 'B=2']],
  ['what is no entry is left out', 'nothing\0=x\0\0A=1\0', ['A=1']],
  ['the last entry may lack its end', 'A=1\0B=2', ['A=1', 'B=2']],
  ['nothing at all', '', []],
])('%s', (_, content, expected) => {
  expect(parsed(content)).toEqual(expected);
});

test('bytes that are no text are kept', () => {
  expect(parseEnvironment(Buffer.from([0x41, 0x3d, 0xff, 0x00, 0xfe, 0x3d, 0x80, 0x00]))).toEqual([
    { name: Buffer.from('A'), value: Buffer.from([0xff]) },
    { name: Buffer.from([0xfe]), value: Buffer.from([0x80]) },
  ]);
});

test('any environment comes back as it was', () => {
  const name = fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_]{0,20}$/);
  const value = fc.string({ unit: 'grapheme', maxLength: 40 }).filter((text) => !text.includes('\0'));
  fc.assert(
    fc.property(fc.dictionary(name, value), (variables) => {
      const content = Object.entries(variables).map(([key, text]) => `${key}=${text}\0`);
      const entries = parseEnvironment(Buffer.from(content.join('')));
      expect(Object.fromEntries(entries.map((entry) => [entry.name.toString(), entry.value.toString()]))).toEqual({
        ...variables,
      });
    }),
  );
});

test('a long environment takes time in proportion', () => {
  const content = Buffer.concat(Array.from({ length: 50_000 }, (_, index) => Buffer.from(`NAME_${index}=value\0`)));
  const startMs = performance.now();
  expect(parseEnvironment(content)).toHaveLength(50_000);
  expect(performance.now() - startMs).toBeLessThan(LINEAR_MS);
});
