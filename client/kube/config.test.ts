import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { stringify } from 'yaml';
import { defaultSettings } from '../testing/api-server.ts';
import { type ClusterAccess, type ClusterSettings, loadClusterAccess } from './config.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mirrord-kubeconfig-'));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true });
});

async function file(name: string, content: object | string): Promise<string> {
  const path = join(folder, name);
  await mkdir(join(path, '..'), { recursive: true });
  await writeFile(path, typeof content === 'string' ? content : stringify(content));
  return path;
}

function load(settings: Partial<ClusterSettings>) {
  return loadClusterAccess({ ...defaultSettings, env: { HOME: folder }, ...settings }, folder);
}

function simple(name: string, server: string, extra: object = {}): object {
  return {
    'current-context': name,
    clusters: [{ name: `c-${name}`, cluster: { server } }],
    users: [{ name: `u-${name}`, user: { token: `token-${name}` } }],
    contexts: [{ name, context: { cluster: `c-${name}`, user: `u-${name}`, ...extra } }],
  };
}

const optionsOf = ({ login }: ClusterAccess) => login.options(new AbortController().signal);
const headersOf = async (access: ClusterAccess) => (await optionsOf(access)).headers;

test('~/.kube/config is read when nothing else is named, with its namespace or default', async () => {
  await file('.kube/config', simple('one', 'https://one.test:6443', { namespace: 'shop' }));
  const access = await load({});
  expect([access.server.href, access.contextName, access.namespace]).toEqual(['https://one.test:6443/', 'one', 'shop']);
  await file('.kube/config', simple('two', 'two.test'));
  expect(await load({})).toMatchObject({ namespace: 'default', server: new URL('https://two.test') });
});

test('files of KUBECONFIG are merged: the first that names a thing wins, and missing ones are passed over', async () => {
  const first = await file('a', simple('one', 'https://one.test'));
  const second = await file('b', {
    'current-context': 'two',
    clusters: [
      { name: 'c-one', cluster: { server: 'https://other.test' } },
      { name: 'c-two', cluster: { server: 'https://two.test' } },
    ],
    contexts: [{ name: 'two', context: { cluster: 'c-two', user: 'u-one' } }],
  });
  const env = { HOME: folder, KUBECONFIG: `${join(folder, 'none')}:${first}:${second}` };
  const one = await load({ env });
  expect([one.contextName, one.server.hostname]).toEqual(['one', 'one.test']);
  const two = await load({ env, context: 'two' });
  expect([two.server.hostname, await headersOf(two)]).toEqual(['two.test', { authorization: 'Bearer token-one' }]);
});

test('the setting kubeconfig wins over KUBECONFIG, and knows ~ and variables', async () => {
  await file('x/mine', simple('mine', 'https://mine.test'));
  const other = await file('other', simple('other', 'https://other.test'));
  const env = { HOME: folder, KUBECONFIG: other, PART: 'x' };
  for (const kubeconfig of ['~/x/mine', '$HOME/${PART}/mine', `/nowhere:${folder}/x/mine`]) {
    expect((await load({ kubeconfig, env })).contextName).toBe('mine');
  }
});

test('paths in a file are relative to that file', async () => {
  await file('sub/ca.pem', 'the authority');
  const config = await file('sub/config', {
    ...simple('one', 'https://one.test'),
    clusters: [{ name: 'c-one', cluster: { server: 'https://one.test', 'certificate-authority': 'ca.pem' } }],
  });
  expect(String((await optionsOf(await load({ kubeconfig: config }))).ca)).toBe('the authority');
});

test('accept_invalid_certificates wins over the kubeconfig both ways', async () => {
  const cluster = { server: 'https://one.test', 'insecure-skip-tls-verify': true };
  const config = await file('config', { ...simple('one', 'x'), clusters: [{ name: 'c-one', cluster }] });
  const insecure = async (acceptInvalidCertificates: boolean | null) =>
    (await load({ kubeconfig: config, acceptInvalidCertificates })).isInsecure;
  expect([await insecure(null), await insecure(false), await insecure(true)]).toEqual([true, false, true]);
});

test.each([
  ['two', 'there is no context "two"; did you mean tow?'],
  ['something', 'there is no context "something"; there are tow'],
])('context %s that is not there is refused, with those that are', async (context, text) => {
  const config = await file('config', simple('tow', 'https://one.test'));
  await expect(load({ kubeconfig: config, context })).rejects.toThrow(text);
});

