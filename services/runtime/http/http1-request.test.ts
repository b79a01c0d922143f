import { describe, expect, test } from 'vitest';
import { compileHttpFilter, pathAndQuery } from '#http-filter/http-filter.ts';
import type { HttpFilter } from '#proto/gen/v1/incoming.ts';
import { Http1Request } from './http1-request.ts';
import { type RequestHead, readRequestHead } from './message-head.ts';

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

test('a filter without a condition is refused', () => {
  expect(() => isWanted({ conditions: [] }, get('/'))).toThrow(/has 0 conditions/);
});

test('a pattern that ruins a backtracking engine takes no time', () => {
  const filter = compileHttpFilter(filterOf({ conditions: [{ header: '(a+)+$' }] }));
  const request = new Http1Request(headOf(get('/', `x: ${'a'.repeat(30_000)}!\r\n`)));
  // A backtracking engine would need 2^30,000 steps: that this ends at all is the assertion.
  expect(filter.matches(request)).toBe(false);
});
