import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseDotenv } from './dotenv.ts';

// biome-ignore-start lint/suspicious/noTemplateCurlyInString: references are written so
test.each([
  ['A=1', { A: '1' }],
  ['A = 1 ', { A: '1' }],
  ['export A=1', { A: '1' }],
  ['  A=', { A: '' }],
  ['A=1\r\nB=2\r\n', { A: '1', B: '2' }],
  ['\uFEFFA=1', { A: '1' }],
  ['# comment\n\n  # another\nA=1 # after\n', { A: '1' }],
  ['A=#none', { A: '' }],
  ['A=b#c', { A: 'b#c' }],
  ['A=a=b', { A: 'a=b' }],
  ['A="b # c" # d', { A: 'b # c' }],
  ['A="x\\ny\\t\\"\\\\\\$"', { A: 'x\ny\t"\\$' }],
  ['A="line\nline"\nB=1', { A: 'line\nline', B: '1' }],
  ["A='$B \\n \"'", { A: '$B \\n "' }],
  ["A='line\nline'", { A: 'line\nline' }],
  ['A=1\nB=$A${A}x\nC="$A"', { A: '1', B: '11x', C: '1' }],
  ['A=$HOME', { A: '/home/u' }],
  ['A=$NONE-', { A: '-' }],
  ['A=1\nA=2', { A: '2' }],
  ['A.B-C=1', { 'A.B-C': '1' }],
  ['A=\\$x', { A: '$x' }],
  ['', {}],
])('%j', (text, expected) => {
  const result = parseDotenv(text, { HOME: '/home/u' });
  expect('ok' in result ? Object.fromEntries(result.ok) : result).toEqual(expected);
});
// biome-ignore-end lint/suspicious/noTemplateCurlyInString: references are written so

test.each([
  ['A=1\nB', 2, 'wants NAME=VALUE'],
  ['1A=1', 1, 'wants NAME=VALUE'],
  ['=1', 1, 'wants NAME=VALUE'],
  ['A=1\n\nB="x', 3, 'a closing quote is missing'],
  ["A='x", 1, 'a closing quote is missing'],
  ['A="x"y', 1, 'nothing but a comment may follow'],
])('%j is refused at line %d', (text, badLine, reason) => {
  expect(parseDotenv(text, {})).toMatchObject({ badLine, reason: expect.stringContaining(reason) });
});

test('any text ends in entries or a line', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom('A', '=', '"', "'", '\\', '\n', ' ', '#', '$', '{', '}') }),
      (text) => {
        const result = parseDotenv(text, {});
        if ('badLine' in result) expect(result.badLine).toBeLessThanOrEqual(text.split('\n').length);
      },
    ),
  );
});
