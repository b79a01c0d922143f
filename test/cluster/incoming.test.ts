// What arrives at a pod arrives at the local process: a copy, or instead of the pod; and the pod answers again by itself however
// the session ends.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  agentProcess,
  agentProcesses,
  DEMO_IMAGE,
  NODE_A,
  NODE_B,
  type Run,
  TestNamespace,
  untilTrue,
} from './cluster.ts';

const namespace = new TestNamespace();
let folder = '';

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'mirrord-incoming-'));
  await namespace.create();
  await Promise.all([namespace.deploy('shop', 'node', NODE_A), namespace.deploy('stock', 'python', NODE_B)]);
  await namespace.ready('shop', 'stock');
});
afterEach(() => namespace.assertClean());
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await namespace.delete();
});

const SERVER = [
  'require("node:http").createServer((request, response) => {',
  '  console.log("got", request.url);',
  '  response.end("local " + request.url);',
  '}).listen(8080, () => console.log("listening"));',
  // Outlives a client that was killed, but not the test.
  'process.stdin.resume().on("end", () => process.exit());',
].join('\n');

/** A local server under mirrord that has the target's port. */
async function serving(
  incoming: string | object,
  words: RegExp,
  env: NodeJS.ProcessEnv = {},
  service = 'shop',
): Promise<{ run: Run; pod: string }> {
  const file = path.join(folder, `${service}.json`);
  writeFileSync(file, JSON.stringify({ feature: { network: { incoming } } }));
  const run = namespace.start(['-f', file, '-t', `deployment/${service}`, '--', 'node', '-e', SERVER], env);
  await run.says('stdout', /listening/);
  await run.says('stderr', words);
  const [, pod = ''] = await run.says('stderr', /agent: pod (\S+) in/);
  return { run, pod };
}

/** From a pod on the other node. */
async function ask(place: string, headers: Readonly<Record<string, string>> = {}, service = 'shop'): Promise<string> {
  const program =
    'import json,sys,urllib.request as u;' +
    'print(u.urlopen(u.Request(sys.argv[1],headers=json.loads(sys.argv[2])),timeout=60).read().decode())';
  const python = ['exec', 'deploy/stock', '--', 'python3', '-c', program];
  return (await namespace.kubectl(...python, namespace.url(service, place), JSON.stringify(headers))).trim();
}

const fromPod = (place: string) => expect.stringContaining(`"path":"/${place}"`);

/** As a terminal does on Ctrl-C. */
async function interrupt(run: Run): Promise<void> {
  run.child.kill('SIGTERM');
  await run.ended;
}

test('a mirrored request is answered by the pod, and seen here', async () => {
  const { run } = await serving('mirror', /mirroring port 8080/);
  expect(await ask('copied')).toEqual(fromPod('copied'));
  await run.says('stdout', /got \/copied/);
  await interrupt(run);
  expect(await ask('later')).toEqual(fromPod('later'));
});

test('a stolen request is answered here, and by the pod again when the session is over', async () => {
  const { run } = await serving('steal', /stealing port 8080/);
  expect(await ask('taken')).toBe('local /taken');
  await interrupt(run);
  expect(await ask('later')).toEqual(fromPod('later'));
});

test('of stolen requests only those that fit the filter come here', async () => {
  const http_filter = { header_filter: '^x-user: me$' };
  const { run } = await serving({ mode: 'steal', http_filter }, /stealing port 8080/);
  expect(await ask('others')).toEqual(fromPod('others'));
  expect(await ask('mine', { 'x-user': 'me' })).toBe('local /mine');
  expect(run.stdout).not.toContain('/others');
  await interrupt(run);
});

test('the pod answers by itself when the client was killed', async () => {
  const { run, pod } = await serving('steal', /stealing port 8080/, { MIRRORD_AGENT_RECONNECT_TIMEOUT: '1' });
  expect(await ask('taken')).toBe('local /taken');
  run.child.kill('SIGKILL');
  await untilTrue(() => agentProcesses(pod).length === 0, `the agent ${pod} waits for ever`);
  expect(await ask('later')).toEqual(fromPod('later'));
});

test('the pod answers by itself at once when the stealer was killed, until its node has started it anew', async () => {
  const { run, pod } = await serving('steal', /stealing port 8080/);
  const agent = agentProcess(pod, 'agent.js');
  const stealer = agentProcess(pod, 'beside.js\0stealer');
  // It tells the new one what is stolen.
  process.kill(agent, 'SIGSTOP');
  try {
    process.kill(stealer, 'SIGKILL');
    await untilTrue(() => !agentProcesses(pod).includes(stealer), 'the stealer does not end');
    expect(await ask('meanwhile')).toEqual(fromPod('meanwhile'));
  } finally {
    process.kill(agent, 'SIGCONT');
  }
  await untilTrue(async () => (await ask('later')) === 'local /later', 'it does not steal again');
  await interrupt(run);
});

