import { describe, expect, test } from 'vitest';
import { compileJsonPath } from './json-path.ts';
import { type Json, parseJson } from './json-value.ts';
import { WorkLimit, WorkLimitReached } from './work-limit.ts';

const find = (query: string, root: Json): readonly Json[] =>
  compileJsonPath(query, 'http_filter body query')(root, new WorkLimit());

const SHOP: Json = {
  store: {
    book: [
      { category: 'reference', title: 'A', price: 8.95 },
      { category: 'fiction', title: 'B', price: 12.99 },
      { category: 'fiction', title: 'C', isbn: '0-553', price: 8.99 },
      { category: 'fiction', title: 'D', isbn: '0-395', price: 22.99 },
    ],
    bicycle: { color: 'red', price: 399 },
  },
};

describe('segments and selectors, by the examples of RFC 9535', () => {
  const array: Json = { o: { j: 1, k: 2 }, a: [5, 3] };
  const names: Json = { o: { 'j j': { 'k.k': 3 } }, "'": { '@': 2 } };
  const letters: Json = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
  const deep: Json = { o: { j: 1, k: 2 }, a: [5, 3, [{ j: 4 }, { k: 6 }]] };

  test.each<[string, Json, Json]>([
    ['$', { k: 'v' }, [{ k: 'v' }]],
    ["$.o['j j']", names, [{ 'k.k': 3 }]],
    ["$.o['j j']['k.k']", names, [3]],
    ['$.o["j j"]["k.k"]', names, [3]],
    ['$["\'"]["@"]', names, [2]],
    ['$[*]', array, [{ j: 1, k: 2 }, [5, 3]]],
    ['$.o[*, *]', array, [1, 2, 1, 2]],
    ['$.a[*]', array, [5, 3]],
    ['$[1]', letters, ['b']],
    ['$[-2]', letters, ['f']],
    ['$[7]', letters, []],
    ['$[1:3]', letters, ['b', 'c']],
    ['$[5:]', letters, ['f', 'g']],
    ['$[1:5:2]', letters, ['b', 'd']],
    ['$[5:1:-2]', letters, ['f', 'd']],
    ['$[::-1]', letters, ['g', 'f', 'e', 'd', 'c', 'b', 'a']],
    ['$[0:3:0]', letters, []],
    ['$[0, 3]', letters, ['a', 'd']],
    ['$[0:2, 5]', letters, ['a', 'b', 'f']],
    ['$[0, 0]', letters, ['a', 'a']],
    ['$..j', deep, [1, 4]],
    ['$..[0]', deep, [5, { j: 4 }]],
    ['$.o..[*, *]', deep, [1, 2, 1, 2]],
    ['$.a..[0, 1]', deep, [5, 3, { j: 4 }, { k: 6 }]],
    ['$.store.book[*].title', SHOP, ['A', 'B', 'C', 'D']],
    ['$..book[?@.isbn].title', SHOP, ['C', 'D']],
    ['$..book[?@.price<10].title', SHOP, ['A', 'C']],
    ['$ .store\n.bicycle .color', SHOP, ['red']],
    ['$.\u00fc\u{1f600}', { '\u00fc\u{1f600}': 1 }, [1]],
    ['$["\\u263a\\ud83d\\ude00"]', { '\u263a\u{1f600}': 1 }, [1]],
    ['$.__proto__', {}, []],
    ['$.constructor', {}, []],
  ])('%s', (query, root, results) => {
    expect(find(query, root)).toEqual(results);
  });
});

