import { afterEach, beforeEach, expect, test } from 'vitest';
import { parseTarget } from '../target.ts';
import { type Answer, ApiServer } from '../testing/api-server.ts';
import { KubeApi } from './api.ts';
import type { Pod } from './objects.ts';
import { resolveTarget } from './resolve.ts';
import type { LabelTarget, WorkloadTarget } from './target.ts';

let server: ApiServer;
let api: KubeApi;
beforeEach(async () => {
  server = await ApiServer.start();
  api = new KubeApi(await server.access({ context: { namespace: 'shop' } }));
});
afterEach(async () => {
  await api.close();
  await server.close();
});

const SHOP = '/namespaces/shop';
const PODS = `GET /api/v1${SHOP}/pods`;

function answer(entries: Readonly<Record<string, Answer>>): void {
  for (const [key, value] of Object.entries(entries)) server.answers.set(key, value);
}

function resolve(target: string, namespace: string | null = null) {
  return resolveTarget({ api, target: parseTarget(target) as WorkloadTarget | LabelTarget, namespace });
}

interface PodOptions {
  containers?: readonly string[];
  ready?: boolean;
  annotations?: Record<string, string>;
  metadata?: object;
  state?: object;
}

function pod(name: string, options: PodOptions = {}): Pod {
  const { containers = ['app'], ready = true, annotations = {}, metadata = {}, state = { running: {} } } = options;
  return {
    metadata: { name, uid: `uid-${name}`, annotations, ...metadata },
    spec: { nodeName: 'node1', containers: containers.map((container) => ({ name: container })) },
    status: {
      phase: 'Running',
      containerStatuses: [...containers].sort().map((container) => ({
        name: container,
        ready,
        containerID: `containerd://${'ab'.repeat(32)}`,
        state,
      })),
    },
  };
}

function table(...rows: readonly (readonly [name: string, ready: string, status: string])[]): object {
  const columnDefinitions = ['Name', 'Ready', 'Status'].map((name) => ({ name }));
  return { kind: 'Table', metadata: {}, columnDefinitions, rows: rows.map((cells) => ({ cells, object: null })) };
}

const selecting = (labels: object, extra: object = {}) => ({
  metadata: { name: 'x' },
  spec: { selector: { matchLabels: labels } },
  ...extra,
});

test('a pod is one call, and comes with all that an agent needs', async () => {
  answer({ [`${PODS}/web`]: pod('web') });
  expect(await resolve('pod/web')).toMatchObject({
    namespace: 'shop',
    pod: 'web',
    uid: 'uid-web',
    node: 'node1',
    container: 'app',
    containerId: 'ab'.repeat(32),
    runtime: 'containerd',
    choices: [],
  });
  expect(api.traffic.calls).toBe(1);
});

test.each([
  ['deployment/x', `GET /apis/apps/v1${SHOP}/deployments/x`],
  ['sts/x', `GET /apis/apps/v1${SHOP}/statefulsets/x`],
  ['ds/x', `GET /apis/apps/v1${SHOP}/daemonsets/x`],
  ['rs/x', `GET /apis/apps/v1${SHOP}/replicasets/x`],
  ['job/x', `GET /apis/batch/v1${SHOP}/jobs/x`],
])('%s is three calls: itself, its pods without their content, and the pod', async (target, path) => {
  answer({
    [path]: selecting({ app: 'x' }, { status: { replicas: 2 } }),
    [PODS]: table(['a', '0/1', 'Pending'], ['b', '1/1', 'Running']),
    [`${PODS}/b`]: pod('b'),
  });
  expect(await resolve(target)).toMatchObject({ pod: 'b', otherPods: 0, choices: [] });
  expect(api.traffic.calls).toBe(3);
  const query = new URLSearchParams(server.seen[1]?.path.split('?')[1]);
  expect([query.get('labelSelector'), query.get('includeObject')]).toEqual(['app=x', 'None']);
  expect(server.seen[1]?.headers.accept).toContain('as=Table');
});