test.each<[string, object | string, string]>([
  ['broken YAML', 'a: [b', 'it is no YAML'],
  ['a list', '- a', 'it names no context'],
  ['nothing', '', 'it names no context'],
  ['no current context', { ...simple('a', 'x'), 'current-context': '' }, 'current-context is not set; choose one with'],
  ['a cluster that is missing', { ...simple('a', 'x'), clusters: [] }, 'names the cluster "c-a", which is not there'],
  ['a user that is missing', { ...simple('a', 'x'), users: [] }, 'names the user "u-a", which is not there'],
  ['a server of another kind', simple('a', 'ftp://x'), 'server "ftp://x" is no http or https address'],
  [
    'no server',
    { ...simple('a', 'x'), clusters: [{ name: 'c-a', cluster: {} }] },
    'names the cluster "c-a", which is not there or has no server',
  ],
  [
    'an entry without a name',
    { ...simple('a', 'x'), users: [{ user: {} }] },
    'names the user "u-a", which is not there',
  ],
])('%s is refused by name of the file', async (_, content, text) => {
  const config = await file('config', content);
  await expect(load({ kubeconfig: config })).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining(text),
  });
  await expect(load({ kubeconfig: config })).rejects.toThrow(config);
});

test('a broken file is not quoted, because a token may be in it', async () => {
  const config = await file('config', 'users: [{token: very-secret\n x: [');
  const error = await load({ kubeconfig: config }).catch((thrown: unknown) => thrown);
  expect(String(error)).not.toContain('very-secret');
  expect(String(Object(error).cause)).not.toContain('very-secret');
});

test('a named file that does not exist is an error that says who named it', async () => {
  await expect(load({ kubeconfig: '/nowhere/x' })).rejects.toThrow(
    '/nowhere/x does not exist (the setting kubeconfig)',
  );
  await expect(load({ env: { KUBECONFIG: '/nowhere/y' } })).rejects.toThrow('/nowhere/y does not exist (KUBECONFIG)');
  await expect(load({})).rejects.toThrow('no cluster is known');
});

test('in a pod without a kubeconfig, the pod’s own service account is used, and its token read anew', async () => {
  const mounted = 'var/run/secrets/kubernetes.io/serviceaccount';
  await file(`${mounted}/token`, 'first\n');
  await file(`${mounted}/ca.crt`, 'the authority');
  await file(`${mounted}/namespace`, 'shop\n');
  const env = { HOME: folder, KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '6443' };
  // The library looks nowhere else.
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
  const access = await load({ env });
  expect(access).toMatchObject({ contextName: null, namespace: 'shop', server: new URL('https://[fd00::1]:6443') });
  expect(String((await optionsOf(access)).ca)).toBe('the authority');
  expect(await headersOf(access)).toEqual({ authorization: 'Bearer first' });
  await file(`${mounted}/token`, 'second');
  expect(await headersOf(access)).toEqual({ authorization: 'Bearer second' });
});

test('a proxy of the kubeconfig wins over that of the environment, which use_proxy leaves out', async () => {
  const env = { HOME: folder, HTTPS_PROXY: 'http://env.test:1' };
  const plain = await file('plain', simple('one', 'https://one.test'));
  const cluster = { server: 'https://one.test', 'proxy-url': 'socks5://file.test' };
  const own = await file('own', { ...simple('one', 'x'), clusters: [{ name: 'c-one', cluster }] });
  expect((await load({ kubeconfig: plain, env })).proxy).toMatchObject({ host: 'env.test', port: 1 });
  expect((await load({ kubeconfig: plain, env, useProxy: false })).proxy).toBe(null);
  const proxy = { kind: 'socks5', host: 'file.test', port: 1080 };
  expect((await load({ kubeconfig: own, env, useProxy: false })).proxy).toMatchObject(proxy);
});

test('whatever a kubeconfig holds, it leads to a cluster or is refused by its name', async () => {
  const value = fc.oneof(
    fc.constantFrom('a', '', 'https://x.test', true, null, 7, '/etc/hostname'),
    fc.jsonValue({ maxDepth: 2 }),
  );
  const keys = [
    'server',
    'certificate-authority-data',
    'proxy-url',
    'tls-server-name',
    'token',
    'exec',
    'username',
    'as',
  ];
  const fields = fc.dictionary(
    fc.constantFrom(...keys, 'cluster', 'user', 'namespace', 'auth-provider', 'tokenFile'),
    value,
  );
  const list = (inner: string) => fc.oneof(fc.array(fc.record({ name: fc.constant('a'), [inner]: fields })), value);
  const document = fc.record(
    { 'current-context': value, clusters: list('cluster'), users: list('user'), contexts: list('context') },
    { requiredKeys: [] },
  );
  await fc.assert(
    fc.asyncProperty(document, async (content) => {
      const config = await file('config', JSON.stringify(content));
      try {
        expect((await load({ kubeconfig: config })).server).toBeInstanceOf(URL);
      } catch (error) {
        expect(error).toMatchObject({ code: 'CONFIG_INVALID' });
      }
    }),
    { numRuns: 200 },
  );
});
