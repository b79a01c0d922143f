import { expect, test } from 'vitest';
import { CONNECTION_CREDIT_BYTES, SESSION_CREDIT_BYTES } from '#proto/credits.ts';
import { CreditBudget, SMALL_CREDIT_BYTES } from './credit-budget.ts';

test('four streams may fill the session, then full credit, beyond it little; what is given back is given again', () => {
  const budget = new CreditBudget();
  const given = Array.from({ length: 40 }, () => budget.commitStream());
  expect(given.slice(0, 4)).toEqual(new Array(4).fill(SESSION_CREDIT_BYTES));
  expect(given.slice(4, 24)).toEqual(new Array(20).fill(CONNECTION_CREDIT_BYTES));
  expect(given.slice(24)).toEqual(new Array(16).fill(SMALL_CREDIT_BYTES));
  for (const bytes of given) budget.release(bytes);
  expect(budget.commitStream()).toBe(SESSION_CREDIT_BYTES);
});

test('a kind of socket that needs more than little gets it', () => {
  const budget = new CreditBudget();
  for (let count = 0; count < 32; count += 1) expect(budget.commit()).toBe(CONNECTION_CREDIT_BYTES);
  expect(budget.commit(256 * 1024)).toBe(256 * 1024);
});