test('pods of a small workload come from the server’s cache, those of a large one by the page', async () => {
  const query = async (status: object) => {
    server.seen.length = 0;
    answer({
      [`GET /apis/apps/v1${SHOP}/deployments/x`]: selecting({ app: 'x' }, { status }),
      [PODS]: table(['a', '1/1', 'Running']),
      [`${PODS}/a`]: pod('a'),
    });
    await resolve('deploy/x');
    const found = new URLSearchParams(server.seen[1]?.path.split('?')[1]);
    return [found.get('resourceVersion'), found.get('limit')];
  };
  expect(await query({ replicas: 100 })).toEqual(['0', null]);
  expect(await query({ replicas: 101 })).toEqual([null, '50']);
  expect(await query({})).toEqual([null, '50']);
});

test('a cache that knows no ready pod yet is not believed: the store is asked', async () => {
  let asked = 0;
  answer({
    [`GET /apis/apps/v1${SHOP}/deployments/x`]: selecting({ app: 'x' }, { status: { replicas: 1 } }),
    [PODS]: (_, response) => {
      asked += 1;
      response.end(JSON.stringify(asked === 1 ? table() : table(['a', '1/1', 'Running'])));
    },
    [`${PODS}/a`]: pod('a'),
  });
  expect((await resolve('deploy/x')).pod).toBe('a');
});

test('where a page has no pod that will do, the next is asked', async () => {
  const pods = (query: string) => `${PODS}?labelSelector=app%3Dx&includeObject=None&${query}`;
  answer({
    [`GET /apis/apps/v1${SHOP}/deployments/x`]: selecting({ app: 'x' }),
    [pods('limit=50')]: { ...table(['a', '0/1', 'Pending']), metadata: { continue: 'b' } },
    [pods('limit=200&continue=b')]: { ...table(['b', '1/1', 'Running']), metadata: { continue: 'c' } },
    [`${PODS}/b`]: pod('b'),
  });
  expect((await resolve('deploy/x')).pod).toBe('b');
});

test('expressions of a selector are heeded', async () => {
  const matchExpressions = [
    { key: 'tier', operator: 'In', values: ['a', 'b'] },
    { key: 'old', operator: 'DoesNotExist' },
  ];
  answer({
    [`GET /apis/apps/v1${SHOP}/deployments/x`]: {
      metadata: {},
      spec: { selector: { matchLabels: { app: 'x' }, matchExpressions } },
    },
    [PODS]: table(['a', '1/1', 'Running']),
    [`${PODS}/a`]: pod('a'),
  });
  await resolve('deploy/x');
  const query = new URLSearchParams(server.seen[1]?.path.split('?')[1]);
  expect(query.get('labelSelector')).toBe('app=x,tier in (a,b),!old');
});

test('a service is its selector, and one without is refused', async () => {
  answer({
    [`GET /api/v1${SHOP}/services/x`]: { metadata: { name: 'x' }, spec: { selector: { app: 'x' } } },
    [`GET /api/v1${SHOP}/services/out`]: { metadata: { name: 'out' }, spec: { type: 'ExternalName' } },
    [PODS]: table(['a', '1/1', 'Running']),
    [`${PODS}/a`]: pod('a'),
  });
  expect((await resolve('svc/x')).pod).toBe('a');
  await expect(resolve('svc/out')).rejects.toThrow('service/out is only a name for another host');
});

test('labels need no workload, and another namespace is used when it is named', async () => {
  answer({
    'GET /api/v1/namespaces/other/pods': table(['a', '1/1', 'Running']),
    'GET /api/v1/namespaces/other/pods/a': pod('a'),
  });
  expect(await resolve('label/app=x,tier=y', 'other')).toMatchObject({ pod: 'a', namespace: 'other' });
  expect(new URLSearchParams(server.seen[0]?.path.split('?')[1]).get('labelSelector')).toBe('app=x,tier=y');
});

const OF_JOB = (selector: string) => `${PODS}?labelSelector=${selector}&includeObject=None&limit=50`;

