// The ways to a cluster, each with a whole session over the real API server: kubeconfigs in several files, a credential plugin, the
// token of an account, a certificate that nobody vouches for, proxies, and from within a pod.

import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Duplex } from 'node:stream';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { kubectl, NODE_A, TestNamespace, untilTrue } from './cluster.ts';

interface Kubeconfig {
  clusters: { name: string; cluster: Record<string, unknown> }[];
  users: { name: string; user: Record<string, unknown> }[];
  contexts: { name: string; context: Record<string, unknown> }[];
  'current-context': string;
}

const root = path.join(import.meta.dirname, '../..');
const namespace = new TestNamespace();
/** A name that only the proxy knows. */
const HIDDEN = 'api.mirrord.test';
const EXEC_API = 'client.authentication.k8s.io/v1';
let folder = '';
/** As the suite is given it, certificates within. */
let given: Kubeconfig;
let server: URL;

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'mirrord-access-'));
  given = JSON.parse(await kubectl(['config', 'view', '--raw', '--minify', '--flatten', '-o', 'json'])) as Kubeconfig;
  server = new URL(String(given.clusters[0]?.cluster['server']));
  await namespace.create();
  await namespace.deploy('shop', 'node', NODE_A);
  await grantAccount();
  await namespace.ready('shop');
});
afterEach(() => namespace.assertClean());
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await namespace.delete();
});

/** An account with the documented Role. */
async function grantAccount(): Promise<void> {
  await kubectl(['apply', '-n', namespace.name, '-f', '-'], readFileSync(path.join(root, 'deploy/role.yaml'), 'utf8'));
  await namespace.apply([
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'developer' } },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'RoleBinding',
      metadata: { name: 'mirrord' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'mirrord' },
      subjects: [{ kind: 'ServiceAccount', name: 'developer', namespace: namespace.name }],
    },
  ]);
  const account = `system:serviceaccount:${namespace.name}:developer`;
  const asked = ['create', '--raw', '/apis/authorization.k8s.io/v1/subjectaccessreviews', '-f', '-'];
  const review = {
    apiVersion: 'authorization.k8s.io/v1',
    kind: 'SubjectAccessReview',
    spec: {
      user: account,
      resourceAttributes: { namespace: namespace.name, verb: 'create', group: 'batch', resource: 'jobs' },
    },
  };
  await untilTrue(async () => {
    const { status } = JSON.parse(await kubectl(asked, JSON.stringify(review))) as { status: { allowed?: boolean } };
    return status.allowed === true;
  }, 'the Role is not heeded');
}

async function accountToken(): Promise<string> {
  const request = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { expirationSeconds: 3_600 } };
  const place = `/api/v1/namespaces/${namespace.name}/serviceaccounts/developer/token`;
  const answer = await kubectl(['create', '--raw', place, '-f', '-'], JSON.stringify(request));
  return (JSON.parse(answer) as { status: { token: string } }).status.token;
}

function write(name: string, config: object): string {
  const file = path.join(folder, name);
  writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
  return file;
}

/** The given one with another user, or another way to its server. */
function changed(name: string, { user, cluster }: { user?: object; cluster?: object }): string {
  const config = structuredClone(given);
  if (user !== undefined) config.users = [{ name: config.users[0]?.name ?? '', user: { ...user } }];
  for (const one of config.clusters) one.cluster = { ...one.cluster, ...cluster };
  return write(name, config);
}

const SESSION = ['-t', 'deployment/shop', '--', 'sh', '-c', 'echo "$SERVICE"; cat /var/data/file.txt'];
const SEEN = 'shop\ndemo of mirrord\n';

async function expectSession(env: NodeJS.ProcessEnv): Promise<void> {
  const { code, stdout, stderr } = await namespace.exec(SESSION, env);
  expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: SEEN });
}

/** The cluster in one file, its user with certificates beside it in another. */
function inTwoFiles(): string {
  mkdirSync(path.join(folder, 'users'));
  const [entry] = given.users;
  const files: Record<string, string> = {};
  for (const [field, value] of Object.entries(entry?.user ?? {})) {
    if (!field.endsWith('-data')) continue;
    files[field.slice(0, -'-data'.length)] = field;
    writeFileSync(path.join(folder, 'users', field), Buffer.from(String(value), 'base64'), { mode: 0o600 });
  }
  const users = [{ name: entry?.name, user: Object.keys(files).length > 0 ? files : entry?.user }];
  const { clusters, contexts } = given;
  const common = { apiVersion: 'v1', kind: 'Config' };
  return [
    write('clusters', { ...common, clusters }),
    write('users/of-me', { ...common, users, contexts, 'current-context': given['current-context'] }),
  ].join(':');
}

/** Writes a line into `asked` each time it is asked. */
async function withPlugin(asked: string): Promise<string> {
  const plugin = path.join(folder, 'plugin');
  const status = { token: await accountToken(), expirationTimestamp: new Date(Date.now() + 3_600_000).toISOString() };
  const answer = JSON.stringify({ apiVersion: EXEC_API, kind: 'ExecCredential', status });
  writeFileSync(plugin, `#!/bin/sh\necho asked >>'${asked}'\necho '${answer}'\n`);
  chmodSync(plugin, 0o700);
  const exec = { apiVersion: EXEC_API, command: plugin, interactiveMode: 'Never' };
  return changed('of-plugin', { user: { exec } });
}

