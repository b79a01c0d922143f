import fc from 'fast-check';
import { expect, test } from 'vitest';
import { AppError } from '#proto/errors.ts';
import { compilePattern, MAX_PATTERN_LENGTH } from './pattern.ts';

function messageOf(source: string): string {
  try {
    compilePattern(source, 'header_filter');
  } catch (error) {
    return AppError.from(error, 'BUG').message;
  }
  throw new Error(`${source} was accepted`);
}

/** What the carets stand below. */
function markedIn(message: string): string {
  const [, line = '', carets = ''] = message.split('\n');
  return line.slice(carets.indexOf('^'), carets.lastIndexOf('^') + 1);
}

test.each([
  ['(?=a)b', '(?=', 'look-ahead', 'all_of'],
  ['ab(?!b)', '(?!', 'negative look-ahead', '| not'],
  ['a(?<!b)', '(?<!', 'look-behind', 'as a part of the pattern'],
  ['a(?<=b)', '(?<=', 'look-behind', 'as a part of the pattern'],
  ['(a)\\1', '\\1', 'a backreference', 'write out the text'],
  ['(?P<x>a)\\k<x>', '\\k<', 'a backreference', 'write out the text'],
  ['a++', '++', 'a possessive quantifier', 'second +'],
  ['a{2}+', '{2}+', 'a possessive quantifier', 'second +'],
  ['x(?>a)', '(?>', 'an atomic group', '(?:'],
  ['x(a', '(', 'a group has no end', '\\('],
  ['\\(?=(a', '(', 'a group has no end', '\\('],
  ['[(](a', '(', 'a group has no end', '\\('],
  ['(a)b)', ')', 'a group ends that did not begin', '\\)'],
  ['x[ab', '[ab', 'a class has no end', '\\['],
  ['\\*|*', '*', 'nothing stands before the repetition', '.*'],
  ['a**', '**', 'a repetition is repeated', '(?:a*)*'],
  ['a{1001}', '{1001}', 'this repetition is too large', '1000'],
  ['[z-a]', 'z-a', 'no such range', 'lower one'],
  ['\\\\\\y', '\\y', 'there is no such escape', '\\\\'],
  ['ab\\', '\\', 'a backslash stands before nothing', '\\\\'],
  ['(?#c)', '(?#', 'there is no such group', '(?:'],
  ['(?<n>a)(?<n>b)', 'n', 'two groups have this name', 'leave the names out'],
])('%s is refused with %s marked', (source, part, why, instead) => {
  const message = messageOf(source);
  expect(markedIn(message)).toBe(part);
  expect(message).toMatch(/^header_filter: /);
  expect(message.split('\n')[0]).toContain(why);
  expect(message.split('\n').at(-1)).toMatch(/^ {2}instead: /);
  expect(message.split('\n').at(-1)).toContain(instead);
});

test('a long pattern is shown around its fault, on one line', () => {
  const message = messageOf(`${'a\n'.repeat(500)}(?=b)${'c'.repeat(500)}`);
  expect(message).toContain('(character 1001)');
  expect(markedIn(message)).toBe('(?=');
  expect(message.split('\n')).toHaveLength(4);
  for (const line of message.split('\n').slice(1, 3)) expect(line.length).toBeLessThan(90);
});

test('an empty pattern and one that is too long are refused', () => {
  expect(messageOf('')).toMatch(/empty/);
  expect(messageOf('a'.repeat(MAX_PATTERN_LENGTH + 1))).toMatch(/longer than 4096/);
});

test('whatever the pattern, the mark stands on a part of it', () => {
  const piece = fc.constantFrom(
    'a',
    '(',
    ')',
    '[',
    ']',
    '*',
    '+',
    '?',
    '\\',
    '(?=',
    '(?<!',
    '{2}',
    '|',
    '-',
    '\\1',
    '^',
  );
  const patterns = fc.array(piece, { minLength: 1, maxLength: 8 }).map((pieces) => pieces.join(''));
  fc.assert(
    fc.property(patterns, (source) => {
      let message: string;
      try {
        compilePattern(source, 'header_filter');
        return;
      } catch (error) {
        expect(error).toBeInstanceOf(AppError);
        message = (error as AppError).message;
      }
      expect(markedIn(message)).not.toBe('');
      expect(source).toContain(markedIn(message));
    }),
    { numRuns: 1_000 },
  );
});

test('ignoring case changes nothing about whether a pattern can be', () => {
  const piece = fc.constantFrom('a', '(', ')', '[', ']', '*', '?', '\\', '{2}', '|', '(?:', '(?-i)', '$');
  const isPattern = (source: string): boolean => {
    try {
      compilePattern(source, 'x');
      return true;
    } catch {
      return false;
    }
  };
  fc.assert(
    fc.property(fc.array(piece, { minLength: 1, maxLength: 8 }), (pieces) => {
      expect(isPattern(`(?i)${pieces.join('')}`)).toBe(isPattern(pieces.join('')));
    }),
    { numRuns: 1_000 },
  );
});