test.each([
  ['v1', 3],
  ['v1beta1', 4],
])(
  'a cron job of %s is the youngest job it has running, by the label of its pods: %i calls',
  async (version, calls) => {
    answer({
      [`GET /apis/batch/v1${SHOP}/cronjobs/x`]: (_, response) => {
        response.statusCode = 404;
        response.end('404 page not found');
      },
      [`GET /apis/batch/${version}${SHOP}/cronjobs/x`]: {
        metadata: { name: 'x' },
        status: {
          active: [
            { name: 'x-1', uid: 'u-1' },
            { name: 'x-2', uid: 'u-2' },
          ],
        },
      },
      [OF_JOB('controller-uid%3Du-2')]: table(['a', '1/1', 'Running']),
      [`${PODS}/a`]: pod('a'),
    });
    expect((await resolve('cronjob/x')).pod).toBe('a');
    expect(api.traffic.calls).toBe(calls);
    answer({ [`GET /apis/batch/${version}${SHOP}/cronjobs/x`]: { metadata: { name: 'x' }, status: {} } });
    await expect(resolve('cronjob/x')).rejects.toThrow('no job of cronjob/x runs now');
  },
);

test('where no pod bears the label of a cron job’s job, the job’s own selector is asked for', async () => {
  answer({
    [`GET /apis/batch/v1${SHOP}/cronjobs/x`]: { metadata: {}, status: { active: [{ name: 'x-1', uid: 'u-1' }] } },
    [OF_JOB('controller-uid%3Du-1')]: table(),
    [`GET /apis/batch/v1${SHOP}/jobs/x-1`]: selecting({ 'its.own/uid': 'u-1' }),
    [OF_JOB('its.own%2Fuid%3Du-1')]: table(['a', '1/1', 'Running']),
    [`${PODS}/a`]: pod('a'),
  });
  expect((await resolve('cronjob/x')).pod).toBe('a');
});

test('a rollout of Argo has a selector, or stands for a deployment', async () => {
  const rollout = `GET /apis/argoproj.io/v1alpha1${SHOP}/rollouts/x`;
  answer({
    [rollout]: selecting({ app: 'x' }),
    [`GET /apis/apps/v1${SHOP}/deployments/d`]: selecting({ app: 'd' }),
    [PODS]: table(['a', '1/1', 'Running']),
    [`${PODS}/a`]: pod('a'),
  });
  expect((await resolve('rollout/x')).pod).toBe('a');
  answer({ [rollout]: { metadata: { name: 'x' }, spec: { workloadRef: { kind: 'Deployment', name: 'd' } } } });
  server.seen.length = 0;
  expect((await resolve('rollout/x')).pod).toBe('a');
  expect(new URLSearchParams(server.seen[2]?.path.split('?')[1]).get('labelSelector')).toBe('app=d');
});

test.each([
  ['app=d,rollouts-pod-template-hash=1', 3],
  ['<none>', 4],
])(
  'what its controller says of a rollout’s pods, %s, is believed where it is a selector: %i calls',
  async (selector, calls) => {
    answer({
      [`GET /apis/argoproj.io/v1alpha1${SHOP}/rollouts/x`]: {
        metadata: { name: 'x' },
        spec: { workloadRef: { kind: 'Deployment', name: 'd' } },
        status: { selector, replicas: 1 },
      },
      [`GET /apis/apps/v1${SHOP}/deployments/d`]: selecting({ app: 'd' }),
      [PODS]: table(['a', '1/1', 'Running']),
      [`${PODS}/a`]: pod('a'),
    });
    expect((await resolve('rollout/x')).pod).toBe('a');
    expect(api.traffic.calls).toBe(calls);
    const asked = new URLSearchParams(server.seen.at(-2)?.path.split('?')[1]).get('labelSelector');
    expect(asked).toBe(calls === 3 ? selector : 'app=d');
  },
);

test('a cluster without Argo says that it has no such API', async () => {
  answer({
    [`GET /apis/argoproj.io/v1alpha1${SHOP}/rollouts/x`]: (_, response) => {
      response.statusCode = 404;
      response.end('404 page not found');
    },
  });
  await expect(resolve('rollout/x')).rejects.toMatchObject({
    code: 'UNSUPPORTED',
    message: expect.stringContaining('the cluster has no rollouts.argoproj.io/v1alpha1'),
  });
});

