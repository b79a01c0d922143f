import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RIGHTS } from '../../client/kube/rights.ts';
import { type Outcome, run } from '../fixtures/run.ts';
import { OwnNamespace, PATIENCE_MS, podTemplate } from './own-namespace.ts';

const mirrord = path.join(import.meta.dirname, '../../bin/mirrord');
let own: OwnNamespace;
let folder = '';
/** Kubeconfigs of a user with the documented Role, and of one with nothing. */
const kubeconfigs = { granted: '', bare: '' };

beforeAll(async () => {
  own = await OwnNamespace.make();
  folder = mkdtempSync(path.join(tmpdir(), 'mirrord-commands-'));
  const labels = { app: 'shop' };
  await Promise.all([
    own.create('/apis/apps/v1', 'deployments', {
      metadata: { name: 'shop' },
      spec: { selector: { matchLabels: labels }, template: podTemplate({ labels }) },
    }),
    own.create('/apis/rbac.authorization.k8s.io/v1', 'roles', {
      metadata: { name: 'mirrord' },
      rules: rulesOf(RIGHTS),
    }),
    own.create('/apis/rbac.authorization.k8s.io/v1', 'rolebindings', {
      metadata: { name: 'mirrord' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'mirrord' },
      subjects: [{ kind: 'ServiceAccount', name: 'granted', namespace: own.name }],
    }),
    ...(['granted', 'bare'] as const).map(async (user) => {
      await own.create('/api/v1', 'serviceaccounts', { metadata: { name: user } });
      kubeconfigs[user] = await writeKubeconfig(user);
    }),
  ]);
  await own.until('the deployment', async () => {
    const found = await own.get<{ status?: { availableReplicas?: number } }>('/apis/apps/v1', 'deployments/shop');
    return found?.status?.availableReplicas === 1;
  });
}, 2 * PATIENCE_MS);
afterAll(async () => {
  await own?.close();
  rmSync(folder, { recursive: true });
}, PATIENCE_MS);

function rulesOf(rights: typeof RIGHTS): object[] {
  return rights.map(({ verb, group, resource, subresource }) => ({
    apiGroups: [group],
    resources: [subresource === undefined ? resource : `${resource}/${subresource}`],
    verbs: [verb],
  }));
}

/** With a token that the cluster makes for the service account. */
async function writeKubeconfig(user: string): Promise<string> {
  const { status } = await own.create<{ status: { token: string } }>('/api/v1', `serviceaccounts/${user}/token`, {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    spec: { expirationSeconds: 3600 },
  });
  const file = path.join(folder, user);
  const { server, login } = own.api.access;
  const { ca } = await login.options(new AbortController().signal);
  const authority =
    ca === undefined ? {} : { 'certificate-authority-data': Buffer.from(String(ca)).toString('base64') };
  const config = {
    'current-context': 'test',
    clusters: [{ name: 'c', cluster: { server: server.href, ...authority } }],
    users: [{ name: user, user: { token: status.token } }],
    contexts: [{ name: 'test', context: { cluster: 'c', user, namespace: own.name } }],
  };
  writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
  return file;
}

function as(user: keyof typeof kubeconfigs | 'admin', ...words: string[]): Promise<Outcome> {
  const KUBECONFIG = user === 'admin' ? (process.env['KUBECONFIG'] ?? '') : kubeconfigs[user];
  // A busy machine is no slow cluster.
  const MIRRORD_COMPLETION_DEADLINE_MS = '60000';
  const variables = { PATH: process.env['PATH'] ?? '', HOME: folder, KUBECONFIG, MIRRORD_COMPLETION_DEADLINE_MS };
  return run([mirrord, ...words], { variables, folder });
}

test('a user with the documented Role lists what runs', async () => {
  const { stdout, stderr, code } = await as('granted', 'ls', '-o', 'name');
  expect(stdout).toMatch(/^deployment\/shop\npod\/shop-\S+\n$/);
  expect([stderr, code]).toEqual(['', 0]);
  const everywhere = await as('admin', 'ls', '-A', '-l', 'app=shop', '-t', 'pod', '-o', 'name');
  expect(everywhere.stdout).toContain(`${own.name} pod/shop-`);
  expect(JSON.parse((await as('granted', 'ls', '--json', '-t', 'deploy')).stdout)).toEqual(['deployment/shop']);
});