describe('filters, by the examples of RFC 9535', () => {
  const root = {
    a: [3, 5, 1, 2, 4, 6, { b: 'j' }, { b: 'k' }, { b: {} }, { b: 'kilo' }],
    o: { p: 1, q: 2, r: 3, s: 5, t: { u: 6 } },
    e: 'f',
  };

  test.each<[string, Json]>([
    ['$.a[?@.b == "kilo"]', [{ b: 'kilo' }]],
    ['$.a[?(@.b == "kilo")]', [{ b: 'kilo' }]],
    ['$.a[?@>3.5]', [5, 4, 6]],
    ['$.a[?@.b]', [{ b: 'j' }, { b: 'k' }, { b: {} }, { b: 'kilo' }]],
    ['$[?@.*]', [root.a, root.o]],
    ['$[?@[?@.b]]', [root.a]],
    ['$.a[?@<2 || @.b == "k"]', [1, { b: 'k' }]],
    ['$.a[?match(@.b, "[jk]")]', [{ b: 'j' }, { b: 'k' }]],
    ['$.a[?search(@.b, "[jk]")]', [{ b: 'j' }, { b: 'k' }, { b: 'kilo' }]],
    ['$.o[?@>1 && @<4]', [2, 3]],
    ['$.o[?@.u || @.x]', [{ u: 6 }]],
    ['$.a[?@.b == $.x]', [3, 5, 1, 2, 4, 6]],
    ['$.a[?@ == @]', root.a],
    ['$.a[?!@.b && @ >= 5]', [5, 6]],
    ['$.a[?length(@.b) == 4]', [{ b: 'kilo' }]],
    ['$[?count(@.*) > 5]', [root.a]],
    ['$[?value(@..u) == 6]', [root.o]],
    ['$[?typeof(@) == "string"]', ['f']],
    ['$.a[?typeof(@.b) == "nothing" && @ < 2]', [1]],
    ["$.a[?typeof(@.b) == 'object']", [{ b: {} }]],
    ['$.o[?@ == -1e0 || @ == 1.0]', [1]],
    ['$.a[?@ != 3 && @ < 3]', [1, 2]],
    ['$.a[?match(@.b, "k.lo")]', [{ b: 'kilo' }]],
  ])('%s', (query, results) => {
    expect(find(query, root)).toEqual(results);
  });

  test('values of all kinds are compared as the RFC has it', () => {
    const values: Json = { obj: { x: 'y' }, arr: [2, 3] };
    const holds = (condition: string): boolean => find(`$[?${condition}]`, [values]).length === 1;
    for (const yes of [
      '@.absent1 == @.absent2',
      '@.absent1 <= @.absent2',
      '@.absent != "g"',
      '1 <= 2',
      '"a" <= "b"',
      '@.obj == @.obj',
      '@.obj != @.arr',
      '@.arr == @.arr',
      '@.arr <= @.arr',
      'true == true',
      '1 != "1"',
    ])
      expect(holds(yes), yes).toBe(true);
    for (const no of [
      '@.absent == "g"',
      '@.absent1 != @.absent2',
      '1 > 2',
      '13 == "13"',
      '@.obj == @.arr',
      '@.arr < @.arr',
      '1 <= @.arr',
      'true <= false',
      '"\\ud83d\\ude00" < "\\uffee"',
    ])
      expect(holds(no), no).toBe(false);
  });
});

describe('what is no JSONPath is refused with the part and its place', () => {
  test.each([
    ['store', /a JSONPath begins with \$ \(character 1\)/],
    ['$.', /a name or \* is missing \(character 3\)/],
    ['$.a b', /" " is not expected here/],
    ['$[01]', /01 is written in no way/],
    ['$[-0]', /-0 is written/],
    ['$[9007199254740992]', /beyond what JSON numbers hold/],
    ['$["a]', /a text has no end/],
    ['$["\\x"]', /\\x is no escape/],
    ['$["\\ud800"]', /half of a surrogate pair/],
    ['$[?1]', /compared with nothing/],
    ['$[?@..a == 1]', /may have several results/],
    ['$[?match(@.a, @.b)]', /a pattern that is no literal is not offered/],
    ['$[?match(@.a, "(")]', /in the pattern "\(": a group has no end \(character 16\)/],
    ['$[?foo(@)]', /there is no function foo; there are length, count/],
    ['$[?length(@) ]', /compared with nothing/],
    ['$[?count(1) == 1]', /wants a query/],
    ['$[?match(@.a, "a") == true]', /true or false and no value/],
    ['$[?@.a == 1', /"]" is missing/],
    [`$${'[?@'.repeat(100)}`, /nested deeper than 64/],
    [`$.${'a'.repeat(5_000)}`, /longer than 4096/],
  ])('%s', (query, message) => {
    expect(() => find(query, null)).toThrow(message);
  });
});

test('a query that would take for ever takes no time', () => {
  const list: Json = Array.from({ length: 5_000 }, (_, index) => [index]);
  expect(() => find('$..[?@..[?$..[?@ == 1]]]', list)).toThrow(WorkLimitReached);
  expect(() => find('$[?$[?$[?@ == 1]]]', list)).toThrow(WorkLimitReached);
});

describe('a body', () => {
  test.each<[string, string | Buffer, Json | undefined]>([
    ['of JSON', '{"a": [1, "\\u00fc"]}', { a: [1, 'ü'] }],
    ['of something else', 'a=b', undefined],
    ['that is empty', '', undefined],
    ['that is no UTF-8', Buffer.from([0x22, 0xff, 0x22]), undefined],
    ['that is nested too deep', '['.repeat(30_000) + ']'.repeat(30_000), undefined],
    ['with brackets in its texts', JSON.stringify('['.repeat(1_000)), '['.repeat(1_000)],
  ])('%s', (_, text, json) => {
    expect(parseJson(Buffer.from(text as string))).toEqual(json);
  });
});
