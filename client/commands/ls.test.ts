import { afterEach, beforeEach, expect, test } from 'vitest';
import { findCommand, parseArguments } from '../arguments.ts';
import { type Answer, ApiServer } from '../testing/api-server.ts';
import { keepTerminal } from '../testing/terminal.ts';
import { ls } from './ls.ts';

let server: ApiServer;
let kubeconfig = '';
beforeEach(async () => {
  server = await ApiServer.start();
  kubeconfig = await server.writeKubeconfig({ context: { namespace: 'shop' } });
});
afterEach(() => server.close());

function table(columns: readonly string[], ...rows: readonly (readonly unknown[])[]): object {
  return {
    columnDefinitions: columns.map((name) => ({ name })),
    rows: rows.map(([namespace, ...cells]) => ({
      cells,
      object: namespace === null ? null : { metadata: { namespace } },
    })),
  };
}

/** In the namespace, or everywhere with the namespace of each row. */
function answers(isOfAll = false): Readonly<Record<string, Answer>> {
  const core = isOfAll ? '/api/v1' : '/api/v1/namespaces/shop';
  const apps = isOfAll ? '/apis/apps/v1' : '/apis/apps/v1/namespaces/shop';
  const space = isOfAll ? 'shop' : null;
  return {
    [`GET ${core}/pods`]: table(
      ['Name', 'Ready', 'Status', 'Node'],
      [space, 'web-1', '1/1', 'Running', 'node1'],
      [space, 'web-2', '0/1', 'CrashLoopBackOff', 'node2'],
    ),
    [`GET ${core}/services`]: table(
      ['Name', 'Type', 'Selector'],
      [space, 'web', 'ClusterIP', 'app=web'],
      [space, 'ext', 'ClusterIP', '<none>'],
    ),
    [`GET ${apps}/deployments`]: table(
      ['Name', 'Ready', 'Available'],
      [space, 'web', '1/2', 1],
      [space, 'idle', '0/0', 0],
    ),
    [`GET ${apps}/statefulsets`]: 403,
    [`GET ${apps}/daemonsets`]: table(['Name', 'Desired', 'Ready']),
  };
}

async function run(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const isOfAll = args.includes('-A');
  for (const [key, answer] of Object.entries(answers(isOfAll))) server.answers.set(key, answer);
  const terminal = keepTerminal(server.folder, { KUBECONFIG: kubeconfig, ...env });
  const outcome = await ls(parseArguments(findCommand('ls'), args), terminal);
  return { outcome, out: terminal.outText, err: terminal.errText };
}

test('what runs is listed for people, workloads first, and what may not be listed is said', async () => {
  const { out, err, outcome } = await run([]);
  expect(out.split('\n').map((line) => line.replace(/ +/, ' | '))).toEqual([
    'deployment/web | 1/2 ready',
    'service/web | ClusterIP',
    'pod/web-1 | 1/1 ready on node1',
    '',
  ]);
  expect(err).toBe('mirrord: no statefulsets are listed: statefulsets: Forbidden\n');
  expect(outcome).toEqual({ kind: 'exit', code: 0 });
});

test('rows come without their objects, and agents of mirrord are left out by the server', async () => {
  await run(['-t', 'po', '-l', 'app=web']);
  const query = new URLSearchParams(server.seen[0]?.path.split('?')[1]);
  expect(query.get('includeObject')).toBe('None');
  expect(query.get('limit')).toBe('100');
  expect(query.get('labelSelector')).toMatch(/^app!=mirrord,.*,app=web$/);
});

test('-o name gives what --target takes, and kinds are chosen by any of their names', async () => {
  expect((await run(['-o', 'name', '-t', 'deploy,svc', '-t', 'po'])).out).toBe(
    'deployment/web\nservice/web\npod/web-1\n',
  );
});

test('-A names the namespace of each', async () => {
  expect((await run(['-A', '-t', 'po', '-o', 'name'])).out).toBe('shop pod/web-1\n');
  expect((await run(['-A', '-t', 'po'])).out).toMatch(/^shop +pod\/web-1 +1\/1 ready on node1\n$/);
});

test('--json is the list that editors read, pods first', async () => {
  expect(JSON.parse((await run(['--json'])).out)).toEqual(['pod/web-1', 'deployment/web', 'service/web']);
  expect(JSON.parse((await run(['-o', 'json', '-t', 'ds'])).out)).toEqual([]);
});

test('the rich form and its kinds are chosen by variables', async () => {
  server.answers.set('GET /api/v1/namespaces', table(['Name'], [null, 'default'], [null, 'shop']));
  const env = { MIRRORD_LS_RICH_OUTPUT: 'true', MIRRORD_LS_TARGET_TYPES: '["pod", "daemonset"]' };
  expect(JSON.parse((await run(['-o', 'json'], env)).out)).toEqual({
    targets: [{ path: 'pod/web-1', available: true }],
    current_namespace: 'shop',
    namespaces: ['default', 'shop'],
  });
});

test('a namespace that may not be asked for all others is the only one', async () => {
  server.answers.set('GET /api/v1/namespaces', 403);
  const env = { MIRRORD_LS_RICH_OUTPUT: 'true', MIRRORD_LS_TARGET_TYPES: '["daemonset"]' };
  expect(JSON.parse((await run(['--json'], env)).out)).toMatchObject({ namespaces: ['shop'] });
});

test('an empty list says where to look', async () => {
  const { out, err } = await run(['-t', 'ds']);
  expect([out, err]).toEqual(['', 'mirrord: nothing that runs can be targeted here; -n or -A looks elsewhere\n']);
});

test('when nothing may be listed at all, that is the failure', async () => {
  await expect(run(['-t', 'sts'])).rejects.toMatchObject({ code: 'NOT_PERMITTED' });
});

test('names of the cluster cannot command the terminal', async () => {
  const evil = table(['Name', 'Ready', 'Available'], [null, '\u001b[2Jx', '1/1', 1]);
  const terminal = keepTerminal(server.folder, { KUBECONFIG: kubeconfig });
  server.answers.set('GET /apis/apps/v1/namespaces/shop/deployments', evil);
  await ls(parseArguments(findCommand('ls'), ['-t', 'deploy']), terminal);
  expect(terminal.outText).toMatch(/^deployment\/\\u001b\[2Jx +1\/1 ready\n$/);
});

test.each([
  [['-t', 'node'], '"node" is no kind of target'],
  [['-o', 'yaml'], '--output is "yaml"'],
  [['-A', '-n', 'x'], 'exclude each other'],
  [['pods'], 'ls takes no "pods"'],
])('%j is refused', async (args, text) => {
  await expect(run(args)).rejects.toThrow(text);
});
