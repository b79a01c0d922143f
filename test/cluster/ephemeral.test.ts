// -e: the agent as a container of the target's pod, run by a real kubelet beside the target: the target's network, its processes, no
// process of the node. test/cluster/newer-api.ts says what of the API is real where the cluster's own is too old.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { NODE_A, NODE_B, type Run, TestNamespace, untilTrue } from './cluster.ts';
import { NewerApi } from './newer-api.ts';

const namespace = new TestNamespace();
let folder = '';
let api: NewerApi;

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'mirrord-ephemeral-'));
  await namespace.create();
  await Promise.all([namespace.deploy('shop', 'node', NODE_A), namespace.deploy('stock', 'python', NODE_B)]);
  await namespace.ready('shop', 'stock');
  api = await NewerApi.start();
});
afterEach(async () => {
  await namespace.assertClean();
  await agentsEnded();
});
afterAll(async () => {
  await api?.close();
  rmSync(folder, { recursive: true, force: true });
  await namespace.delete();
});

interface Status {
  readonly name: string;
  readonly state: { readonly terminated?: { readonly exitCode: number } };
}

/** They stay in the object of their pod, and must be over. */
async function agentsEnded(): Promise<void> {
  await untilTrue(async () => {
    const { items } = JSON.parse(await namespace.kubectl('get', 'pods', '-o', 'json')) as {
      items: { status: { ephemeralContainerStatuses?: Status[] } }[];
    };
    const all = items.flatMap(({ status }) => status.ephemeralContainerStatuses ?? []);
    return all.every(({ state }) => state.terminated !== undefined);
  }, 'an agent goes on in its target');
}

const start = (args: readonly string[], env: NodeJS.ProcessEnv = {}) =>
  namespace.start(['-e', ...args], { KUBECONFIG: api.kubeconfig, ...env });

test.each([
  ['shop', 'stock'],
  ['stock', 'shop'],
])('deployment/%s: its variables, files, names and connections, on its node', async (service, neighbour) => {
  const script = [
    'printf "%s\\n" "$GREETING"',
    'cat /var/data/file.txt',
    `getent hosts ${neighbour}.${namespace.name}.svc.cluster.local >/dev/null && echo known`,
    `curl -sS --noproxy '*' -m 60 'http://${neighbour}/sum?a=20&b=22'`,
    'exit 7',
  ].join('; ');
  const run = start(['-t', `deployment/${service}`, '--', 'sh', '-c', script]);
  run.child.stdin.end();
  const { code, stdout, stderr } = await run.ended;
  const [greeting, file, known, answer = '{}'] = stdout.split('\n');
  expect([greeting, file, known], stderr).toEqual([`hello from ${service}`, 'demo of mirrord', 'known']);
  expect(JSON.parse(answer)).toEqual({ sum: 42 });
  expect(code).toBe(7);
  expect(stderr).toMatch(new RegExp(`agent: pod ${service}-\\S+ \\(container mirrord-agent-`));
});

const SERVER = [
  'require("node:http").createServer((request, response) => {',
  '  console.log("got", request.url);',
  '  response.end("local " + request.url);',
  '}).listen(8080, () => console.log("listening"));',
  'process.stdin.resume().on("end", () => process.exit());',
].join('\n');

async function serving(incoming: 'mirror' | 'steal', words: RegExp, env: NodeJS.ProcessEnv = {}): Promise<Run> {
  const file = path.join(folder, 'mirrord.json');
  writeFileSync(file, JSON.stringify({ feature: { network: { incoming } } }));
  const run = start(['-f', file, '-t', 'deployment/shop', '--', 'node', '-e', SERVER], env);
  await run.says('stdout', /listening/);
  await run.says('stderr', words);
  return run;
}

/** From a pod on the other node. */
async function ask(place: string): Promise<string> {
  const program = 'import sys,urllib.request as u; print(u.urlopen(sys.argv[1],timeout=60).read().decode())';
  const python = ['exec', 'deploy/stock', '-c', 'stock', '--', 'python3', '-c', program];
  return (await namespace.kubectl(...python, namespace.url('shop', place))).trim();
}

const fromPod = (place: string) => expect.stringContaining(`"path":"/${place}"`);

test('a mirrored request is answered by the pod, and seen here', async () => {
  const run = await serving('mirror', /mirroring port 8080/);
  expect(await ask('copied')).toEqual(fromPod('copied'));
  await run.says('stdout', /got \/copied/);
  run.child.kill('SIGTERM');
  await run.ended;
});

test('a stolen request is answered here, and by the pod again when the session is over', async () => {
  const run = await serving('steal', /stealing port 8080/);
  expect(await ask('taken')).toBe('local /taken');
  run.child.kill('SIGTERM');
  await run.ended;
  expect(await ask('later')).toEqual(fromPod('later'));
});

test('a client that is killed leaves no agent and no redirect', async () => {
  const run = await serving('steal', /stealing port 8080/, { MIRRORD_AGENT_RECONNECT_TIMEOUT: '1' });
  expect(await ask('taken')).toBe('local /taken');
  run.child.kill('SIGKILL');
  await run.ended;
  await agentsEnded();
  expect(await ask('later')).toEqual(fromPod('later'));
});

test('two sessions in one pod at once do not know of each other', async () => {
  const script = 'read -r line; echo "$line $SERVICE"';
  const runs = [1, 2].map(() => start(['-t', 'deployment/shop', '--', 'sh', '-c', script]));
  for (const run of runs) await run.says('stderr', /Ready!/);
  for (const run of runs) run.child.stdin.end('both\n');
  const ended = await Promise.all(runs.map((run) => run.ended));
  expect(ended.map(({ stdout }) => stdout)).toEqual(['both shop\n', 'both shop\n']);
});

test.each([
  ['whose containers see each other’s processes: it is found among them', { shareProcessNamespace: true }],
  [
    'of another user, with the runtime’s system calls only: files are read with its rights',
    { securityContext: { runAsUser: 1000, runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } } },
  ],
])('a target in a pod %s', async (_, spec) => {
  await namespace.kubectl('patch', 'deployment', 'stock', '-p', JSON.stringify({ spec: { template: { spec } } }));
  await namespace.ready('stock');
  const script = 'echo "$SERVICE"; cat /var/data/file.txt';
  const run = start(['-t', 'deployment/stock', '--', 'sh', '-c', script]);
  run.child.stdin.end();
  const { stdout, stderr } = await run.ended;
  expect(stdout, stderr).toBe('stock\ndemo of mirrord\n');
});
