import { afterEach, beforeEach, expect, test } from 'vitest';
import { findCommand, parseArguments } from '../arguments.ts';
import { ApiServer } from '../testing/api-server.ts';
import { keepTerminal } from '../testing/terminal.ts';
import { clean } from './clean.ts';

let server: ApiServer;
beforeEach(async () => {
  server = await ApiServer.start();
  const jobs = '/apis/batch/v1/namespaces/shop/jobs';
  server.answers.set(`GET ${jobs}`, {
    items: [
      object('ended', { conditions: [{ type: 'Complete', status: 'True' }] }),
      object('failed', { conditions: [{ type: 'Failed', status: 'True' }] }),
      object('busy', { active: 1 }),
      object('going', { active: 1 }, { deletionTimestamp: '2026-01-01T00:00:00Z' }),
    ],
  });
  server.answers.set('GET /api/v1/namespaces/shop/pods', {
    items: [
      object('owned', { phase: 'Running' }, { ownerReferences: [{ kind: 'Job' }] }),
      object('stray', { phase: 'Succeeded' }),
    ],
  });
  for (const name of ['ended', 'busy']) server.answers.set(`DELETE ${jobs}/${name}`, {});
  server.answers.set(`DELETE ${jobs}/failed`, 409);
});
afterEach(() => server.close());

function object(name: string, status: object, metadata: object = {}): object {
  const labels = { 'mirrord.dev/session': `id-${name}` };
  const creationTimestamp = '2026-01-01T00:00:00Z';
  return { metadata: { name, namespace: 'shop', uid: `uid-${name}`, labels, creationTimestamp, ...metadata }, status };
}

async function run(args: readonly string[] = []) {
  const kubeconfig = await server.writeKubeconfig({ context: { namespace: 'shop' } });
  const terminal = keepTerminal(server.folder, { KUBECONFIG: kubeconfig });
  await clean(parseArguments(findCommand('clean'), args), terminal, () => Date.parse('2026-01-01T01:00:00Z'));
  const deleted = server.seen.filter(({ method }) => method === 'DELETE').map(({ path }) => path.split('/').at(-1));
  return { out: terminal.outText, err: terminal.errText, deleted };
}

test('what has ended goes, what runs stays and is said to', async () => {
  const { out, err, deleted } = await run();
  expect(deleted).toEqual(['ended', 'failed', 'stray']);
  expect(out).toBe(
    [
      'removed job/ended in shop, session id-ended, 60 min old',
      'removed job/failed in shop, session id-failed, 60 min old',
      'runs    job/busy in shop, session id-busy, 60 min old',
      'going   job/going in shop, session id-going, 60 min old',
      'removed pod/stray in shop, session id-stray, 60 min old',
      '',
    ].join('\n'),
  );
  expect(err).toContain('--session ID or --running ends it');
  expect(server.seen[0]?.path).toContain('labelSelector=app.kubernetes.io%2Fmanaged-by%3Dmirrord');
});

test('--running takes what runs as well, and --dry-run nothing', async () => {
  expect((await run(['--dry-run', '--running'])).deleted).toEqual([]);
  expect((await run(['--running'])).deleted).toEqual(['ended', 'failed', 'busy', 'stray']);
});

test('--session asks for that one only, and takes it though it runs', async () => {
  const { deleted } = await run(['--session', 'id-busy']);
  const selector = new URLSearchParams(server.seen[0]?.path.split('?')[1]).get('labelSelector');
  expect(selector).toBe('app.kubernetes.io/managed-by=mirrord,mirrord.dev/session=id-busy');
  expect(deleted).toContain('busy');
  await expect(run(['--session', 'a,b=c'])).rejects.toThrow('"a,b=c" is no session');
});

test('nothing to do is said', async () => {
  server.answers.set('GET /apis/batch/v1/namespaces/shop/jobs', { items: [] });
  server.answers.set('GET /api/v1/namespaces/shop/pods', { items: [] });
  expect(await run()).toEqual({
    out: '',
    err: 'mirrord: no session has left anything in namespace shop\n',
    deleted: [],
  });
});