test('a sniffer that was killed is started anew by its node, and what arrives is seen again', async () => {
  const { run, pod } = await serving('mirror', /mirroring port 8080/);
  const sniffer = agentProcess(pod, 'beside.js\0sniffer');
  process.kill(sniffer, 'SIGKILL');
  await run.says('stderr', /the agent lost its sniffer: nothing arrives until it is back/);
  expect(await ask('meanwhile')).toEqual(fromPod('meanwhile'));
  await run.says('stderr', /the agent's sniffer is back: connections arrive again/);
  await untilTrue(async () => {
    await ask('again');
    return run.stdout.includes('got /again');
  }, 'nothing arrives');
  await interrupt(run);
});

test('what pods on both nodes ask of each other’s Services is seen by who mirrors either', async () => {
  const shop = await serving('mirror', /mirroring port 8080/);
  const stock = await serving('mirror', /mirroring port 8080/, {}, 'stock');
  expect(await ask('from-stock')).toEqual(fromPod('from-stock'));
  const program = 'fetch(process.argv[1]).then((answer) => answer.text()).then(console.log)';
  const node = ['exec', 'deploy/shop', '--', 'node', '-e', program, namespace.url('stock', 'from-shop')];
  expect(await namespace.kubectl(...node)).toMatch(/"path": ?"\/from-shop"/);
  await shop.run.says('stdout', /got \/from-stock/);
  await stock.run.says('stdout', /got \/from-shop/);
  expect(shop.run.stdout).not.toContain('/from-shop');
  expect(stock.run.stdout).not.toContain('/from-stock');
  await Promise.all([interrupt(shop.run), interrupt(stock.run)]);
});

test.each([
  ['agent', 'agent.js'],
  ['client', ''],
])('a mirrored pod answers as ever when the %s was killed, and nothing is left', async (part, script) => {
  const { run, pod } = await serving('mirror', /mirroring port 8080/, { MIRRORD_AGENT_RECONNECT_TIMEOUT: '1' });
  expect(await ask('before')).toEqual(fromPod('before'));
  await run.says('stdout', /got \/before/);
  const pid = part === 'client' ? (run.child.pid ?? 0) : agentProcess(pod, script);
  process.kill(pid, 'SIGKILL');
  if (part === 'client') await untilTrue(() => agentProcesses(pod).length === 0, `the agent ${pod} waits for ever`);
  else await untilTrue(() => !agentProcesses(pod).includes(pid), `the ${part} does not end`);
  expect(await ask('later')).toEqual(fromPod('later'));
});

describe('a pod whose sidecar takes what arrives, as a mesh’s does', () => {
  /** It stands for Envoy: what came for the service goes on to it over loopback. */
  const SIDECAR = [
    'const net = require("node:net");',
    'net.createServer((from) => {',
    '  const to = net.connect(8080, "127.0.0.1");',
    '  from.on("error", () => to.destroy()).pipe(to).on("error", () => from.destroy()).pipe(from);',
    '}).listen(15006);',
  ].join('\n');

  beforeAll(async () => {
    const proxy = {
      name: 'istio-proxy',
      image: DEMO_IMAGE,
      imagePullPolicy: 'IfNotPresent',
      command: ['node', '-e', SIDECAR],
    };
    await namespace.deploy('cart', 'node', NODE_A, [proxy]);
    await namespace.ready('cart');
    const pod = await namespace.kubectl('get', 'pod', '-l', 'app=cart', '-o', 'jsonpath={.items[0].metadata.name}');
    const pid = agentProcess(pod);
    // As the mesh's init container does it.
    const rule = [
      '-t',
      'nat',
      '-A',
      'PREROUTING',
      '-p',
      'tcp',
      '--dport',
      '8080',
      '-j',
      'REDIRECT',
      '--to-ports',
      '15006',
    ];
    execFileSync('nsenter', ['-t', String(pid), '-n', 'iptables', '-w', ...rule]);
  });

  test('requests that fit the filter are stolen behind it, the others are the pod’s', async () => {
    const http_filter = { header_filter: '^x-user: me$' };
    const { run } = await serving({ mode: 'steal', http_filter }, /stealing port 8080/, {}, 'cart');
    expect(await ask('others', {}, 'cart')).toEqual(fromPod('others'));
    expect(await ask('mine', { 'x-user': 'me' }, 'cart')).toBe('local /mine');
    expect(await ask('others', { 'x-user': 'you' }, 'cart')).toEqual(fromPod('others'));
    expect(run.stdout).not.toContain('/others');
    await interrupt(run);
    expect(await ask('mine', { 'x-user': 'me' }, 'cart')).toEqual(fromPod('mine'));
  });

  test('a request is seen once by who mirrors, though it passes the pod’s network twice', async () => {
    const { run } = await serving('mirror', /mirroring port 8080/, {}, 'cart');
    expect(await ask('copied', {}, 'cart')).toEqual(fromPod('copied'));
    await run.says('stdout', /got \/copied/);
    expect(await ask('last', {}, 'cart')).toEqual(fromPod('last'));
    await run.says('stdout', /got \/last/);
    expect(run.stdout.match(/got \/copied/g)).toHaveLength(1);
    await interrupt(run);
  });
});
