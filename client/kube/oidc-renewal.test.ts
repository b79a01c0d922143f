import { readFile, stat, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ApiServer, defaultSettings } from '../testing/api-server.ts';
import { KubeApi } from './api.ts';
import { loadClusterAccess } from './config.ts';

let server: ApiServer;
let provider: ApiServer;
let forms: { form: URLSearchParams; authorization: string | undefined }[];
const apis: KubeApi[] = [];
beforeEach(async () => {
  [server, provider] = [await ApiServer.start(), await ApiServer.start()];
  forms = [];
  server.answers.set('GET /version', {});
  provider.answers.set('GET /realm/.well-known/openid-configuration', { token_endpoint: `${provider.url}/token` });
});
afterEach(async () => {
  for (const api of apis.splice(0)) await api.close();
  await Promise.all([server.close(), provider.close()]);
});

function tokenUntil(seconds: number, name = 'x'): string {
  return `e30.${Buffer.from(JSON.stringify({ exp: Math.floor(seconds), name })).toString('base64url')}.x`;
}
const PAST = tokenUntil(1);
const NEXT = tokenUntil(Date.now() / 1000 + 600, 'next');

/** Answers one form after another, the last for ever. */
function grants(...answers: { status: number; body: object }[]): void {
  provider.answers.set('POST /token', (request: IncomingMessage, response: ServerResponse) => {
    let text = '';
    request.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    request.on('end', () => {
      const { status, body } = answers[Math.min(forms.length, answers.length - 1)] ?? { status: 500, body: {} };
      forms.push({ form: new URLSearchParams(text), authorization: request.headers.authorization });
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    });
  });
}

const GRANTED = { status: 200, body: { id_token: NEXT, refresh_token: 'refresh-2' } };

async function write(config: Readonly<Record<string, string>>): Promise<string> {
  const entries = Object.entries(config).map(([key, value]) => `          ${key}: ${value}`);
  const file = join(server.folder, 'config');
  const text = [
    '# mine',
    'current-context: test',
    `clusters: [ { name: c, cluster: { server: "${server.url}" } } ]`,
    'contexts: [ { name: test, context: { cluster: c, user: u } } ]',
    'users:',
    '  - name: other',
    '    user: { token: abc }',
    '  - name: u # the one',
    '    user:',
    '      auth-provider:',
    '        name: oidc',
    '        config:',
    ...entries,
  ];
  await writeFile(file, `${text.join('\n')}\n`, { mode: 0o600 });
  return file;
}

const LOGIN = () => ({
  'client-id': 'kube',
  'client-secret': 'a:b',
  'id-token': PAST,
  'idp-issuer-url': `${provider.url}/realm/`,
  'refresh-token': 'refresh-1',
});

async function apiOf(file: string): Promise<KubeApi> {
  const api = new KubeApi(await loadClusterAccess({ ...defaultSettings, kubeconfig: file }));
  apis.push(api);
  return api;
}

const used = () => server.seen.map(({ headers }) => headers.authorization);

test('an id-token that has expired is renewed, and what came is kept in the kubeconfig as it is', async () => {
  grants(GRANTED);
  const file = await write(LOGIN());
  const before = await readFile(file, 'utf8');
  const api = await apiOf(file);
  await Promise.all([api.get('/version'), api.get('/version')]);
  await api.get('/version');
  expect(used()).toEqual([`Bearer ${NEXT}`, `Bearer ${NEXT}`, `Bearer ${NEXT}`]);
  expect(forms).toHaveLength(1);
  expect(Object.fromEntries(forms[0]?.form ?? [])).toEqual({ grant_type: 'refresh_token', refresh_token: 'refresh-1' });
  expect(forms[0]?.authorization).toBe(`Basic ${Buffer.from('kube:a%3Ab').toString('base64')}`);
  expect(await readFile(file, 'utf8')).toBe(before.replace(PAST, NEXT).replace('refresh-1', 'refresh-2'));
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  await expect(stat(`${file}.lock`)).rejects.toThrow('ENOENT');
});

test('a provider that wants the client in the form is given it there', async () => {
  grants({ status: 401, body: { error: 'invalid_client' } }, { status: 200, body: { id_token: NEXT } });
  const file = await write(LOGIN());
  await (await apiOf(file)).get('/version');
  expect(used()).toEqual([`Bearer ${NEXT}`]);
  expect(Object.fromEntries(forms[1]?.form ?? [])).toMatchObject({ client_id: 'kube', client_secret: 'a:b' });
  // The refresh token is still the one that works.
  expect(await readFile(file, 'utf8')).toContain('refresh-token: refresh-1');
});

test('a kubeconfig in JSON stays JSON', async () => {
  grants(GRANTED);
  const file = await server.writeKubeconfig({ user: { 'auth-provider': { name: 'oidc', config: LOGIN() } } });
  await (await apiOf(file)).get('/version');
  const [{ user }] = JSON.parse(await readFile(file, 'utf8')).users;
  expect(user['auth-provider'].config).toEqual({ ...LOGIN(), 'id-token': NEXT, 'refresh-token': 'refresh-2' });
});

test('what somebody else has renewed meanwhile is taken, and the provider not asked', async () => {
  const file = await write(LOGIN());
  const api = await apiOf(file);
  await writeFile(file, (await readFile(file, 'utf8')).replace(PAST, NEXT));
  await api.get('/version');
  expect([used(), forms]).toEqual([[`Bearer ${NEXT}`], []]);
});

test('a token that the cluster does not take is renewed once', async () => {
  grants(GRANTED);
  server.answers.set('GET /version', 401);
  const file = await write({ ...LOGIN(), 'id-token': tokenUntil(Date.now() / 1000 + 600, 'refused') });
  await expect((await apiOf(file)).get('/version')).rejects.toMatchObject({ httpStatus: 401 });
  expect(used()).toHaveLength(2);
  expect(used()[1]).toBe(`Bearer ${NEXT}`);
  expect(forms).toHaveLength(1);
});

test.each<[string, () => Record<string, string>, RegExp]>([
  ['is over', LOGIN, /does not renew it \(400, invalid_grant: the session is over\)/],
  ['has no client', () => ({ ...LOGIN(), 'client-id': '""' }), /client-id is not set/],
  ['would go over an open line', () => ({ ...LOGIN(), 'idp-issuer-url': 'http://idp.example' }), /is no https address/],
])('a login that %s is told, without a secret, and nothing is written', async (_how, config, words) => {
  grants({ status: 400, body: { error: 'invalid_grant', error_description: 'the session is over' } });
  const file = await write(config());
  const before = await readFile(file, 'utf8');
  const error = await (await apiOf(file)).get('/version').catch((thrown: Error) => thrown);
  expect(error).toMatchObject({ code: 'UNAUTHENTICATED' });
  expect(String(error)).toMatch(words);
  expect(String(error)).not.toMatch(/refresh-1|a:b|e30/);
  expect(await readFile(file, 'utf8')).toBe(before);
  await expect(stat(`${file}.lock`)).rejects.toThrow('ENOENT');
});

test('without a refresh token it is said when the login ended', async () => {
  const { 'refresh-token': _, ...config } = LOGIN();
  const api = await apiOf(await write(config));
  await expect(api.get('/version')).rejects.toThrow(/expired at 1970-01-01.*, and there is no refresh-token/);
});
