// The programs that we run, run by jq itself as well: same outputs, or an error in both.

import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { compileJq } from './jq.ts';
import { JqError } from './jq-value.ts';
import type { Json } from './json-value.ts';
import { WorkLimit, WorkLimitReached } from './work-limit.ts';

const PROGRAMS = [
  '.',
  '.a',
  '.a.b?',
  '."a"',
  '.["a"]?',
  '.[0]?',
  '.[-1]?',
  '.[1:3]?',
  '.[:2]?',
  '.[]?',
  '[.[]?]',
  '..',
  '[..]|length',
  'type',
  'length',
  'keys?',
  '.a? // "none"',
  'try .a catch "caught"',
  'try error("x") catch .',
  '[.[]? | numbers]',
  'if . == null then 1 elif type == "string" then 2 else 3 end',
  'if type == "number" then . + 1 else . end',
  '1, 2 | . * 10',
  '[(1, 2) + (10, 20)]',
  '[1 - 2 - 3, 2 * 3 + 4, 7 % 3, -7 % 3, 10 / 4, 2 + 3 * 4]',
  '{a: 1, "b": 2, ("c" + "d"): 3, type: type}',
  '{a: (1, 2), b: (3, 4)}',
  '. as $x | [$x, 1] | length',
  '[1, 2, 3] | map(. * 2) | add',
  '[3, 1, 2] | sort, min, max, reverse, unique',
  '[[1, [2]], 3] | flatten',
  '[null, true, false, 0, "a", [], {}] | sort',
  '[{"b": 1}, {"a": 2}, {"a": 1}] | sort',
  '"a,b,c" | split(",") | join("-")',
  '"x-user: alice" | test("ALICE"; "i"), test("^alice")',
  '"x-user: alice" | startswith("x-"), endswith("ice"), ltrimstr("x-"), rtrimstr("ice")',
  '"aXbX" | ascii_downcase, ascii_upcase, index("X"), rindex("X"), indices("X")',
  '"foobar" | contains("bar"), inside("a foobar b")',
  '{"a": [1, 2, {"b": 3}]} | contains({"a": [{"b": 3}]})',
  '["a", "b"] | contains(["b"]), index("b"), has(0), has(2)',
  '{"a": 1} | has("a"), has("b"), to_entries',
  '{"a": 1} | with_entries({key: .key, value: (.value + 1)})',
  '[{"name": "x", "value": 1}, {"key": "y", "value": 2}] | from_entries',
  '"\\(1 + 2) is \\("three")"',
  '[1, null, 2] | map(values)',
  '[.[]? | select(. != null)]',
  '[true, false] | any, all',
  '[1, 2] | any(. > 1), all(. > 1)',
  'any(1, 2; . == 2), all(empty; false)',
  'first(1, 2), ([1, 2] | first, last)',
  '"12" | tonumber, tostring, tojson',
  '"[1,{\\"a\\":2}]" | fromjson',
  '"not json" | fromjson?',
  '[1.5, -1.5] | map(floor), map(ceil), map(round)',
  '"aé😀" | length, utf8bytelength, explode, .[1:2]',
  '"a b/c?d" | @uri, @base64, (@base64 | @base64d)',
  '{"a": 1} + {"b": 2}, {"a": {"b": 1}} * {"a": {"c": 2}}',
  '"ab" * 3, ("a,b" / ",")',
  '[1, 2, 3] - [2]',
  '1 as $a | 2 as $b | $a + $b',
  '1 + . as $x | 5',
  'not, (1 | not)',
  'true and (true, false), false or (true, false)',
  '(.a, .b)?',
  '.a?.b?',
  '[.a?, 1][1]',
  'null + 1, 1 + null',
  'empty',
  '"a" < "b", [1] < [1, 0], {} < []',
  '1 == 1.0, "1" == 1, {"a": 1, "b": 2} == {"b": 2, "a": 1}',
];

