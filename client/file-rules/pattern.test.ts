// biome-ignore-all lint/suspicious/noTemplateCurlyInString: replacements are written so
import { expect, test } from 'vitest';
import { RuleOp } from '#proto/wire.ts';
import { literalsOf } from './literals.ts';
import { compilePattern, type Pattern } from './pattern.ts';
import { replaceMatch } from './replacement.ts';

function compile(text: string): Pattern {
  const result = compilePattern(text);
  if ('bad' in result) throw new Error(`${text} ${result.bad}`);
  return result.ok;
}

test.each([
  ['abc', 'xABCx', true],
  ['(?-i)abc', 'ABC', false],
  ['(?i)abc', 'ABC', true],
  ['(?i:a)b', 'AB', true],
  ['^/a.b$', '/a\nb', true],
  ['\\.TXT$', '/x.txt', true],
  ['(?P<name>a)(?P<b>c)', 'ac', true],
  ['(?P<x>a)\\k<x>', 'aa', true],
  ['(a)\\1', 'aa', true],
  ['(a)\\10', 'aa0', false],
  ['\\x41\\x{42}\\u{43}', 'abc', true],
  ['\\Aabc\\z', 'abc', true],
  ['[[:alpha:]]+$', '/1', false],
  ['^[[:digit:]_]+$', '1_2', true],
  ['[]a]', ']', true],
  ['[^]a]', ']a', false],
  ['[a^]', '^', true],
  ['[a-]', '-', true],
  ['[.]', 'x', false],
  ['\\p{Lu}', 'É', true],
  ['(?-i)\\p{Lu}', 'é', false],
  ['\\PL', '1', true],
  ['a{2,3}$', 'a', false],
  ['^/x(?!/y)', '/x/y', false],
  ['(?<=/)y', '/y', true],
  ['a|b', 'b', true],
  ['a+?b', 'aab', true],
  ['\\d\\D\\w\\W\\s\\S', '1aa- x', true],
  ['a\\/b\\-c', 'a/b-c', true],
  ['a{b', 'a{b', true],
  ['(?s)a.b', 'a\nb', true],
  ['(?m)^b', 'a\nb', true],
  ['', 'anything', true],
])('%s on %j: %s', (pattern, text, expected) => {
  expect(compile(pattern).regex.test(text)).toBe(expected);
});

test.each([
  ['(', 'a group without a closing parenthesis'],
  ['a)', 'a closing parenthesis too many'],
  ['[a', 'a class without a closing bracket'],
  ['*a', '* with nothing to repeat'],
  ['a**', 'repeats a repetition'],
  ['a++', 'the possessive ++, which is not supported; use +'],
  ['(?>a)', 'the group (?>a…, which is not supported'],
  ['a(?x)b', 'flags are supported at the beginning only'],
  ['(?x)a b', 'the inline flag (?x), which is not supported'],
  ['a(?-i:b)', 'flags are supported at the beginning only'],
  ['[a[bc]]', 'a class inside a class'],
  ['[a&&b]', '&& inside a class'],
  ['[[:nope:]]', '[[:nope:], which is no class'],
  ['[z-a]', 'is no regular expression'],
  ['\\y', '\\y, which is not supported'],
  ['a\\', 'ends with a backslash'],
  ['(?P<1>a)', 'a group whose name'],
  ['\\x{110000}', 'which is no character'],
  [`${'('.repeat(99)}${')'.repeat(99)}`, 'nested deeper than 50'],
  ['a'.repeat(5000), 'longer than 4096'],
])('%s is refused: it %s', (pattern, reason) => {
  const result = compilePattern(pattern);
  expect('bad' in result ? result.bad : 'accepted').toContain(reason.replace('[[:nope:]', '[:nope:]'));
});

const { ALWAYS, EXACT, DIR, PREFIX, SUFFIX, CONTAINS } = RuleOp;

test.each([
  ['^/a/b$', [[EXACT, '/a/b']]],
  ['^/a/b(/.*)?$', [[DIR, '/a/b']]],
  ['^/a/b(/|$)', [[DIR, '/a/b']]],
  ['^/a/b/.*$', [[PREFIX, '/a/b/']]],
  ['^/a', [[PREFIX, '/a']]],
  ['\\.txt$', [[SUFFIX, '.txt']]],
  ['^.*\\.txt$', [[SUFFIX, '.txt']]],
  ['[.]txt$', [[SUFFIX, '.txt']]],
  ['/a', [[CONTAINS, '/a']]],
  ['.*/a.*', [[CONTAINS, '/a']]],
  [
    '^/(a|b)$',
    [
      [EXACT, '/a'],
      [EXACT, '/b'],
    ],
  ],
  [
    '^/a$|\\.b$',
    [
      [EXACT, '/a'],
      [SUFFIX, '.b'],
    ],
  ],
  [
    '\\.ya?ml$',
    [
      [SUFFIX, '.yaml'],
      [SUFFIX, '.yml'],
    ],
  ],
  ['', [[ALWAYS, '']]],
  ['.*', [[ALWAYS, '']]],
  ['^', [[ALWAYS, '']]],
] as const)('%s is said exactly by literals', (pattern, expected) => {
  const literals = literalsOf(compile(pattern));
  expect(literals.every(({ isExact }) => isExact)).toBe(true);
  expect(literals.map(({ op, text }) => [op, text])).toEqual(expected);
});

test.each([
  ['^/a/.*\\.txt$', [PREFIX, '/a/']],
  ['^/a/[^/]+$', [PREFIX, '/a/']],
  ['[0-9]+\\.log$', [SUFFIX, '.log']],
  ['x\\d+/longer\\d', [CONTAINS, '/longer']],
  ['\\d', [ALWAYS, '']],
  ['(?m)^a$', [CONTAINS, 'a']],
  ['É', [ALWAYS, '']],
  ['\\p{L}/skip', [CONTAINS, 'ip']],
  ['(a|b)(c|d)(e|f)(g|h)(i|j)(k|l)', [ALWAYS, '']],
] as const)('%s needs the client, but only where its condition holds', (pattern, [op, text]) => {
  expect(literalsOf(compile(pattern))).toEqual([{ op, text, isExact: false }]);
});

test.each([
  ['^/a/(.*)$', '/a/x', '/b/$1', '/b/x'],
  ['^/a/(?P<rest>.*)$', '/a/x', '/b/${rest}y', '/b/xy'],
  ['a', 'aa', 'b', 'ba'],
  ['a(b)?', 'ac', '<$1>', '<>c'],
  ['(a)', 'a', '$1a', ''],
  ['(a)', 'a', '${1}a$$', 'aa$'],
  ['(a)', 'a', '$9$name${constructor}', ''],
  ['a', 'b', 'c', null],
])('%s on %s with %s gives %s', (pattern, text, replacement, expected) => {
  expect(replaceMatch(compile(pattern).regex, text, replacement)).toBe(expected);
});
