import { expect, test } from 'vitest';
import { AppError } from '#proto/errors.ts';
import { toStatusError } from '../kube/status.ts';
import { explainRefusal } from './refusal.ts';

function explained(message: string, httpStatus = 403): AppError {
  return explainRefusal(
    toStatusError(httpStatus, JSON.stringify({ reason: 'Forbidden', message }), 'act', undefined),
    'shop',
  );
}

test.each([
  [
    'jobs.batch is forbidden: User "eve" cannot create resource "jobs" in API group "batch" in the namespace "shop"',
    'NOT_PERMITTED',
    'you may not create jobs.batch in namespace shop',
    /deploy\/role\.yaml/,
  ],
  [
    'pods "agent" is forbidden: User "eve" cannot create resource "pods/portforward" in API group "" in the namespace "shop"',
    'NOT_PERMITTED',
    'you may not create pods/portforward in namespace shop',
    /deploy\/role\.yaml/,
  ],
  [
    'pods "x" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostPID=true)',
    'NOT_PERMITTED',
    'namespace shop forbids the agent\'s pod by its pod security rules: pods "x" is forbidden: violates PodSecurity',
    /agent\.namespace.*pod-security\.kubernetes\.io\/enforce/,
  ],
  ['pods "x" is forbidden: exceeded quota: small, requested: pods=1', 'LIMIT_REACHED', 'no room', /agent\.resources/],
  ['admission webhook "policy.example" denied the request: no', 'NOT_PERMITTED', 'policy.example', /policy/],
])('%s', (words, code, message, advice) => {
  const error = explained(words);
  expect(error.code).toBe(code);
  expect(error.message).toContain(message);
  expect(error.data?.['advice']).toMatch(advice);
  expect(error.data?.['move']).toBe('admin');
});

test('other refusals and failures stay what they are', () => {
  expect(explained('no such thing', 404).code).toBe('TARGET_NOT_FOUND');
  const own = new AppError('CANCELLED', 'given up');
  expect(explainRefusal(own, 'shop')).toBe(own);
});
