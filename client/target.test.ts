import fc from 'fast-check';
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

const workload = (kind: string, name: string, container: string | null = null) => ({
  kind: 'workload',
  workload: kind,
  name,
  container,
});

test.each([
  ['pod/shop', workload('pod', 'shop'), 'pod/shop'],
  ['po/shop-1.a/container/web', workload('pod', 'shop-1.a', 'web'), 'pod/shop-1.a/container/web'],
  ['deploy/shop', workload('deployment', 'shop'), 'deployment/shop'],
  ['deployments.apps/shop', workload('deployment', 'shop'), 'deployment/shop'],
  ['sts/db', workload('statefulset', 'db'), 'statefulset/db'],
  ['ds/log', workload('daemonset', 'log'), 'daemonset/log'],
  ['rs/x', workload('replicaset', 'x'), 'replicaset/x'],
  ['job/x', workload('job', 'x'), 'job/x'],
  ['cj/x', workload('cronjob', 'x'), 'cronjob/x'],
  ['svc/shop', workload('service', 'shop'), 'service/shop'],
  ['rollout/shop', workload('rollout', 'shop'), 'rollout/shop'],
  ['targetless', { kind: 'targetless' }, 'targetless'],
  [
    'label/app.kubernetes.io/name=shop,tier=/container/web',
    {
      kind: 'label',
      labels: [
        ['app.kubernetes.io/name', 'shop'],
        ['tier', ''],
      ],
      container: 'web',
    },
    'label/app.kubernetes.io/name=shop,tier=/container/web',
  ],
])('%s is a target in a cluster', (text, target, written) => {
  expect(parseTarget(text)).toEqual(target);
  expect(formatTarget(parseTarget(text))).toBe(written);
});

test.each([
  ['shop', 'container/shop, pod/shop or deployment/shop'],
  ['4711', 'pid/4711'],
  ['pid/', 'number of a process'],
  ['pid/0', 'number of a process'],
  ['pid/4194305', 'number of a process'],
  ['pid/12x', 'number of a process'],
  ['pid/1/2', 'nothing may follow pid/1'],
  ['container/', 'name or id'],
  ['container/a/b', 'nothing may follow container/a'],
  ['xyzzy/x', 'must begin with pid/'],
  ['deplyment/x', 'did you mean deployment/x?'],
  ['pod/', 'name is missing after pod/'],
  ['pod/Shop', 'cannot be the name of a pod'],
  ['pod/a/b', 'only /container/NAME may follow'],
  ['pod/a/container/', 'name of a container of the pod'],
  ['pod/a/container/b/c', 'nothing may follow container/b'],
  ['label/', 'labels are missing'],
  ['label/app', 'it wants key=value'],
  ['label/a=b,a=c', 'named twice'],
  ['label/-a=b', 'key of a label'],
  ['label/a=b c', 'value of a label'],
  ['', 'must begin with pid/'],
])('%j is no target, and the error says what would be', (text, reason) => {
  const error = refusal(text);
  expect(error.code).toBe('CONFIG_INVALID');
  expect(error.message).toContain(reason);
});

test('any text is a target that is written the same way again, or is refused', () => {
  const word = fc.constantFrom(
    'pod',
    'deploy',
    'label',
    'container',
    'pid',
    'a',
    'a=b',
    'x.y/z=1,b=2',
    '',
    '1',
    'A',
    '/',
  );
  const text = fc.oneof(
    fc.string(),
    fc.array(word, { maxLength: 6 }).map((words) => words.join('/')),
  );
  fc.assert(
    fc.property(text, (candidate) => {
      let written: string;
      try {
        written = formatTarget(parseTarget(candidate));
      } catch (error) {
        expect(error).toMatchObject({ code: 'CONFIG_INVALID' });
        return;
      }
      expect(formatTarget(parseTarget(written))).toBe(written);
    }),
  );
});
