import { expect, test } from 'vitest';
import { CONNECTION_CREDIT_BYTES } from '#proto/credits.ts';
import { CreditBudget, SMALL_CREDIT_BYTES } from './credit-budget.ts';

test('32 connections get full credit, those beyond little, and what is given back is given again', () => {
  const budget = new CreditBudget();
  const given = Array.from({ length: 40 }, () => budget.commit());
  expect(given.slice(0, 32)).toEqual(new Array(32).fill(CONNECTION_CREDIT_BYTES));
  expect(given.slice(32)).toEqual(new Array(8).fill(SMALL_CREDIT_BYTES));
  for (const bytes of given) budget.release(bytes);
  expect(budget.commit()).toBe(CONNECTION_CREDIT_BYTES);
});

test('a kind of socket that needs more than little gets it', () => {
  const budget = new CreditBudget();
  for (let count = 0; count < 32; count += 1) budget.commit();
  expect(budget.commit(256 * 1024)).toBe(256 * 1024);
});