test('a pod that vanished since the list makes room for the next', async () => {
  answer({
    [`GET /apis/apps/v1${SHOP}/deployments/x`]: selecting({ app: 'x' }),
    [PODS]: table(['gone', '1/1', 'Running'], ['going', '1/1', 'Running'], ['a', '1/1', 'Running']),
    [`${PODS}/going`]: pod('going', { metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } }),
    [`${PODS}/a`]: pod('a'),
  });
  const found = await resolve('deploy/x');
  expect(found.pod).toBe('a');
  expect(found.choices).toEqual(['pod a was chosen; 2 others of deployment/x in namespace shop would do']);
});

test('without a ready pod the error counts what there is', async () => {
  answer({
    [`GET /apis/apps/v1${SHOP}/deployments/x`]: selecting({ app: 'x' }),
    [PODS]: table(['a', '0/1', 'CrashLoopBackOff'], ['b', '0/1', 'CrashLoopBackOff'], ['c', '0/2', 'Running']),
  });
  await expect(resolve('deploy/x')).rejects.toMatchObject({
    code: 'TARGET_GONE',
    message: expect.stringContaining('2 are CrashLoopBackOff, 1 is running, 0 of 2 ready'),
  });
});

test.each<[string, PodOptions, string, readonly string[]]>([
  ['the only one', {}, 'app', []],
  ['the first of the specification', { containers: ['web', 'app'] }, 'web', ['app']],
  ['the first that no mesh added', { containers: ['istio-proxy', 'app', 'b'] }, 'app', ['b', 'istio-proxy']],
  ['a mesh’s where there is nothing else', { containers: ['linkerd-proxy'] }, 'linkerd-proxy', []],
  [
    'that of the annotation',
    { containers: ['a', 'b'], annotations: { 'kubectl.kubernetes.io/default-container': 'b' } },
    'b',
    ['a'],
  ],
  [
    'not that of an annotation that names none',
    { containers: ['a', 'b'], annotations: { 'kubectl.kubernetes.io/default-container': 'c' } },
    'a',
    ['b'],
  ],
])('the container is %s', async (_, options, container, others) => {
  answer({ [`${PODS}/web`]: pod('web', options) });
  const found = await resolve('pod/web');
  expect([found.container, found.otherContainers]).toEqual([container, others]);
  expect(found.choices.length).toBe(others.length === 0 ? 0 : 1);
});

test('a container that is named is taken without a word, or the nearest is suggested', async () => {
  answer({ [`${PODS}/web`]: pod('web', { containers: ['istio-proxy', 'app'] }) });
  expect(await resolve('pod/web/container/istio-proxy')).toMatchObject({ container: 'istio-proxy', choices: [] });
  await expect(resolve('pod/web/container/ap')).rejects.toThrow('has no container "ap"; did you mean app?');
});

test('a named pod may be unready, and that is said; it may not be dead', async () => {
  answer({
    [`${PODS}/sick`]: pod('sick', { ready: false }),
    [`${PODS}/dead`]: pod('dead', { state: { waiting: { reason: 'CrashLoopBackOff' } } }),
  });
  expect((await resolve('pod/sick')).choices).toEqual(['container app of pod sick runs, but is not ready']);
  await expect(resolve('pod/dead')).rejects.toThrow('container app of pod dead does not run: CrashLoopBackOff');
});

test('a name that is not there brings the nearest that is, from one page', async () => {
  answer({
    [`GET /apis/apps/v1${SHOP}/deployments`]: table(['shop-web', '1/1', ''], ['shop-db', '1/1', '']),
    [`GET /api/v1${SHOP}`]: { kind: 'Namespace' },
  });
  await expect(resolve('deploy/shop-wbe')).rejects.toMatchObject({
    code: 'TARGET_NOT_FOUND',
    message: 'there is no deployment/shop-wbe in namespace shop of context test; did you mean deployment/shop-web?',
  });
  expect(api.traffic.calls).toBe(3);
});

test('a namespace that does not exist is named as what is wrong', async () => {
  answer({ 'GET /apis/apps/v1/namespaces/shpo/deployments': table() });
  await expect(resolve('deploy/x', 'shpo')).rejects.toThrow(
    'in namespace shpo of context test: that namespace does not exist',
  );
});

test('who may not list gets the plain message', async () => {
  answer({ [`GET /apis/apps/v1${SHOP}/deployments`]: 403 });
  await expect(resolve('deploy/x')).rejects.toThrow(/^there is no deployment\/x in namespace shop of context test$/);
});
