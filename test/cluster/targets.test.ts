import { afterAll, beforeAll, expect, test } from 'vitest';
import { KubeApi } from '../../client/kube/api.ts';
import { loadClusterAccess } from '../../client/kube/config.ts';
import { type ResolvedTarget, resolveTarget } from '../../client/kube/resolve.ts';
import type { LabelTarget, WorkloadTarget } from '../../client/kube/target.ts';
import { parseTarget } from '../../client/target.ts';
import { makeEveryKind, podOf, withRollouts, workload } from './every-kind.ts';
import { OwnNamespace, PATIENCE_MS, podTemplate, settings } from './own-namespace.ts';

const MAX_CALLS = 5;
const MAX_BYTES = 64 * 1024;
/** More than a page of names, all before the one that runs. */
const STUCK = 60;
let own: OwnNamespace;

beforeAll(async () => {
  own = await OwnNamespace.make();
  await Promise.all([
    makeEveryKind(own),
    own.create('/apis/apps/v1', 'deployments', workload('stuck', { isStuck: true })),
    makeCrowd(),
  ]);
  await podOf(own, 'crowd');
}, 2 * PATIENCE_MS);
afterAll(() => own?.close(), PATIENCE_MS);

async function makeCrowd(): Promise<void> {
  const pod = (name: string, isStuck: boolean) => {
    const labels: Record<string, string> = isStuck ? { app: 'crowd', stuck: 'yes' } : { app: 'crowd' };
    return own.create('/api/v1', 'pods', { ...podTemplate({ labels, isStuck }), metadata: { name, labels } });
  };
  await Promise.all([pod('z-runs', false), ...Array.from({ length: STUCK }, (_, at) => pod(`a-${at}`, true))]);
}

async function resolve(text: string): Promise<ResolvedTarget & { calls: number; bytes: number }> {
  const api = new KubeApi(await loadClusterAccess(settings));
  try {
    const target = parseTarget(text) as WorkloadTarget | LabelTarget;
    const found = await resolveTarget({ api, target, namespace: own.name });
    return { ...found, calls: api.traffic.calls, bytes: api.traffic.receivedBytes };
  } finally {
    await api.close();
  }
}

test.each([
  ['deployment/shop', /^shop-/, 'web', 3],
  ['deploy/shop/container/log', /^shop-/, 'log', 3],
  ['sts/db', /^db-0$/, 'db', 3],
  ['pod/db-0', /^db-0$/, 'db', 1],
  ['pod/db-0/container/istio-proxy', /^db-0$/, 'istio-proxy', 1],
  ['ds/agent', /^agent-/, 'app', 3],
  ['rs/old', /^old-/, 'app', 3],
  ['job/once', /^once-/, 'app', 3],
  ['cj/nightly', /^once-/, 'app', 4],
  ['svc/front', /^shop-/, 'web', 3],
  ['label/app=shop', /^shop-/, 'web', 2],
  ['label/app=crowd', /^z-runs$/, 'app', 3],
] as const)(
  '%s leads to one running container, within the calls and bytes of a start',
  async (text, pod, container, calls) => {
    const found = await resolve(text);
    expect(found.pod).toMatch(pod);
    expect(found).toMatchObject({ container, namespace: own.name });
    expect(found.containerId).toMatch(/^[0-9a-f]{64}$/);
    expect([found.node, found.uid].every((fact) => fact.length > 0)).toBe(true);
    expect(found.calls).toBeLessThanOrEqual(Math.min(calls, MAX_CALLS));
    expect(found.bytes).toBeLessThan(MAX_BYTES);
  },
);

test('a choice among pods and containers is told', async () => {
  const { choices } = await resolve('deploy/shop');
  expect(choices).toEqual([
    expect.stringMatching(/^pod shop-\S+ was chosen; 1 other of deployment\/shop in namespace \S+ would do$/),
    'container web was chosen; the pod also has log',
  ]);
});

test('what cannot be targeted says why', async () => {
  await expect(resolve('deploy/stuck')).rejects.toThrow(/is ready to be targeted: 1 is Pending/);
  await expect(resolve('deploy/shpo')).rejects.toThrow('did you mean deployment/shop?');
  await expect(resolve('rollout/shop')).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  await expect(resolve('pod/a-0')).rejects.toMatchObject({ code: 'TARGET_GONE' });
});

test('a rollout of Argo is found by its selector, or by the workload that it stands for', async () => {
  await withRollouts(own, async () => {
    expect(await resolve('rollout/canary')).toMatchObject({ pod: expect.stringMatching(/^old-/), calls: 3 });
    const found = await resolve('ro/stand-in');
    expect(found).toMatchObject({ pod: expect.stringMatching(/^shop-/), container: 'web', calls: 4 });
    expect(found.bytes).toBeLessThan(MAX_BYTES);
  });
});
