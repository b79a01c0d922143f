// Nothing of a session stays, whatever ends it; and who is left behind is told.

import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { agentProcess, agentProcesses, NODE_A, type Run, TestNamespace, untilTrue } from './cluster.ts';

const namespace = new TestNamespace();
/** A connection that broke is waited for this long; a client that is silent is lost after 12.5 s more. */
const IMPATIENT = { MIRRORD_AGENT_RECONNECT_TIMEOUT: '1' };

beforeAll(async () => {
  await namespace.create();
  await namespace.deploy('shop', 'node', NODE_A);
  await namespace.ready('shop');
});
afterEach(() => namespace.assertClean());
afterAll(() => namespace.delete());

/** Runs, with a session that stands, until its standard input ends. */
async function standing(env: NodeJS.ProcessEnv = {}): Promise<{ run: Run; pod: string }> {
  const script = 'echo up; while read -r path; do cat "$path" 2>&1; echo asked; done; echo over';
  const run = namespace.start(['-t', 'deployment/shop', '--', 'sh', '-c', script], env);
  await run.says('stdout', /up\n/);
  const [, pod = ''] = await run.says('stderr', /agent: pod (\S+) in/);
  return { run, pod };
}

test('the client is killed', async () => {
  const { run } = await standing(IMPATIENT);
  run.child.kill('SIGKILL');
  await run.ended;
});

test('the client stands still, as on a laptop that sleeps', async () => {
  const { run, pod } = await standing(IMPATIENT);
  run.child.kill('SIGSTOP');
  await untilTrue(() => agentProcesses(pod).length === 0, `the agent ${pod} waits for ever`);
});

test('the client is interrupted while the agent starts', async () => {
  const run = namespace.start(['-t', 'deployment/shop', '--', 'true']);
  await run.says('stderr', /target: pod /);
  run.child.kill('SIGINT');
  expect((await run.ended).signal).toBe('SIGINT');
});

test('the agent is killed: the session says so, and the local process goes on', async () => {
  const { run, pod } = await standing(IMPATIENT);
  for (const pid of agentProcesses(pod, '/app/dist/agent.js')) process.kill(pid, 'SIGKILL');
  await run.says('stderr', /the session is lost/);
  run.child.stdin.end('/var/data/file.txt\n');
  const ended = await run.ended;
  expect(ended.stdout).toContain('over');
  expect(ended.code).toBe(0);
});

test('fs-env is killed: it comes back, and files are read as before', async () => {
  const { run, pod } = await standing();
  const pid = agentProcess(pod, 'beside.js\0fs-env');
  process.kill(pid, 'SIGKILL');
  run.child.stdin.end('/var/data/file.txt\n');
  const { stdout, code } = await run.ended;
  expect(stdout).toContain('demo of mirrord\nasked\nover');
  expect(code).toBe(0);
});

test('the target is deleted: the session says so', async () => {
  const { run } = await standing();
  await namespace.kubectl('delete', 'pod', '-l', 'app=shop', '--wait=false');
  await run.says('stderr', /the target has ended/);
  run.child.stdin.end();
  expect((await run.ended).code).toBe(0);
  await namespace.ready('shop');
});

test('the job is deleted by somebody else', async () => {
  const { run } = await standing(IMPATIENT);
  await namespace.kubectl('delete', 'jobs', '-l', 'app=mirrord', '--wait=false');
  await run.says('stderr', /the session is lost/);
  run.child.stdin.end();
  expect((await run.ended).code).toBe(0);
});
