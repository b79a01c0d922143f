import { expect, test } from 'vitest';
import type { HttpCondition } from '#proto/gen/v1/incoming.ts';
import { compileHttpFilter } from './http-filter.ts';

type Condition = NonNullable<HttpCondition['condition']>;
const header = (value: string): Condition => ({ $case: 'header', value });
const path = (value: string): Condition => ({ $case: 'path', value });
const method = (value: string): Condition => ({ $case: 'method', value });
const query = (value: string): Condition => ({ $case: 'queryJq', value });
const body: Condition = { $case: 'jsonBody', value: { query: '$.a', matches: '.', maxBytes: 0, waitMs: 0 } };

function textsOf(conditions: Condition[], isAny = false): readonly string[] | null {
  return compileHttpFilter({ conditions: conditions.map((condition) => ({ condition })), isAny }).texts;
}

test('a request whose head has none of the texts of a filter is one that it cannot want', () => {
  expect(textsOf([header('^X-User: Alice$')])).toEqual(['alice']);
  expect(textsOf([path('^/api/orders')])).toEqual(['/api/orders']);
  expect(textsOf([method('Delete')])).toEqual(['delete']);
  expect(textsOf([{ $case: 'headerJq', value: 'startswith("X-User: ") and endswith(": Alice")' }])).toEqual(['alice']);
  // One that does not hold is enough, so the rarest is looked for; of those of which any may hold, all.
  expect(textsOf([method('POST'), path('^/api/orders'), body])).toEqual(['/api/orders']);
  expect(textsOf([method('POST'), path('^/api/orders')], true)).toEqual(['post', '/api/orders']);
});

test('where nothing is sure to be there, any request may be wanted', () => {
  const headerJq: Condition = { $case: 'headerJq', value: 'startswith("x-user: a") | not' };
  for (const condition of [header('^x-.*: [a-e]'), header('alice|bob'), path('.*'), headerJq, query('length == 0')]) {
    expect(textsOf([condition])).toBeNull();
    expect(textsOf([condition, method('GET')], true)).toBeNull();
  }
});

test('what is decided by a body or a query wants no request that can have none', () => {
  const fields = ['content-length', 'transfer-encoding'];
  expect(textsOf([body])).toEqual(fields);
  expect(textsOf([query('.user | length > 5')])).toEqual(['?']);
  // Where any character may be written by its number, and a space as a plus.
  expect(textsOf([query('.user == "Alice in wonderland"')])).toEqual(['wonderland', '%']);
  expect(textsOf([query('.user == "al"')])).toEqual(['?']);
  // A query that is none.
  expect(textsOf([query('.user != "bob"')])).toBeNull();
  expect(textsOf([body, query('.user != null'), method('POST')], true)).toEqual([...fields, '?', 'post']);
  expect(textsOf([body, method('GET')])).toEqual(['get']);
  expect(textsOf([body, query('.user != null')])).toEqual(['?']);
});
