import { expect, test } from 'vitest';
import { AppError } from '#proto/errors.ts';
import { toStatusError } from '../kube/status.ts';
import { explainFailedCreate, explainRefusal, isOfPassingTrouble } from './refusal.ts';

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
  [
    'pods "x" is forbidden: [maximum cpu usage per Container is 100m, but limit is 2]',
    'LIMIT_REACHED',
    'do not fit the LimitRange of namespace shop: pods "x" is forbidden: [maximum cpu',
    /set agent\.resources/,
  ],
  [
    'pods "x" is forbidden: cpu max limit to request ratio per Container is 2, but provided ratio is 200.000000',
    'LIMIT_REACHED',
    'do not fit the LimitRange of namespace shop',
    /set agent\.resources/,
  ],
  [
    'jobs.batch "x" is forbidden: unable to create new content in namespace shop because it is being terminated',
    'NOT_PERMITTED',
    'namespace shop is being deleted',
    /wait/,
  ],
  ['admission webhook "policy.example" denied the request: no', 'NOT_PERMITTED', 'policy.example', /policy/],
])('%s', (words, code, message, advice) => {
  const error = explained(words);
  expect(error.code).toBe(code);
  expect(error.message).toContain(message);
  expect(error.data?.['advice']).toMatch(advice);
  expect(error.data?.['move']).toBe('admin');
});

test.each([
  ['no PriorityClass with name high was found', 'correct agent.priority_class.'],
  ['error looking up service account shop/robot: serviceaccount "robot" not found', 'correct agent.service_account.'],
])('a setting that names what is not there: %s', (reason, advice) => {
  const error = explainFailedCreate(`Error creating: pods "agent-" is forbidden: ${reason}`, 'shop');
  expect(error).toMatchObject({ code: 'CONFIG_INVALID', data: { move: 'user', advice } });
});

test('a rule that nobody knows is told in its own words, and asks nobody to be root', () => {
  const error = explainFailedCreate('Error creating: pods "agent-" is forbidden: by the moon', 'shop');
  expect(error.message).toBe(
    'the cluster makes no pod for the agent in namespace shop: Error creating: pods "agent-" is forbidden: by the moon',
  );
  expect(error).toMatchObject({
    code: 'NOT_PERMITTED',
    data: { move: 'admin', advice: expect.not.stringContaining('sudo') },
  });
});

test('other refusals and failures stay what they are', () => {
  expect(explained('no such thing', 404).code).toBe('TARGET_NOT_FOUND');
  const own = new AppError('CANCELLED', 'given up');
  expect(explainRefusal(own, 'shop')).toBe(own);
});

test.each([
  ['Post "https://127.0.0.1:6443/api/v1/namespaces/shop/pods": unexpected EOF', true],
  ['Post https://10.0.0.1/api/v1/namespaces/shop/pods: dial tcp 10.0.0.1:443: connect: connection refused', true],
  ['etcdserver: request timed out', true],
  ['pods "agent-" is forbidden: exceeded quota: small', false],
  ['admission webhook "https://rules.example" denied the request', false],
])('a controller that could not ask has not been refused: %s', (words, isPassing) => {
  expect(isOfPassingTrouble(`Error creating: ${words}`)).toBe(isPassing);
});
