// A filtered steal from a pod whose parts are killed, or stand still, while everybody else asks the pod all the time; and one in TLS.

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { CertificateFolder, type Pair } from '../fixtures/certificates.ts';
import { agentProcesses, DEMO_IMAGE, NODE_A, NODE_B, type Run, TestNamespace, untilTrue } from './cluster.ts';
import { Load } from './load.ts';

const NAME = 'shop.test';
const NATS = 'nats-server';
const STEALER = 'beside.js\0stealer';
const namespace = new TestNamespace();
let folder = '';
let certificates: CertificateFolder;
let pair: Pair;

/** In TLS, with the certificate of its environment. */
const SECURE = `require('node:https').createServer({ cert: process.env.CERTIFICATE, key: process.env.KEY }, (request, response) =>
  response.end('pod ' + request.url)).listen(8443);`;

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'mirrord-faults-'));
  certificates = new CertificateFolder();
  pair = certificates.pair([NAME]);
  const env = [
    { name: 'CERTIFICATE', value: readFileSync(pair.certificate, 'utf8') },
    { name: 'KEY', value: readFileSync(pair.key, 'utf8') },
  ];
  const command = ['node', '-e', SECURE];
  const beside = { name: 'secure', image: DEMO_IMAGE, imagePullPolicy: 'IfNotPresent', command, env };
  await namespace.create();
  await Promise.all([namespace.deploy('shop', 'node', NODE_A, [beside]), namespace.deploy('stock', 'python', NODE_B)]);
  await namespace.ready('shop', 'stock');
});
afterEach(() => namespace.assertClean());
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  certificates?.[Symbol.dispose]();
  await namespace.delete();
});

const server = (port: number) =>
  [
    'require("node:http").createServer((request, response) => response.end("local " + request.url))',
    `  .listen(${port}, () => console.log("listening"));`,
    'process.stdin.resume().on("end", () => process.exit());',
  ].join('\n');

async function stealing(port: number, more: object = {}): Promise<{ run: Run; pod: string }> {
  const file = path.join(folder, 'mirrord.json');
  const incoming = { mode: 'steal', http_filter: { header_filter: '^x-user: alice$' }, ...more };
  writeFileSync(file, JSON.stringify({ feature: { network: { incoming } } }));
  const words = ['-f', file, '-t', 'deployment/shop', '--', 'node', '-e', server(port)];
  const run = namespace.start(words, { MIRRORD_AGENT_RECONNECT_TIMEOUT: '1' });
  await run.says('stdout', /listening/);
  await run.says('stderr', new RegExp(`stealing port ${port}`));
  const [, pod = ''] = await run.says('stderr', /agent: pod (\S+) in/);
  return { run, pod };
}

/** From a pod on the other node. */
async function python(program: string, ...words: string[]): Promise<string> {
  return (await namespace.kubectl('exec', 'deploy/stock', '--', 'python3', '-c', program, ...words)).trim();
}

const AS = `import sys, urllib.request as u
print(u.urlopen(u.Request(sys.argv[1], headers={'x-user': sys.argv[2]}), timeout=60).read().decode())`;
const as = (user: string) => python(AS, namespace.url('shop', 'x'), user);

async function isStolen(): Promise<void> {
  await untilTrue(async () => (await as('alice').catch(String)) === 'local /x', 'it does not steal');
  expect(await as('bob')).toContain('"path":"/x"');
}

/** Its process on this machine; a number that is none would be our own group to kill(2). */
function processOf(pod: string, script: string): number {
  const [agent] = agentProcesses(pod, 'agent.js');
  const [pid] = script === NATS ? childrenOf(agent ?? -1, NATS) : agentProcesses(pod, script);
  if (pid === undefined) throw new Error(`no process ${JSON.stringify(script)} in ${pod}`);
  return pid;
}

/** It has no environment by which it could be told. */
function childrenOf(parent: number, name: string): number[] {
  return readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .filter((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
        return stat.includes(`(${name})`) && stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] === String(parent);
      } catch {
        return false;
      }
    })
    .map(Number);
}

const isAlive = (pid: number) => existsSync(`/proc/${pid}/stat`);

async function end(run: Run): Promise<void> {
  run.child.kill('SIGTERM');
  await run.ended;
}

test.each([
  ['nats-server', NATS, 0],
  ['the stealer', STEALER, 1_000],
])('%s is killed under load: others are answered, and the session goes on', async (_, script, mostMs) => {
  const { run, pod } = await stealing(8080);
  await isStolen();
  const load = await Load.start(namespace);
  const pid = processOf(pod, script);
  process.kill(pid, 'SIGKILL');
  await untilTrue(() => !isAlive(pid), 'it does not end');
  await isStolen();
  const { answered, withinMs } = await load.end();
  expect(answered).toBeGreaterThan(10);
  expect(withinMs).toBeLessThanOrEqual(mostMs);
  await end(run);
});

test.each(['the agent', 'the client'])('%s is killed under load: the pod answers everybody', async (part) => {
  const { run, pod } = await stealing(8080);
  await isStolen();
  const load = await Load.start(namespace);
  if (part === 'the client') run.child.kill('SIGKILL');
  else process.kill(processOf(pod, 'agent.js'), 'SIGKILL');
  await untilTrue(async () => (await as('alice').catch(String)).includes('"path":"/x"'), 'it is still stolen');
  const { answered, withinMs } = await load.end();
  expect(answered).toBeGreaterThan(10);
  expect(withinMs).toBeLessThanOrEqual(1_000);
  if (part === 'the client') await untilTrue(() => agentProcesses(pod).length === 0, 'the agent waits for ever');
  else await end(run);
});

test('a stealer that stands still is ended by its agent, and the session goes on with the next', async () => {
  const { run, pod } = await stealing(8080);
  await isStolen();
  const pid = processOf(pod, STEALER);
  process.kill(pid, 'SIGSTOP');
  await untilTrue(() => !isAlive(pid), 'it stands for ever');
  await run.says('stderr', /the agent's stealer is back/);
  await isStolen();
  await end(run);
});

const SECURELY = `import http.client, socket, ssl, sys
address, name, user, authority = sys.argv[1:]
context = ssl.create_default_context(cadata=authority)
asks = http.client.HTTPSConnection(address, 8443, timeout=60)
asks.sock = context.wrap_socket(socket.create_connection((address, 8443), 60), server_hostname=name)
asks.request('GET', '/secret', headers={'x-user': user})
print(asks.getresponse().read().decode())`;

test('in TLS with a certificate of the user’s, requests that fit come here as plaintext, the rest reaches the pod', async () => {
  const tls = [{ from: 'local', ...pair, ports: [8443] }];
  const { run } = await stealing(8443, { tls, tls_delivery: { protocol: 'tcp' } });
  const address = await namespace.kubectl('get', 'pod', '-l', 'app=shop', '-o', 'jsonpath={.items[0].status.podIP}');
  const ask = (user: string) =>
    python(SECURELY, address, NAME, user, readFileSync(certificates.authority, 'utf8')).catch(String);
  await untilTrue(async () => (await ask('alice')) === 'local /secret', 'it does not steal');
  expect(await ask('bob')).toBe('pod /secret');
  await end(run);
  expect(await ask('alice')).toBe('pod /secret');
});
