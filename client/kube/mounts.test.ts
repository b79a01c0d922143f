import { expect, test } from 'vitest';
import { mountPatterns, mountsOf } from './mounts.ts';

const volumeMounts = [
  { name: 'config', mountPath: '/etc/shop.d/' },
  { name: 'one', mountPath: '/app/settings.json', subPath: 'settings.json' },
  { name: 'expr', mountPath: '/logs', subPathExpr: '$(POD)' },
  { name: 'scratch', mountPath: '/tmp' },
  { name: 'token', mountPath: '/var/run/secrets/kubernetes.io/serviceaccount' },
];
const pod = {
  metadata: { name: 'shop' },
  spec: {
    containers: [
      { name: 'sidecar', volumeMounts: [{ name: 'other', mountPath: '/other' }] },
      { name: 'web', volumeMounts },
    ],
  },
};

test('the mounts of the target’s container become patterns, those of subPath of that path alone', () => {
  const mounts = mountsOf(pod, 'web');
  const patterns = mountPatterns(mounts, [/^\/var\/run/i], ['/tmp', '/home/me/app']);
  expect(patterns).toEqual(['^/etc/shop\\.d(/.*)?$', '^/app/settings\\.json$', '^/logs$']);
  const matching = (path: string) => patterns.filter((one) => new RegExp(one, 'i').test(path)).length;
  expect(['/etc/shop.d', '/etc/shop.d/a/b', '/app/settings.json', '/logs'].map(matching)).toEqual([1, 1, 1, 1]);
  expect(['/etc/shopXd/a', '/etc/shop.dir', '/app/settings.json/x', '/logs/x', '/tmp/x'].map(matching)).toEqual([
    0, 0, 0, 0, 0,
  ]);
});

test('what holds a folder that the local process lives in stays here', () => {
  const mounts = ['/home', '/home/me/app', '/home/me/app/config', '/homes'].map((path) => ({ path, isAlone: false }));
  expect(mountPatterns(mounts, [], ['/home/me/app', '/tmp'])).toEqual([
    '^/home/me/app/config(/.*)?$',
    '^/homes(/.*)?$',
  ]);
});

test('a container that is not there, and one without mounts, have none', () => {
  expect(mountsOf(pod, 'nobody')).toEqual([]);
  expect(mountsOf({ metadata: {} }, 'web')).toEqual([]);
});