async function withTokenFile(): Promise<string> {
  const tokenFile = path.join(folder, 'token');
  writeFileSync(tokenFile, `${await accountToken()}\n`, { mode: 0o600 });
  return changed('of-token', { user: { tokenFile } });
}

test('kubeconfigs in several files, a credential plugin that is asked once, and the token in a file', async () => {
  const asked = path.join(folder, 'asked');
  const all = await Promise.all([inTwoFiles(), withPlugin(asked), withTokenFile()]);
  await Promise.all(all.map((KUBECONFIG) => expectSession({ KUBECONFIG })));
  expect(readFileSync(asked, 'utf8')).toBe('asked\n');
});

test('a server whose certificate nobody vouches for is refused, unless that is asked for', async () => {
  const config = structuredClone(given);
  for (const { cluster } of config.clusters) {
    delete cluster['certificate-authority-data'];
    delete cluster['certificate-authority'];
  }
  const KUBECONFIG = write('of-nobody', config);
  const refused = await namespace.exec(SESSION, { KUBECONFIG });
  expect([refused.code, refused.stdout]).toEqual([5, '']);
  expect(refused.stderr).toMatch(/certificate/);
  await expectSession({ KUBECONFIG, MIRRORD_ACCEPT_INVALID_CERTIFICATES: 'true' });
});

/** Leads to the API server, whatever name it is asked for, and keeps the names. */
class ForwardProxy {
  readonly asked: string[] = [];
  readonly #server: Server = createServer();
  readonly #open = new Set<Duplex>();

  async listen(): Promise<string> {
    this.#server.on('connect', (request, near: Duplex, head: Buffer) => {
      this.asked.push(request.url ?? '');
      const port = Number(server.port || 443);
      const far = net.connect({ host: server.hostname.replace(/^\[|\]$/g, ''), port, allowHalfOpen: true }, () => {
        near.write('HTTP/1.1 200 OK\r\n\r\n');
        far.write(head);
        near.pipe(far).pipe(near);
      });
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#open.add(one);
        one.on('error', () => other.destroy()).on('close', () => other.destroy());
      }
    });
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    for (const one of this.#open) one.destroy();
    this.#server.close();
  }
}

/** Under a name that is in no DNS, with the certificate of its own. */
function hiddenCluster(): { server: string; 'tls-server-name': string } {
  const hidden = new URL(server);
  hidden.hostname = HIDDEN;
  return { server: hidden.toString(), 'tls-server-name': server.hostname };
}

test('all of a session goes through the proxy of the kubeconfig, or of the environment, but for NO_PROXY', async () => {
  const proxy = new ForwardProxy();
  try {
    const url = await proxy.listen();
    await expectSession({ KUBECONFIG: changed('of-proxy', { cluster: { ...hiddenCluster(), 'proxy-url': url } }) });
    // What is asked, the watch and the port-forwards.
    expect(proxy.asked.length).toBeGreaterThanOrEqual(3);
    expect(new Set(proxy.asked)).toEqual(new Set([`${HIDDEN}:${server.port || 443}`]));
    const KUBECONFIG = changed('of-environment', { cluster: hiddenCluster() });
    await expectSession({ KUBECONFIG, HTTPS_PROXY: url, NO_PROXY: '' });
    const count = proxy.asked.length;
    const retries = path.join(folder, 'mirrord.json');
    writeFileSync(retries, JSON.stringify({ startup_retry: { max_retries: 0 } }));
    const around = { KUBECONFIG, HTTPS_PROXY: url, NO_PROXY: '.mirrord.test' };
    const { code, stderr } = await namespace.exec(['-f', retries, ...SESSION], around);
    expect(code).toBe(5);
    expect(stderr).toContain(HIDDEN);
    expect(proxy.asked).toHaveLength(count);
  } finally {
    proxy.close();
  }
});

test('within a pod the account of the pod is who asks, without a kubeconfig', async ({ skip }) => {
  skip(!process.env['MIRRORD_TEST_KUBE_DIR'], 'pods of this cluster do not see the files of this machine');
  await namespace.apply([
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'inside' },
      spec: {
        nodeName: NODE_A,
        serviceAccountName: 'developer',
        terminationGracePeriodSeconds: 0,
        volumes: [{ name: 'mirrord', hostPath: { path: root } }],
        containers: [
          {
            name: 'app',
            image: process.env['MIRRORD_TEST_DEMO_IMAGE'],
            imagePullPolicy: 'IfNotPresent',
            command: ['sleep', 'infinity'],
            volumeMounts: [{ name: 'mirrord', mountPath: '/mirrord', readOnly: true }],
            env: [
              { name: 'MIRRORD_AGENT_IMAGE', value: process.env['MIRRORD_TEST_IMAGE'] },
              { name: 'HOME', value: '/tmp' },
            ],
          },
        ],
      },
    },
  ]);
  await namespace.kubectl('wait', '--for=condition=Ready', 'pod/inside', '--timeout=120s');
  const inside = ['exec', 'inside', '--', 'node', '/mirrord/bin/mirrord'];
  expect(await namespace.kubectl(...inside, 'ls', '-t', 'deploy', '-o', 'name')).toBe('deployment/shop\n');
  const session = ['exec', '-t', 'deployment/shop', '--', 'sh', '-c', 'echo "$SERVICE"; cat /var/data/file.txt'];
  expect(await namespace.kubectl(...inside, ...session)).toBe(SEEN);
  await namespace.kubectl('delete', 'pod', 'inside', '--grace-period=0', '--wait=false');
});
