import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ApiServer } from '../testing/api-server.ts';
import { KubeApi } from './api.ts';
import type { ClusterSettings } from './config.ts';

let server: ApiServer;
const apis: KubeApi[] = [];
beforeEach(async () => {
  server = await ApiServer.start();
  server.answers.set('GET /version', {});
});
afterEach(async () => {
  for (const api of apis.splice(0)) await api.close();
  await server.close();
});

async function apiAs(user: object, settings: Partial<ClusterSettings> = {}, cluster: object = {}): Promise<KubeApi> {
  const api = new KubeApi(await server.access({ user, cluster }, settings));
  apis.push(api);
  return api;
}

const authorization = () => server.seen.at(-1)?.headers.authorization;

test.each<[string, object, string | undefined]>([
  ['a token', { token: 'abc' }, 'Bearer abc'],
  ['a name and password', { username: 'me', password: 'pw' }, `Basic ${Buffer.from('me:pw').toString('base64')}`],
  ['nothing', {}, undefined],
])('%s', async (_, user, expected) => {
  await (await apiAs(user)).get('/version');
  expect(authorization()).toBe(expected);
});

test('a token file goes before a token, and is read for every request', async () => {
  const tokenFile = join(server.folder, 'token');
  await writeFile(tokenFile, 'first\n');
  const api = await apiAs({ token: 'abc', tokenFile: 'token' });
  await api.get('/version');
  expect(authorization()).toBe('Bearer first');
  await writeFile(tokenFile, 'second');
  await api.get('/version');
  expect(authorization()).toBe('Bearer second');
});

test('impersonation is asked for with a header for each group', async () => {
  const as = { as: 'jane', 'as-groups': ['a', 'b'], 'as-user-extra': { scopes: ['x'] } };
  await (await apiAs({ token: 'abc', ...as })).get('/version');
  expect(server.seen[0]?.headers).toMatchObject({
    authorization: 'Bearer abc',
    'impersonate-user': 'jane',
    'impersonate-group': 'a, b',
    'impersonate-extra-scopes': 'x',
  });
});

test('an OpenID Connect token is used until it expires', async () => {
  const token = (exp: number) => `e30.${Buffer.from(JSON.stringify({ exp })).toString('base64url')}.x`;
  const provider = (exp: number) => ({ 'auth-provider': { name: 'oidc', config: { 'id-token': token(exp) } } });
  await (await apiAs(provider(Date.now() / 1000 + 600))).get('/version');
  expect(authorization()).toMatch(/^Bearer e30\./);
  await expect((await apiAs(provider(1))).get('/version')).rejects.toThrow('expired at 1970-01-01');
});

test('a provider that Kubernetes has dropped is refused with its successor', async () => {
  await expect(apiAs({ 'auth-provider': { name: 'gcp' } })).rejects.toThrow('use gke-gcloud-auth-plugin (exec)');
});

/** A plugin of the test: a shell script beside the kubeconfig that notes its calls and its environment. */
async function plugin(body: string, extra: object = {}): Promise<object> {
  const script = `#!/bin/sh\ncd "${server.folder}"\necho call >>calls\n${body}\n`;
  await writeFile(join(server.folder, 'plugin'), script, { mode: 0o755 });
  return { exec: { apiVersion: 'client.authentication.k8s.io/v1', command: './plugin', ...extra } };
}

function answer(status: object, apiVersion = 'client.authentication.k8s.io/v1'): string {
  return `cat <<'END'\n${JSON.stringify({ kind: 'ExecCredential', apiVersion, status })}\nEND`;
}

const calls = async () => (await readFile(join(server.folder, 'calls'), 'utf8')).trim().split('\n').length;

