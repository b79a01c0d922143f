import { expect, test } from 'vitest';
import { AppError } from '#proto/errors.ts';
import { formatTarget, parseTarget } from './target.ts';

function refusal(text: string): AppError {
  try {
    parseTarget(text);
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
  throw new Error(`${text} was accepted`);
}

test.each([
  ['pid/1', { kind: 'pid', pid: 1 }],
  ['pid/4194304', { kind: 'pid', pid: 4_194_304 }],
  ['container/shop-web_1', { kind: 'container', name: 'shop-web_1' }],
  ['container/0f3ac2', { kind: 'container', name: '0f3ac2' }],
] as const)('%s names one thing and is written the same way again', (text, target) => {
  expect(parseTarget(text)).toEqual(target);
  expect(formatTarget(parseTarget(text))).toBe(text);
});

test.each([
  'pod/shop',
  'pod/shop/container/web',
  'deployment/shop',
  'deploy/shop',
  'rollout/shop',
  'job/x',
  'cronjob/x',
  'statefulset/db',
  'service/shop',
  'replicaset/shop',
  'label/app=shop,tier=web',
  'targetless',
])('%s is known and refused as not built, by its name', (text) => {
  const error = refusal(text);
  expect(error.code).toBe('UNSUPPORTED');
  expect(error.message).toContain(text);
});

test.each([
  ['shop', 'container/shop or pod/shop'],
  ['4711', 'pid/4711'],
  ['pid/', 'number of a process'],
  ['pid/0', 'number of a process'],
  ['pid/4194305', 'number of a process'],
  ['pid/12x', 'number of a process'],
  ['pid/1/2', 'nothing may follow pid/1'],
  ['container/', 'name or id'],
  ['container/a/b', 'nothing may follow container/a'],
  ['daemonset/x', 'must begin with pid/'],
  ['pod/', 'name is missing after pod/'],
  ['', 'must begin with pid/'],
])('%j is no target, and the error says what would be', (text, reason) => {
  const error = refusal(text);
  expect(error.code).toBe('CONFIG_INVALID');
  expect(error.message).toContain(reason);
});
