import fc from 'fast-check';
import { RE2JS } from 're2js';
import { describe, expect, test } from 'vitest';
import type { HttpFilter } from '#proto/gen/v1/incoming.ts';
import { type RequestHead, readRequestHead } from '#runtime/http/message-head.ts';
import { compileHttpFilter, pathAndQuery } from './http-filter.ts';
import { Http1Request } from './http1-request.ts';
import { MAX_PATTERN_LENGTH } from './pattern.ts';
import { requiredTexts } from './required-text.ts';

function headOf(text: string): RequestHead {
  const bytes = Buffer.from(text, 'latin1');
  const head = readRequestHead(bytes, 0, bytes.length);
  if (typeof head === 'string') throw new Error(`${head}: ${text}`);
  return head;
}

type Short = Readonly<{ conditions: ReadonlyArray<Record<string, string>>; isAny?: boolean }>;

const filterOf = ({ conditions, isAny = false }: Short): HttpFilter => ({
  isAny,
  conditions: conditions.map((one) => {
    const [$case = '', value = ''] = Object.entries(one)[0] ?? [];
    return { condition: { $case, value } as HttpFilter['conditions'][number]['condition'] };
  }),
});

const isWanted = (filter: Short, text: string): boolean =>
  compileHttpFilter(filterOf(filter)).matches(new Http1Request(headOf(text)));

const get = (target: string, fields = '') => `GET ${target} HTTP/1.1\r\nHost: shop\r\n${fields}\r\n`;

describe('header', () => {
  const filter = { conditions: [{ header: '(?i)x-user: alice' }] };

  test('matches one header as `name: value`, the name in any case and with any space around the value', () => {
    expect(isWanted(filter, get('/', 'X-User: Alice\r\n'))).toBe(true);
    expect(isWanted(filter, get('/', 'x-USER:alice\r\n'))).toBe(true);
    expect(isWanted(filter, get('/', 'X-User:\t alice \r\n'))).toBe(true);
    expect(isWanted(filter, get('/', 'X-User: bob\r\n'))).toBe(false);
    expect(isWanted(filter, get('/x-user:%20alice'))).toBe(false);
  });

  test('does not match across two headers', () => {
    expect(isWanted({ conditions: [{ header: 'a: 1.*b: 2' }] }, get('/', 'a: 1\r\nb: 2\r\n'))).toBe(false);
  });

  test('is case-sensitive only when the client did not ask otherwise', () => {
    expect(isWanted({ conditions: [{ header: 'x-user: alice' }] }, get('/', 'X-User: Alice\r\n'))).toBe(false);
  });

  test('a value that is no visible ASCII matches nothing', () => {
    expect(isWanted({ conditions: [{ header: '^x-user: ' }] }, get('/', 'X-User: \u00fc\r\n'))).toBe(false);
  });
});

describe('path', () => {
  test('the path alone may match, and so may path with query', () => {
    expect(isWanted({ conditions: [{ path: '^/cart$' }] }, get('/cart?id=1'))).toBe(true);
    expect(isWanted({ conditions: [{ path: 'id=1$' }] }, get('/cart?id=1'))).toBe(true);
    expect(isWanted({ conditions: [{ path: '^/cart$' }] }, get('/cart/1'))).toBe(false);
  });

  test('of an absolute form it is what follows the authority', () => {
    expect(pathAndQuery('http://shop:80/cart?id=1')).toBe('/cart?id=1');
    expect(pathAndQuery('http://shop?id=1')).toBe('/?id=1');
    expect(pathAndQuery('http://shop')).toBe('/');
    expect(pathAndQuery('*')).toBe('*');
    expect(isWanted({ conditions: [{ path: '^/cart$' }] }, get('http://shop/cart'))).toBe(true);
  });
});

test('a method is equal in any case, and is no pattern', () => {
  expect(isWanted({ conditions: [{ method: 'get' }] }, get('/'))).toBe(true);
  expect(isWanted({ conditions: [{ method: 'GE' }] }, get('/'))).toBe(false);
  expect(() => isWanted({ conditions: [{ method: 'GE.' }] }, get('/'))).not.toThrow();
  expect(() => isWanted({ conditions: [{ method: 'a b' }] }, get('/'))).toThrow(/"a b" is no name of a method/);
});

test('all must match, or any when it says so', () => {
  const conditions = [{ method: 'GET' }, { path: '^/a' }];
  expect(isWanted({ conditions }, get('/b'))).toBe(false);
  expect(isWanted({ conditions }, get('/a'))).toBe(true);
  expect(isWanted({ conditions, isAny: true }, get('/b'))).toBe(true);
});

describe('a filter that cannot be is refused when it is made', () => {
  test.each([
    ['(?=a)b', /look-around \("\(\?=" at character 1\)/],
    ['a(?<!b)', /look-around \("\(\?<!" at character 2\)/],
    ['(a)\\1', /a backreference \("\\\\1" at character 4\)/],
    ['a++', /possessive/],
    ['(a', /is no regular expression: "\(a"/],
    ['', /empty/],
    ['a'.repeat(MAX_PATTERN_LENGTH + 1), /longer than 4096/],
  ])('%s', (header, message) => {
    expect(() => isWanted({ conditions: [{ header }] }, get('/'))).toThrow(message);
  });

  test('no condition', () => {
    expect(() => isWanted({ conditions: [] }, get('/'))).toThrow(/has 0 conditions/);
  });
});

test('a pattern that ruins a backtracking engine takes no time', () => {
  const filter = compileHttpFilter(filterOf({ conditions: [{ header: '(a+)+$' }] }));
  const request = new Http1Request(headOf(get('/', `x: ${'a'.repeat(30_000)}!\r\n`)));
  // A backtracking engine would need 2^30,000 steps: that this ends at all is the assertion.
  expect(filter.matches(request)).toBe(false);
});

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
    );
    const quantifier = fc.constantFrom('', '', '', '*', '+', '?', '{0,2}', '{2}', '*?', '+?');
    const expression = fc
      .array(fc.tuple(atom, quantifier), { minLength: 1, maxLength: 6 })
      .map((parts) => parts.map(([one, many]) => (one === '^' ? one : one + many)).join(''));
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