test('a plugin is asked once while its token holds, and given its arguments and variables', async () => {
  const user = await plugin(`echo "$1 $MORE $GIVEN" >said\n${answer({ token: 'made' })}`, {
    args: ['get'],
    env: [{ name: 'MORE', value: 'more' }],
  });
  const api = await apiAs(user, { env: { GIVEN: 'given', PATH: process.env['PATH'] } });
  await Promise.all([api.get('/version'), api.get('/version')]);
  await api.get('/version');
  expect(authorization()).toBe('Bearer made');
  expect(await calls()).toBe(1);
  expect(await readFile(join(server.folder, 'said'), 'utf8')).toBe('get more given\n');
});

test('an expired token is renewed before it is used, and a refused one after', async () => {
  const past = new Date(Date.now() - 1000).toISOString();
  const expiring = await apiAs(await plugin(answer({ token: 'made', expirationTimestamp: past })));
  await expiring.get('/version');
  await expiring.get('/version');
  expect(await calls()).toBe(2);

  let refusals = 1;
  server.answers.set('GET /version', (_, response) => {
    response.statusCode = refusals-- > 0 ? 401 : 200;
    response.end('{}');
  });
  const lasting = await apiAs(await plugin(answer({ token: 'made' })));
  await lasting.get('/version');
  expect(await calls()).toBe(4);
});

test('a plugin is told the cluster when it asks for it, and that nobody can answer it', async () => {
  const body = `printf '%s' "$KUBERNETES_EXEC_INFO" >info; ${answer({ token: 'x' })}`;
  const api = await apiAs(
    await plugin(body, { provideClusterInfo: true, interactiveMode: 'IfAvailable' }),
    {},
    {
      extensions: [{ name: 'client.authentication.k8s.io/exec', extension: { audience: 'a' } }],
    },
  );
  await api.get('/version');
  expect(JSON.parse(await readFile(join(server.folder, 'info'), 'utf8'))).toEqual({
    kind: 'ExecCredential',
    apiVersion: 'client.authentication.k8s.io/v1',
    spec: { interactive: false, cluster: { server: server.url, config: { audience: 'a' } } },
  });
});

test('a plugin that reads its stdin finds nothing there', async () => {
  const api = await apiAs(await plugin(`read -r line && exit 9\n${answer({ token: 'x' })}`));
  await api.get('/version');
  expect(authorization()).toBe('Bearer x');
});

test('a plugin that must ask the user is refused where there is no terminal', async () => {
  await expect(apiAs(await plugin('', { interactiveMode: 'Always' }))).rejects.toThrow('there is no terminal');
});

test.each([
  ['a failure', 'echo "please log in" >&2; exit 3', 'it ended with exit code 3: please log in'],
  ['no JSON', 'echo hello', 'its output is no JSON'],
  ['another version', answer({ token: 'x' }, 'client.authentication.k8s.io/v1beta1'), 'and client.authentication'],
  ['nothing in it', answer({}), 'neither a token nor a certificate'],
  ['too much', 'head -c 2000000 /dev/zero', 'it printed more than'],
  ['escapes', 'printf "\\033[2J" >&2; exit 1', '\\u001b[2J'],
])('a plugin’s %s is told in its own words, made harmless', async (_, body, text) => {
  const api = await apiAs(await plugin(body));
  await expect(api.get('/version')).rejects.toMatchObject({
    code: 'UNAUTHENTICATED',
    message: expect.stringContaining(text),
  });
});

test('a plugin that is not installed shows its hint', async () => {
  const exec = { apiVersion: 'client.authentication.k8s.io/v1beta1', command: 'no-such-plugin', installHint: 'get it' };
  await expect((await apiAs({ exec })).get('/version')).rejects.toMatchObject({
    message: expect.stringContaining('there is no such program'),
    data: { advice: 'get it' },
  });
});

test('a plugin that hangs ends with the call that wanted it', async () => {
  const api = await apiAs(await plugin('exec sleep 60'));
  await expect(api.get('/version', { signal: AbortSignal.timeout(200) })).rejects.toMatchObject({ code: 'CANCELLED' });
});
