import { describe, expect, test } from 'vitest';
import type { HttpCondition } from '#proto/gen/v1/incoming.ts';
import { requestPrefixes } from './prefilter.ts';

const path = (value: string): HttpCondition => ({ condition: { $case: 'path', value } });
const method = (value: string): HttpCondition => ({ condition: { $case: 'method', value } });
const header = (value: string): HttpCondition => ({ condition: { $case: 'header', value } });
const prefixes = (isAny: boolean, ...conditions: HttpCondition[]) => requestPrefixes({ conditions, isAny });

describe('what the kernel may look for', () => {
  test.each([
    ['^/orders', [' /orders']],
    ['^/orders/[0-9]+$', [' /orders/']],
    ['^/v1\\.2/x', [' /v1.2/x']],
    ['^/ordersx?', [' /orders']],
    ['^/ordersx*y', [' /orders']],
    ['^/a{0}', [' /']],
    ['^/x\\.?', [' /x']],
    [`^/${'long'.repeat(20)}`, [` /${'long'.repeat(20)}`.slice(0, 32)]],
  ])('%s begins with something certain', (source, wanted) => {
    expect(prefixes(false, path(source))).toEqual(wanted);
  });

  test.each(['/orders', 'orders$', '^/a|/b', '(?i)^/orders', '^(/a)', '^.*', '^[/]a', '^', '^orders', '^/?x'])(
    '%s begins with nothing certain',
    (source) => {
      expect(prefixes(false, path(source))).toEqual([]);
    },
  );

  test('a method is a prefix, a header is none', () => {
    expect(prefixes(false, method('get'))).toEqual(['GET ']);
    expect(prefixes(false, header('x: y'))).toEqual([]);
  });

  test('of conditions that must all match the longest is enough', () => {
    expect(prefixes(false, header('x: y'), method('GET'), path('^/orders'))).toEqual([' /orders']);
  });

  test('of conditions of which one is enough each must have its prefix', () => {
    expect(prefixes(true, method('GET'), path('^/orders'))).toEqual(['GET ', ' /orders']);
    expect(prefixes(true, method('GET'), header('x: y'))).toEqual([]);
  });

  test('no filter, no prefix', () => {
    expect(requestPrefixes(undefined)).toEqual([]);
  });
});