const INPUTS: readonly Json[] = [null, 1, 'x-user: alice', [1, null, 'b'], { a: { b: 2 }, b: [] }];

/** All programs in one run of jq, each of them caught. */
function byJq(input: Json): Array<Json[] | 'error'> {
  const whole = PROGRAMS.map((program) => `(try [$input | (${program})] catch "error")`).join(',\n');
  const { stdout, stderr } = spawnSync('jq', ['-c', `. as $input | ${whole}`], {
    input: JSON.stringify(input),
    encoding: 'utf8',
  });
  expect(stderr).toBe('');
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Json[] | 'error');
}

function byUs(program: string, input: Json): Json[] | 'error' {
  try {
    return compileJq(program, 'http_filter header_filter_jq').outputs(input, new WorkLimit());
  } catch (error) {
    if (error instanceof JqError) return 'error';
    throw error;
  }
}

test.each(INPUTS.map((input) => [JSON.stringify(input), input] as const))(
  '%s: each program has the outputs that jq gives it',
  { timeout: 60_000 },
  (_, input) => {
    const expected = byJq(input);
    expect(PROGRAMS.map((program, index) => ({ program, outputs: byUs(program, input), at: index }))).toEqual(
      PROGRAMS.map((program, index) => ({ program, outputs: expected[index], at: index })),
    );
  },
);

describe('what is not offered is refused by name, and what is no jq as well', () => {
  test.each([
    ['def f: 1; f', /def is not offered \(character 1\)/],
    ['reduce .[] as $x (0; . + $x)', /reduce is not offered/],
    ['.a = 1', /assignment \(=\) is not offered/],
    ['.a |= 1', /assignment \(\|=\) is not offered/],
    ['. | range(10)', /range is not offered \(character 5\)/],
    ['$ENV.PATH', /\$ENV is not offered/],
    ['env', /env is not offered/],
    ['input', /input is not offered/],
    ['. as [$a] | $a', /taking values apart/],
    ['test($x)', /\$x is not defined/],
    ['. as $x | test($x)', /a pattern that is no plain text/],
    ['test("a"; "x")', /flags "x"/],
    ['test("(?=a)")', /in the pattern "\(\?=a\)": look-around is not offered.*\(character 7\)/],
    ['nonsense(1)', /there is no function nonsense with 1 argument/],
    ['.a |', /it ends too early/],
    ['(1', /"\)" is missing/],
    ['if . then 1', /end is missing/],
    ['"a', /a text has no end/],
    ['.a ]', /"]" is not expected here/],
    ['('.repeat(200), /nested deeper than 64/],
  ])('%s', (program, message) => {
    expect(() => compileJq(program, 'http_filter header_filter_jq')).toThrow(message);
  });
});

test.each([
  '[.[] | [.., ..] | [.., ..] | [.., ..] | [.., ..] | [.., ..] | [.., ..] | [.., ..] | [.., ..]]',
  '"a" * 1000000000',
  '. as $a | [$a[], $a[]] as $b | [$b[] | $b[] | $b[] | $b[]] | length',
  '[.[] + .[] + .[] + .[] + .[]] | length',
])('%s takes no more work than it may', (program) => {
  const input: Json = Array.from({ length: 40 }, (_, index) => index);
  const compiled = compileJq(program, 'http_filter header_filter_jq');
  expect(() => compiled.firstBoolean(input, new WorkLimit())).toThrow(WorkLimitReached);
});

test('the first output that is true or false decides', () => {
  const decide = (program: string, input: Json) =>
    compileJq(program, 'http_filter header_filter_jq').firstBoolean(input, new WorkLimit());
  expect(decide('1, "a", true, false', null)).toBe(true);
  expect(decide('startswith("x-user: ")', 'x-user: alice')).toBe(true);
  expect(decide('false, true', null)).toBe(false);
  expect(decide('1', null)).toBe(undefined);
  expect(decide('.a', 'text')).toBe(undefined);
  expect(decide('true, error("late")', null)).toBe(true);
});
