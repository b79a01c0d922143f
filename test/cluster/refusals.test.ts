// Who is not let, is told by whom, by which rule, and what to do; and nothing is left then either.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { kubectl, NODE_A, TestNamespace, tryKubectl, untilTrue } from './cluster.ts';

const namespace = new TestNamespace();
const restricted = new TestNamespace();
let folder = '';

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'mirrord-refusals-'));
  const labels = { 'pod-security.kubernetes.io/enforce': 'baseline', 'mirrord.test/restricted': restricted.name };
  await Promise.all([namespace.create(), restricted.create(labels)]);
  await namespace.deploy('shop', 'node', NODE_A);
  await namespace.ready('shop');
});
afterEach(async () => {
  await namespace.assertClean();
  await restricted.assertClean();
});
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await Promise.all([namespace.delete(), restricted.delete()]);
});

const TRUE = ['-t', 'deployment/shop', '--', 'true'];

test('an image that the node cannot get', async () => {
  const ended = await namespace.exec(['-i', 'localhost/mirrord-none:1', ...TRUE], {
    MIRRORD_AGENT_IMAGE_PULL_POLICY: 'Never',
  });
  expect(ended.stderr).toMatch(/the node cannot get the agent's image localhost\/mirrord-none:1 \(ErrImageNeverPull\)/);
  expect(ended.stderr).toMatch(/what to do: check agent\.image/);
  expect(ended.code).toBe(5);
});

describe('a namespace', () => {
  const quota = (hard: object) => ({
    apiVersion: 'v1',
    kind: 'ResourceQuota',
    metadata: { name: 'small' },
    spec: { hard },
  });

  /** The quota's controller has to have counted before it refuses. */
  async function withQuota(hard: Record<string, string>, act: () => Promise<void>): Promise<void> {
    await restricted.apply([quota(hard)]);
    try {
      const counted = ['get', 'resourcequota', 'small', '-o', 'jsonpath={.status.hard}'];
      await untilTrue(async () => (await restricted.kubectl(...counted)) !== '', 'nobody counts for the quota');
      await act();
    } finally {
      await restricted.kubectl('delete', 'resourcequota', 'small');
    }
  }

  test('whose quota has no room for the pod', async () => {
    await withQuota({ pods: '0' }, async () => {
      const ended = await namespace.exec(['-a', restricted.name, ...TRUE]);
      expect(ended.stderr).toMatch(/has no room for the agent's pod: .*exceeded quota: small/);
      expect(ended.code).toBe(4);
    });
  });

  test('whose quota has no room for the job', async () => {
    await withQuota({ 'count/jobs.batch': '0' }, async () => {
      const ended = await namespace.exec(['-a', restricted.name, ...TRUE]);
      expect(ended.stderr).toMatch(/has no room for the agent's pod: .*exceeded quota: small/);
      expect(ended.code).toBe(4);
    });
  });

  test('that does not exist', async () => {
    const ended = await namespace.exec(['-a', 'mirrord-test-nowhere', ...TRUE]);
    expect(ended.stderr).toContain('namespaces "mirrord-test-nowhere" not found');
    expect(ended.code).toBe(2);
  });

  test('that forbids pods with the rights of the agent', async () => {
    const guard = await guardNamespace();
    try {
      const ended = await namespace.exec(['-a', restricted.name, ...TRUE]);
      expect(ended.stderr).toMatch(
        /forbids the agent's pod by its pod security rules: .*violates PodSecurity "baseline/,
      );
      expect(ended.stderr).toMatch(/what to do: let the agent run in another namespace \(agent\.namespace\)/);
      expect(ended.code).toBe(3);
    } finally {
      await guard();
    }
  });
});

/** The server's own PodSecurity where it has it; else a webhook that says of hostPID what that would. */
async function guardNamespace(): Promise<() => Promise<void>> {
  const { serverVersion } = JSON.parse(await kubectl(['version', '-o', 'json'])) as {
    serverVersion: { minor: string };
  };
  if (Number.parseInt(serverVersion.minor, 10) >= 25) return async () => {};
  const make = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', '-subj', '/CN=127.0.0.1'];
  const files = { key: path.join(folder, 'key.pem'), cert: path.join(folder, 'cert.pem') };
  const made = spawnSync('openssl', [
    ...make,
    '-addext',
    'subjectAltName=IP:127.0.0.1',
    '-keyout',
    files.key,
    '-out',
    files.cert,
  ]);
  if (made.status !== 0) throw new Error(made.stderr.toString());
  const server = createServer({ key: readFileSync(files.key), cert: readFileSync(files.cert) }, (request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      const { apiVersion, kind, request: asked } = JSON.parse(body);
      const isAllowed = asked.object?.spec?.hostPID !== true;
      const message = 'violates PodSecurity "baseline:latest": host namespaces (hostPID=true)';
      const answer = isAllowed
        ? { uid: asked.uid, allowed: true }
        : { uid: asked.uid, allowed: false, status: { code: 403, message } };
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ apiVersion, kind, response: answer }));
    });
  });
  const url = await listening(server);
  const webhook = {
    name: 'pod-security.mirrord.test',
    clientConfig: { url, caBundle: readFileSync(files.cert).toString('base64') },
    rules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['pods'] }],
    namespaceSelector: { matchLabels: { 'mirrord.test/restricted': restricted.name } },
    failurePolicy: 'Fail',
    sideEffects: 'None',
    admissionReviewVersions: ['v1'],
  };
  const configuration = {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'ValidatingWebhookConfiguration',
    metadata: { name: restricted.name },
    webhooks: [webhook],
  };
  await kubectl(['apply', '-f', '-'], JSON.stringify(configuration));
  await untilTrue(refusesHostPid, 'the webhook is not asked');
  return async () => {
    await kubectl(['delete', 'validatingwebhookconfiguration', restricted.name]);
    server.close();
  };
}

