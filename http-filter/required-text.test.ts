import fc from 'fast-check';
import { RE2JS } from 're2js';
import { describe, expect, test } from 'vitest';
import { requiredPrefix, requiredTexts } from './required-text.ts';

describe('required texts', () => {
  test.each([
    ['(?i)x-user: alice', ['x-user', 'alice']],
    ['^baggage: .*mirrord-session=me.*', ['baggage', 'mirrord-session=me']],
    ['x-tenant: (acme|umbrella)', ['x-tenant']],
    ['abc|def', []],
    ['abcd?', ['abc']],
    ['abcd*efg', ['abc', 'efg']],
    ['abcd{0,1}', ['abc']],
    ['abc+', ['abc']],
    ['a\\.bc\\dxyz', ['a.bc', 'xyz']],
    ['[abc]xyz[]a]uvw', ['xyz', 'uvw']],
    ['abc\\x41def', ['abc']],
    ['(?:abc)?def', ['def']],
    ['..', []],
    ['abc\\x41|def', []],
    ['abc\\Q|\\E', []],
    ['abcd{x|y}', []],
    ['abcd{x}', ['abcd']],
  ])('%s', (source, texts) => {
    expect(requiredTexts(source)).toEqual(texts);
  });

  test('never demand what a match does not contain', { timeout: 60_000 }, () => {
    const atom = fc.constantFrom(
      'a',
      'B',
      'abc',
      '\\.',
      '.',
      '[ab]',
      '(ab|c)',
      '(?:ab)',
      '\\d',
      ': ',
      '\\w',
      'x-y',
      '^',
      '|',
      '\\x41',
      '{x',
      '}',
    );
    const quantifier = fc.constantFrom('', '', '', '*', '+', '?', '{0,2}', '{2}', '*?', '+?');
    const expression = fc
      .array(fc.tuple(atom, quantifier), { minLength: 1, maxLength: 6 })
      .map((parts) => parts.map(([one, many]) => (one === '^' || one === '|' ? one : one + many)).join(''));
    const sample = fc.stringMatching(/^[abcABCxy.:0-9 -]{0,24}$/);
    fc.assert(
      fc.property(
        expression,
        fc.boolean(),
        sample,
        fc.array(sample, { maxLength: 3 }),
        (source, isCaseless, a, more) => {
          const pattern = RE2JS.compile(isCaseless ? `(?i)${source}` : source);
          for (const text of [a, ...more, source.replaceAll(/[\\()[\]|?*+{}^]/g, '')]) {
            if (!pattern.test(text)) continue;
            for (const required of requiredTexts(source)) expect(text.toLowerCase()).toContain(required);
          }
        },
      ),
      { numRuns: 2_000 },
    );
  });
});

describe('the beginning of a name', () => {
  test.each([
    ['(?i)^X-.*: [a-e]', 'x-'],
    ['^x-user: alice$', 'x-user'],
    ['^(?i)x', ''],
    ['(?i)(?s)^ab+c', 'ab'],
    ['^abc?d', 'ab'],
    ['^abc*', 'ab'],
    ['^abc{0}', 'ab'],
    ['^abc|def', ''],
    ['^ab\\x41|d', ''],
    ['(^abc)', ''],
    ['x-user', ''],
  ])('of what %s matches', (source, prefix) => {
    expect(requiredPrefix(source)).toBe(prefix);
  });
});
