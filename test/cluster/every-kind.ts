// One target of every kind in a namespace of a test's own.

import type { Pod } from '../../client/kube/objects.ts';
import { isStatus } from '../../client/kube/status.ts';
import { type OwnNamespace, podTemplate } from './own-namespace.ts';

/**
 * Deployment `shop` with service `front`, stateful set `db`, daemon set `agent`, replica set `old`, job `once` of cron job
 * `nightly`; resolves when each of them has a pod that is ready.
 */
export async function makeEveryKind(own: OwnNamespace): Promise<void> {
  const annotations = { 'kubectl.kubernetes.io/default-container': 'web' };
  const shop = workload('shop', { containers: ['log', 'web'], annotations }, { replicas: 2 });
  const db = workload('db', { containers: ['istio-proxy', 'db'] }, { serviceName: 'db' });
  await Promise.all([
    own.create('/apis/apps/v1', 'deployments', shop),
    own.create('/apis/apps/v1', 'statefulsets', db),
    own.create('/apis/apps/v1', 'daemonsets', workload('agent')),
    own.create('/apis/apps/v1', 'replicasets', workload('old')),
    own.create('/api/v1', 'services', {
      metadata: { name: 'front' },
      spec: { ports: [{ port: 80 }], selector: { app: 'shop' } },
    }),
    makeJobs(own),
  ]);
  for (const app of ['shop', 'db', 'agent', 'old', 'once']) await podOf(own, app);
}

/** An object that makes pods `app=NAME`. */
export function workload(name: string, shape: Parameters<typeof podTemplate>[0] = {}, rest: object = {}): object {
  const labels = { app: name, ...shape.labels };
  return {
    metadata: { name },
    spec: { selector: { matchLabels: { app: name } }, template: podTemplate({ ...shape, labels }), ...rest },
  };
}

/** Resolves when one is ready. */
export async function podOf(own: OwnNamespace, app: string): Promise<void> {
  await own.until(`a pod of ${app}`, async () => {
    const { items } = await own.api.get<{ items: Pod[] }>(own.path('/api/v1', 'pods'), {
      query: { labelSelector: `app=${app},!stuck` },
    });
    return items.some(({ status }) => status?.containerStatuses?.every(({ ready }) => ready) === true);
  });
}

/** A cron job that has a job, as its controller would have made it in the fullness of time. */
async function makeJobs(own: OwnNamespace): Promise<void> {
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

const DEFINITIONS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
export const ARGO = '/apis/argoproj.io/v1alpha1';

/** Runs `act` where the API has Argo's rollouts: as Argo defines them, but for what only its controller reads. */
export async function withRollouts<T>(own: OwnNamespace, act: () => Promise<T>): Promise<T> {
  const isOurs = await defineRollouts(own);
  try {
    await own.until('the API of rollouts', () => own.get(ARGO, 'rollouts'));
    await makeRollout(own, 'canary', { selector: { matchLabels: { app: 'old' } } });
    await makeRollout(own, 'stand-in', { workloadRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'shop' } });
    return await act();
  } finally {
    if (isOurs) await own.api.delete(`${DEFINITIONS}/rollouts.argoproj.io`);
  }
}

function makeRollout(own: OwnNamespace, name: string, spec: object): Promise<unknown> {
  return own.create(ARGO, 'rollouts', {
    apiVersion: 'argoproj.io/v1alpha1',
    kind: 'Rollout',
    metadata: { name },
    spec,
  });
}

/** False where the cluster has them already. */
async function defineRollouts(own: OwnNamespace): Promise<boolean> {
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