test('a shell is offered what the cluster has', async () => {
  const offered = async (what: string, current: string) => {
    const { stdout } = await as('granted', 'complete', what, current, '--', 'exec', '-n', own.name);
    return stdout.split('\n').filter(Boolean);
  };
  expect(await offered('target', 'deploy/s')).toEqual(['deploy/shop']);
  expect(await offered('target', 'pod/sh')).toEqual([expect.stringMatching(/^pod\/shop-\S+$/)]);
  expect(await offered('context', '')).toEqual(['test']);
});

test('a user without rights is told which, and by whom they are given', async () => {
  const { stdout, stderr, code } = await as('bare', 'ls');
  expect([stdout, code]).toEqual(['', 3]);
  expect(stderr).toContain('deployments.apps is forbidden');
  expect(stderr).toContain('whose move: whoever grants rights');
});

test('doctor finds every right of the documented Role granted, and the target’s node', async () => {
  const { stdout } = await as('granted', 'doctor', '-t', 'deployment/shop');
  expect(stdout).toContain(`you have every right that a session needs in namespace ${own.name}`);
  expect(stdout).toMatch(/target: container app of pod shop-\S+ on node \S+ \(containerd\)/);
  expect(stdout).toMatch(/unknown {2}node \S+ cannot be looked at/);
  const admin = await as('admin', 'doctor', '-n', own.name, '-t', 'deployment/shop');
  expect(admin.stdout).toMatch(/ok {7}node \S+ \(Linux [0-9.]+\S*, .*\) has what the agent needs/);
});

test('doctor names each right that is missing', async () => {
  const { stdout, code } = await as('bare', 'doctor');
  expect(stdout).toContain(`FAILS    you may not create jobs.batch in namespace ${own.name}`);
  expect(stdout).toContain('FAILS    you may not create pods/portforward');
  expect(code).toBe(1);
});

test('doctor finds the namespace that would refuse the agent', async () => {
  await own.api.patch(`/api/v1/namespaces/${own.name}`, 'merge', {
    metadata: { labels: { 'pod-security.kubernetes.io/enforce': 'baseline' } },
  });
  const { stdout } = await as('admin', 'doctor', '-n', own.name);
  expect(stdout).toContain(`FAILS    namespace ${own.name} enforces the Pod Security Standard baseline`);
});

async function job(name: string, spec: object): Promise<void> {
  const labels = { 'app.kubernetes.io/managed-by': 'mirrord', 'mirrord.dev/session': `session-${name}` };
  const template = podTemplate({ labels, restartPolicy: 'Never' });
  await own.create('/apis/batch/v1', 'jobs', { metadata: { name, labels }, spec: { template, ...spec } });
}

const jobNames = async () => {
  const { items } = await own.api.get<{ items: { metadata: { name: string; deletionTimestamp?: string } }[] }>(
    own.path('/apis/batch/v1', 'jobs'),
  );
  return items.filter(({ metadata }) => metadata.deletionTimestamp === undefined).map(({ metadata }) => metadata.name);
};

test('clean removes what has ended, leaves what runs until it is asked, and nobody else’s', async () => {
  await job('busy', {});
  await job('ended', { activeDeadlineSeconds: 1 });
  await own.create('/apis/batch/v1', 'jobs', {
    metadata: { name: 'other' },
    spec: { template: podTemplate({ restartPolicy: 'Never' }) },
  });
  await own.until('the end of the job', async () => {
    const found = await own.get<{ status?: { conditions?: { type: string }[] } }>('/apis/batch/v1', 'jobs/ended');
    return found?.status?.conditions?.some(({ type }) => type === 'Failed') ?? false;
  });
  const trial = await as('granted', 'clean', '--dry-run');
  expect(trial.stdout).toMatch(/would go job\/ended in \S+, session session-ended, \d+ s old/);
  expect((await jobNames()).sort()).toEqual(['busy', 'ended', 'other']);

  const { stdout, stderr } = await as('granted', 'clean');
  expect(stdout).toContain('removed job/ended');
  expect(stdout).toContain('runs    job/busy');
  expect(stderr).toContain('--session ID or --running ends it');
  expect((await jobNames()).sort()).toEqual(['busy', 'other']);

  expect((await as('granted', 'clean', '--session', 'session-busy')).stdout).toContain('removed job/busy');
  expect(await jobNames()).toEqual(['other']);
});