/** The API server learns of a webhook some time after it is there. */
async function refusesHostPid(): Promise<boolean> {
  const spec = { hostPID: true, containers: [{ name: 'none', image: 'none' }] };
  const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'judged', namespace: restricted.name }, spec };
  const { stderr } = await tryKubectl(['create', '--dry-run=server', '-f', '-'], JSON.stringify(pod));
  return stderr.includes('violates PodSecurity');
}

function listening(server: Server): Promise<string> {
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve(`https://127.0.0.1:${(server.address() as AddressInfo).port}/`));
  });
}

describe('a user with the Role of deploy/role.yaml', () => {
  const account = `system:serviceaccount:${namespace.name}:developer`;

  /** A kubeconfig that acts as the account, with the rights of the account and no others: those of the Role, or without some. */
  async function kubeconfigOf(resource = 'pods', missing: readonly string[] = []): Promise<NodeJS.ProcessEnv> {
    await namespace.apply([{ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'developer' } }]);
    const role = readFileSync(path.join(import.meta.dirname, '../../deploy/role.yaml'), 'utf8');
    await kubectl(['apply', '-n', namespace.name, '-f', '-'], role);
    const rules = await rulesWithout(resource, missing);
    await namespace.kubectl('patch', 'role', 'mirrord', '--type=merge', '-p', JSON.stringify({ rules }));
    await namespace.apply([
      {
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'RoleBinding',
        metadata: { name: 'mirrord' },
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'mirrord' },
        subjects: [{ kind: 'ServiceAccount', name: 'developer', namespace: namespace.name }],
      },
    ]);
    await untilTrue(() => isAllowed('list', 'pods'), 'the Role is not heeded');
    for (const verb of missing) await untilTrue(async () => !(await isAllowed(verb, resource)), `may still ${verb}`);
    const config = JSON.parse(await kubectl(['config', 'view', '--raw', '--minify', '--flatten', '-o', 'json']));
    const token = await tokenOf('developer');
    config.users = [{ name: 'developer', user: { token } }];
    config.contexts[0].context.user = 'developer';
    const file = path.join(folder, 'kubeconfig');
    writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
    return { KUBECONFIG: file };
  }

  async function isAllowed(verb: string, resource: string): Promise<boolean> {
    const [kind = '', part = ''] = resource.split('/');
    const asked = ['auth', 'can-i', verb, kind, `--subresource=${part}`, '-n', namespace.name, '--as', account];
    return (await tryKubectl(asked)).stdout.trim() === 'yes';
  }

  /** Of the token request API, which every server since 1.20 serves. */
  async function tokenOf(name: string): Promise<string> {
    const request = {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: { expirationSeconds: 3_600 },
    };
    const place = `/api/v1/namespaces/${namespace.name}/serviceaccounts/${name}/token`;
    const answer = await kubectl(['create', '--raw', place, '-f', '-'], JSON.stringify(request));
    return (JSON.parse(answer) as { status: { token: string } }).status.token;
  }

  test('can do everything, and what was made is removed with the same rights', async () => {
    const env = await kubeconfigOf();
    const ended = await namespace.exec(['-t', 'deployment/shop', '--', 'sh', '-c', 'echo "$SERVICE"'], env);
    expect(ended.stdout, ended.stderr).toBe('shop\n');
    expect(ended.stderr).not.toMatch(/could not be removed|warning/);
    expect(await isAllowed('create', 'pods')).toBe(false);
  });

  test.each([
    ['jobs', ['create'], 'you may not create jobs.batch in namespace'],
    ['pods/portforward', ['get', 'create'], /you may not (get|create) pods\/portforward in namespace/],
    ['deployments', ['get'], /cannot get resource "deployments"/],
  ])('is told the right that is missing: %s', async (resource, verbs, words) => {
    const ended = await namespace.exec(TRUE, await kubeconfigOf(resource, verbs));
    expect(ended.stderr).toMatch(words);
    expect(ended.stderr).toMatch(/what to do: .*(deploy\/role\.yaml|docs\/kubernetes\.md)/);
    expect(ended.code).toBe(3);
  });

  test('needs no SPDY where WebSockets are all there is', async () => {
    const env = await kubeconfigOf('pods/portforward', ['create']);
    const ended = await namespace.exec(['-t', 'deployment/shop', '--', 'sh', '-c', 'echo "$SERVICE"'], env);
    expect(ended.stdout, ended.stderr).toBe('shop\n');
  });

  async function rulesWithout(resource: string, verbs: readonly string[]): Promise<object[]> {
    const { rules } = JSON.parse(await roleAsJson()) as { rules: { resources: string[]; verbs: string[] }[] };
    const left = rules.map((rule) => {
      if (!rule.resources.includes(resource)) return rule;
      return { ...rule, verbs: rule.verbs.filter((one) => !verbs.includes(one)) };
    });
    return left.filter((rule) => rule.verbs.length > 0);
  }

  function roleAsJson(): Promise<string> {
    const file = path.join(import.meta.dirname, '../../deploy/role.yaml');
    return kubectl(['create', '--dry-run=client', '-o', 'json', '-f', file]);
  }
});
