import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parametersOf } from './query-parameters.ts';

/** As browsers have it, however it is written. */
function asForms(target: string): Record<string, string | string[]> {
  const found = new URLSearchParams(target.slice(target.indexOf('?') + 1));
  return Object.fromEntries(
    [...new Set(found.keys())].map((name) => {
      const values = found.getAll(name);
      return [name, values.length === 1 ? (values[0] as string) : values];
    }),
  );
}

test('parameters are those of a form, whether their characters stand for themselves or not', () => {
  const words = fc.constantFrom(
    'a',
    'b',
    '=',
    '&',
    '&&',
    '%61',
    '%',
    '+',
    '?',
    '#',
    '7',
    '\u00e9',
    '__proto__',
    'toString',
  );
  fc.assert(
    fc.property(fc.array(words, { maxLength: 9 }), (parts) => {
      const target = `/path?${parts.join('')}`;
      const [parameters, expected] = [Object(parametersOf(target)), asForms(target)];
      expect(Object.entries(parameters)).toEqual(Object.entries(expected));
    }),
    { numRuns: 5_000 },
  );
  expect(parametersOf('/path')).toEqual({});
  expect(parametersOf('/path?')).toEqual({});
});
