import { afterEach, beforeEach, expect, test } from 'vitest';
import { findCommand, parseArguments } from '../arguments.ts';
import { ApiServer } from '../testing/api-server.ts';
import { keepTerminal } from '../testing/terminal.ts';
import { complete } from './complete.ts';

let server: ApiServer;
beforeEach(async () => {
  server = await ApiServer.start();
});
afterEach(() => server.close());

const table = (...names: string[]) => ({ rows: names.map((name) => ({ cells: [name] })) });

async function offers(what: string, prefix: string, typed: readonly string[] = []): Promise<string[]> {
  const kubeconfig = await server.writeKubeconfig({ context: { namespace: 'shop' } });
  const terminal = keepTerminal(server.folder, { KUBECONFIG: kubeconfig, MIRRORD_COMPLETION_DEADLINE_MS: '60000' });
  await complete(parseArguments(findCommand('complete'), [what, prefix, '--', ...typed]), terminal);
  expect(terminal.errText).toBe('');
  return terminal.outText.split('\n').filter(Boolean);
}

test('kinds are offered without asking anybody, short ones for who has begun one', async () => {
  expect(await offers('target', 'de')).toEqual(['deployment/']);
  expect(await offers('target', 'sts')).toEqual(['sts/']);
  expect(await offers('target', '')).toContain('pid/');
  expect(await offers('kind', 'd')).toEqual(['deployment', 'daemonset']);
  expect(server.seen).toEqual([]);
});

test('names come from the namespace that was typed, in the words that were typed', async () => {
  server.answers.set('GET /apis/apps/v1/namespaces/shop/deployments', table('web', 'worker', 'db'));
  server.answers.set('GET /apis/apps/v1/namespaces/other/deployments', table('wob'));
  expect(await offers('target', 'deploy/w')).toEqual(['deploy/web', 'deploy/worker']);
  for (const typed of [['-n', 'other'], ['--target-namespace=other'], ['--namespace', '=', 'other']]) {
    expect(await offers('target', 'deployment/w', [...typed, '-t', 'deployment/w'])).toEqual(['deployment/wob']);
  }
});

test('cron jobs are those of the version that the server has', async () => {
  server.answers.set('GET /apis/batch/v1/namespaces/shop/cronjobs', (_, response) => {
    response.statusCode = 404;
    response.end('404 page not found');
  });
  server.answers.set('GET /apis/batch/v1beta1/namespaces/shop/cronjobs', table('nightly'));
  expect(await offers('target', 'cronjob/n')).toEqual(['cronjob/nightly']);
});

test('containers of a pod follow its name', async () => {
  server.answers.set('GET /api/v1/namespaces/shop/pods/web', { spec: { containers: [{ name: 'a' }, { name: 'b' }] } });
  expect(await offers('target', 'pod/web/')).toEqual(['pod/web/container/a', 'pod/web/container/b']);
  expect(await offers('target', 'pod/web/container/b')).toEqual(['pod/web/container/b']);
});

test('namespaces come from the cluster, contexts from the kubeconfig', async () => {
  server.answers.set('GET /api/v1/namespaces', table('default', 'shop', 'shop-2'));
  expect(await offers('namespace', 'sh')).toEqual(['shop', 'shop-2']);
  expect(await offers('context', 't', ['--context', 'x'])).toEqual(['test']);
});

test('a search ends where the names are past the prefix', async () => {
  server.answers.set('GET /api/v1/namespaces', { ...table('a', 'b', 'c'), metadata: { continue: 'more' } });
  expect(await offers('namespace', 'b')).toEqual(['b']);
  expect(server.seen.length).toBe(1);
});

test('a cluster that refuses, and words that make no sense, offer nothing and say nothing', async () => {
  server.answers.set('GET /api/v1/namespaces', 403);
  expect(await offers('namespace', '')).toEqual([]);
  expect(await offers('target', 'x/y')).toEqual([]);
  expect(await offers('context', '', ['-f', '/nowhere.json'])).toEqual([]);
  expect(await offers('nonsense', '')).toEqual([]);
});

test('a cluster that does not answer is not waited for', async () => {
  server.answers.set('GET /api/v1/namespaces', () => {});
  const kubeconfig = await server.writeKubeconfig();
  const terminal = keepTerminal(server.folder, { KUBECONFIG: kubeconfig, MIRRORD_COMPLETION_DEADLINE_MS: '50' });
  await complete(parseArguments(findCommand('complete'), ['namespace', '', '--']), terminal);
  expect(terminal.outText).toBe('');
});
