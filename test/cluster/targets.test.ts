import { afterAll, beforeAll, expect, test } from 'vitest';
import { KubeApi } from '../../client/kube/api.ts';
import { loadClusterAccess } from '../../client/kube/config.ts';
import type { Pod } from '../../client/kube/objects.ts';
import { type ResolvedTarget, resolveTarget } from '../../client/kube/resolve.ts';
import { isStatus } from '../../client/kube/status.ts';
import type { LabelTarget, WorkloadTarget } from '../../client/kube/target.ts';
import { parseTarget } from '../../client/target.ts';
import { OwnNamespace, PATIENCE_MS, podTemplate, settings } from './own-namespace.ts';

const MAX_CALLS = 5;
const MAX_BYTES = 64 * 1024;
/** More than a page of names, all before the one that runs. */
const STUCK = 60;
let own: OwnNamespace;

beforeAll(async () => {
  own = await OwnNamespace.make();
  const workload = (name: string, shape: Parameters<typeof podTemplate>[0] = {}, rest: object = {}) => {
    const labels = { app: name, ...shape.labels };
    return {
      metadata: { name },
      spec: { selector: { matchLabels: { app: name } }, template: podTemplate({ ...shape, labels }), ...rest },
    };
  };
  const annotations = { 'kubectl.kubernetes.io/default-container': 'web' };
  await Promise.all([
    own.create(
      '/apis/apps/v1',
      'deployments',
      workload('shop', { containers: ['log', 'web'], annotations }, { replicas: 2 }),
    ),
    own.create(
      '/apis/apps/v1',
      'statefulsets',
      workload('db', { containers: ['istio-proxy', 'db'] }, { serviceName: 'db' }),
    ),
    own.create('/apis/apps/v1', 'daemonsets', workload('agent')),
    own.create('/apis/apps/v1', 'replicasets', workload('old')),
    own.create('/apis/apps/v1', 'deployments', workload('stuck', { isStuck: true })),
    own.create('/api/v1', 'services', {
      metadata: { name: 'front' },
      spec: { ports: [{ port: 80 }], selector: { app: 'shop' } },
    }),
    makeJobs(),
    makeCrowd(),
  ]);
  for (const app of ['shop', 'db', 'agent', 'old', 'once', 'crowd']) {
    await own.until(`a pod of ${app}`, async () => {
      const { items } = await own.api.get<{ items: Pod[] }>(own.path('/api/v1', 'pods'), {
        query: { labelSelector: `app=${app},!stuck` },
      });
      return items.some(({ status }) => status?.containerStatuses?.every(({ ready }) => ready) === true);
    });
  }
}, 2 * PATIENCE_MS);
afterAll(() => own?.close(), PATIENCE_MS);

/** A cron job that has a job, as its controller would have made it in the fullness of time. */
async function makeJobs(): Promise<void> {
  const template = podTemplate({ labels: { app: 'once' }, restartPolicy: 'Never' });
  const version = await own.until('an API of cron jobs', async () => {
    for (const candidate of ['/apis/batch/v1', '/apis/batch/v1beta1']) {
      const { resources } = await own.api.get<{ resources: { name: string }[] }>(candidate);
      if (resources.some(({ name }) => name === 'cronjobs')) return candidate;
    }
    return null;
  });
  const { metadata } = await own.create<{ metadata: { uid: string } }>(version, 'cronjobs', {
    metadata: { name: 'nightly' },
    spec: { schedule: '0 0 1 1 *', suspend: true, jobTemplate: { spec: { template } } },
  });
  const owner = { apiVersion: version.slice('/apis/'.length), kind: 'CronJob', name: 'nightly', uid: metadata.uid };
  const job = await own.create<{ metadata: { uid: string } }>('/apis/batch/v1', 'jobs', {
    metadata: { name: 'once', ownerReferences: [{ ...owner, controller: true }] },
    spec: { template },
  });
  const active = [{ kind: 'Job', apiVersion: 'batch/v1', name: 'once', namespace: own.name, uid: job.metadata.uid }];
  await own.api.patch(own.path(version, 'cronjobs/nightly/status'), 'merge', { status: { active } });
}

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
  ['cj/nightly', /^once-/, 'app', 5],
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

const DEFINITIONS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
const ARGO = '/apis/argoproj.io/v1alpha1';

/** As Argo defines them, but for what only its controller reads. False where the cluster has them already. */
async function defineRollouts(): Promise<boolean> {
  const names = { kind: 'Rollout', plural: 'rollouts', singular: 'rollout', shortNames: ['ro'] };
  const schema = { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } };
  const version = { name: 'v1alpha1', served: true, storage: true, schema };
  try {
    await own.api.create(DEFINITIONS, {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name: 'rollouts.argoproj.io' },
      spec: { group: 'argoproj.io', scope: 'Namespaced', names, versions: [version] },
    });
    return true;
  } catch (error) {
    if (isStatus(error, 409)) return false;
    throw error;
  }
}

test('a rollout of Argo is found by its selector, or by the workload that it stands for', async () => {
  const isOurs = await defineRollouts();
  try {
    const rollout = (name: string, spec: object) => {
      const body = { apiVersion: 'argoproj.io/v1alpha1', kind: 'Rollout', metadata: { name }, spec };
      return own.create(ARGO, 'rollouts', body);
    };
    await own.until('the API of rollouts', () => own.get(ARGO, 'rollouts'));
    await rollout('canary', { selector: { matchLabels: { app: 'old' } } });
    await rollout('stand-in', { workloadRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'shop' } });
    expect(await resolve('rollout/canary')).toMatchObject({ pod: expect.stringMatching(/^old-/), calls: 3 });
    const found = await resolve('ro/stand-in');
    expect(found).toMatchObject({ pod: expect.stringMatching(/^shop-/), container: 'web', calls: 4 });
    expect(found.bytes).toBeLessThan(MAX_BYTES);
  } finally {
    if (isOurs) await own.api.delete(`${DEFINITIONS}/rollouts.argoproj.io`);
  }
});
