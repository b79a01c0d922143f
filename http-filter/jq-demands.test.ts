import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compileJq } from './jq.ts';
import { parametersOf } from './query-parameters.ts';
import { WorkLimit } from './work-limit.ts';

test.each([
  ['startswith("X-User: Alice")', ['x-user', 'alice']],
  ['test("^x-tenant: (acme|b)$"; "i")', ['x-tenant']],
  ['. == "x-user: bob" and contains("user")', ['x-user', 'bob', 'user']],
  ['.user == "alice"', ['alice']],
  ['.user | . == "alice"', ['alice']],
  ['has("user")', ['user']],
  ['startswith("alice") or endswith("bob")', []],
  ['startswith("alice") | not', []],
  ['.user | startswith("alice") | not', []],
  ['startswith("alice") == false', []],
  ['.user != "alice"', []],
  ['.user == "alice" // true', []],
  ['ascii_downcase == "alice"', []],
  ['.user.name == "alice"', []],
  ['startswith("alice", "bob")', []],
  ['if startswith("alice") then false else true end', []],
])('%s demands %j', (program, texts) => {
  expect(compileJq(program, 'here').demanded).toEqual(texts);
});

test('what a program demands is in each input of which it says true', () => {
  const text = fc.constantFrom('"abc"', '"ABC"', '"bca"', '"a: bc"', '"abc d"', '"user"');
  const single = fc.oneof(
    fc
      .tuple(fc.constantFrom('startswith', 'endswith', 'contains', 'test', 'has'), text)
      .map(([name, argument]) => `${name}(${argument})`),
    fc
      .tuple(fc.constantFrom('.', '.user', '.["user"]', '.b?'), fc.constantFrom('==', '!=', '<'), text)
      .map((parts) => parts.join(' ')),
    fc.constantFrom('test("ab.|c"; "i")', 'length > 3', 'true', 'not', '.user', 'ascii_downcase', 'tostring', 'empty'),
  );
  const program = fc
    .array(fc.tuple(single, fc.constantFrom(' and ', ' or ', ' | ', ' == ', ', ', ' // ')), {
      minLength: 1,
      maxLength: 4,
    })
    .map((parts) => parts.flatMap(([one, between], nth) => (nth === 0 ? [one] : [between, one])).join(''));
  const word = fc.constantFrom('abc', 'ABC', 'bca', 'a: bc', 'abc d', 'user', ' ', '=', '&', 'b', '%61bc', '+');
  const input = fc.array(word, { maxLength: 4 }).map((words) => words.join(''));
  const counts = { demanding: 0, ofQueries: 0 };
  fc.assert(
    fc.property(program, input, input, (source, value, other) => {
      let compiled: ReturnType<typeof compileJq>;
      try {
        compiled = compileJq(source, 'here');
      } catch {
        // Two comparisons in a row are no program.
        return;
      }
      const { demanded, firstBoolean } = compiled;
      if (firstBoolean(value, new WorkLimit()) === true && demanded.length > 0) {
        counts.demanding++;
        for (const one of demanded) expect(value.toLowerCase()).toContain(one);
      }
      const target = `/?user=${value}&${other}`;
      if (firstBoolean(parametersOf(target), new WorkLimit()) !== true || demanded.length === 0) return;
      counts.ofQueries++;
      const parts = demanded.flatMap((one) => one.split(/[ +]/));
      expect(parts.every((one) => target.toLowerCase().includes(one)) || target.includes('%')).toBe(true);
    }),
    { numRuns: 20_000 },
  );
  for (const count of Object.values(counts)) expect(count).toBeGreaterThan(50);
});
