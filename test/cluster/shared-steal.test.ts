// Two people steal from one pod, each with an agent of their own, while everybody else gets the pod's own answers.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { agentProcess, agentProcesses, NODE_A, NODE_B, Run, TestNamespace, untilTrue } from './cluster.ts';
import { Load } from './load.ts';

const namespace = new TestNamespace();
let folder = '';

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'mirrord-shared-'));
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
  'require("node:http").createServer((request, response) => response.end("local " + request.headers["x-user"]))',
  '  .listen(8080, () => console.log("listening"));',
  'process.stdin.resume().on("end", () => process.exit());',
].join('\n');

async function stealing(user: string): Promise<{ run: Run; pod: string }> {
  const file = path.join(folder, `${user}.json`);
  const incoming = { mode: 'steal', http_filter: { header_filter: `^x-user: ${user}$` } };
  writeFileSync(file, JSON.stringify({ feature: { network: { incoming } } }));
  const run = namespace.start(['-f', file, '-t', 'deployment/shop', '--', 'node', '-e', SERVER], here(user));
  await run.says('stdout', /listening/);
  await run.says('stderr', /stealing port 8080/);
  const [, pod = ''] = await run.says('stderr', /agent: pod (\S+) in/);
  return { run, pod };
}

/** As on a machine of the user's own: others see the session in the cluster only. */
function here(user: string): NodeJS.ProcessEnv {
  return {
    XDG_RUNTIME_DIR: mkdtempSync(path.join(folder, `${user}-`)),
    TMPDIR: mkdtempSync(path.join(folder, `${user}-`)),
  };
}

async function mirrord(
  user: string,
  ...words: string[]
): Promise<{ stdout: string; stderr: string; code: number | null }> {
  const file = path.join(import.meta.dirname, '../../bin/mirrord');
  return new Run(
    spawn(file, [...words, '-n', namespace.name], { stdio: 'pipe', env: { ...process.env, ...here(user) } }),
  ).ended;
}

async function as(user: string): Promise<string> {
  const program =
    'import sys,urllib.request as u;' +
    'print(u.urlopen(u.Request(sys.argv[1],headers={"x-user":sys.argv[2]}),timeout=60).read().decode())';
  const python = ['exec', 'deploy/stock', '--', 'python3', '-c', program];
  return (await namespace.kubectl(...python, namespace.url('shop', 'x'), user)).trim();
}

async function are(expected: readonly string[]): Promise<void> {
  const ours = ['alice', 'bob', 'carol'];
  let got: string[] = [];
  await untilTrue(
    async () => {
      got = await Promise.all(ours.map((user) => as(user).catch(String)));
      return got.every((answer, index) => answer.includes(expected[index] ?? ''));
    },
    `the answers are ${JSON.stringify(got)}`,
  );
}

const POD = '"path":"/x"';
const LEASE_MS = 5_000;
/** What a busy machine takes on top. */
const BUSY_MS = 10_000;

test('two filters on one pod, while others ask all the time and who holds the pod is killed', async () => {
  const alice = await stealing('alice');
  const bob = await stealing('bob');
  await are(['local alice', 'local bob', POD]);
  const others = await Load.start(namespace);
  // The first came first to the pod: its stealer holds it for both.
  const stealer = agentProcess(alice.pod, 'beside.js\0stealer');
  process.kill(stealer, 'SIGKILL');
  await untilTrue(() => !agentProcesses(alice.pod).includes(stealer), 'the stealer does not end');
  await untilTrue(async () => (await as('bob').catch(String)) === 'local bob', 'bob does not steal any more');
  // What was on its way through the killed one, or waited in its queue: and a second later the pod answers everybody.
  expect((await others.end()).withinMs).toBeLessThan(1_000);
  expect(bob.run.stderr).not.toContain('lost');
  await untilTrue(async () => (await as('alice').catch(String)) === 'local alice', 'alice does not steal again');
  // Alice's pod stands still, whole: her lease runs out, and is asked for anew.
  const began = performance.now();
  const pids = agentProcesses(alice.pod);
  for (const pid of pids) process.kill(pid, 'SIGSTOP');
  await untilTrue(async () => (await as('alice').catch(String)).includes(POD), 'the pod does not answer for alice');
  const tookMs = performance.now() - began;
  for (const pid of pids) process.kill(pid, 'SIGCONT');
  expect(tookMs).toBeLessThan(LEASE_MS + BUSY_MS);
  await are(['local alice', 'local bob', POD]);
});

test('sessions of others are listed, and ended with a word to their owner', async () => {
  const alice = await stealing('alice');
  const bob = await stealing('bob');
  let stdout = '';
  const about = (user: string) =>
    new RegExp(
      `^(\\S+) {2}deployment/shop {2}steal \\{"header_filter":"\\^x-user: ${user}\\$"\\} on 8080 {2}since 20\\S+ {2}from \\S+@`,
      'm',
    );
  // The ports are told when somebody listens, and not waited for.
  await untilTrue(async () => {
    stdout = (await mirrord('admin', 'session', 'list')).stdout;
    return about('alice').test(stdout) && about('bob').test(stdout);
  }, 'both are listed with their port');
  const [, id = ''] = about('alice').exec(stdout) ?? [];
  expect(await mirrord('admin', 'session', 'stop', id)).toMatchObject({ code: 0, stderr: '' });
  await alice.run.says('stderr', /it was ended by \S+@\S+, with mirrord session stop/);
  await are([POD, 'local bob', POD]);
  bob.run.child.kill('SIGTERM');
  await bob.run.ended;
  await are([POD, POD, POD]);
});
