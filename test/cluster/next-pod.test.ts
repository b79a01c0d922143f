// What becomes of a session when the pod it began with goes, and by which ways its agent is reached.

import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { NODE_A, TestNamespace } from './cluster.ts';

const namespace = new TestNamespace();

beforeAll(async () => {
  await namespace.create();
  await namespace.deploy('shop', 'node', NODE_A);
  await namespace.ready('shop');
});
afterEach(() => namespace.assertClean());
afterAll(() => namespace.delete());

/** The name of its pod for each line that it is given; a file that it opened before fails then or does not. */
const SCRIPT = 'exec 3</etc/hostname; echo up; while read -r _; do echo "pod $(cat /etc/hostname)"; done; echo over';

test('with agent.follow_target a session goes on with the next pod of its workload', async () => {
  const run = namespace.start(['-t', 'deployment/shop', '--', 'sh', '-c', SCRIPT], {
    MIRRORD_AGENT_FOLLOW_TARGET: 'true',
  });
  await run.says('stdout', /up\n/);
  run.child.stdin.write('\n');
  const [, former = ''] = await run.says('stdout', /pod (shop-\S+)\n/);
  await namespace.kubectl('delete', 'pod', former, '--wait=false');
  await run.says('stderr', /the target is gone .*: looking for the next pod/);
  const [, next = ''] = await run.says('stderr', /the session goes on with pod (shop-[^;]+);/);
  expect(next).not.toBe(former);
  run.child.stdin.end('\n');
  const { code, stdout } = await run.ended;
  expect(code).toBe(0);
  expect(stdout).toContain(`pod ${next}\n`);
});

test('with agent.follow_target too, a session that somebody stops is over', async () => {
  // As on another machine: the session is seen in the cluster only.
  const elsewhere = mkdtempSync(path.join(tmpdir(), 'mirrord-elsewhere-'));
  try {
    const run = namespace.start(['-t', 'deployment/shop', '--', 'sh', '-c', SCRIPT], {
      MIRRORD_AGENT_FOLLOW_TARGET: 'true',
    });
    await run.says('stdout', /up\n/);
    const mirrord = (...words: string[]) =>
      promisify(execFile)(path.join(import.meta.dirname, '../../bin/mirrord'), [...words, '-n', namespace.name], {
        env: { ...process.env, XDG_RUNTIME_DIR: elsewhere, TMPDIR: elsewhere },
      });
    const { stdout } = await mirrord('session', 'list', '--json');
    const [{ id }] = JSON.parse(stdout) as [{ id: string }];
    await mirrord('session', 'stop', id);
    await run.says('stderr', /the session is over: it was ended by \S+@\S+, with mirrord session stop/);
    run.child.stdin.end('\n');
    const { code, stderr } = await run.ended;
    expect(code).toBe(0);
    expect(stderr).not.toContain('next pod');
  } finally {
    rmSync(elsewhere, { recursive: true });
  }
});

test('without it the end of the pod is told, and its files answer EIO', async () => {
  const run = namespace.start(['-t', 'deployment/shop', '--', 'sh', '-c', SCRIPT]);
  await run.says('stdout', /up\n/);
  // One of the test before may still be listed.
  const [, pod = ''] = await run.says('stderr', /target: pod ([^,]+),/);
  await namespace.kubectl('delete', 'pod', pod, '--wait=false');
  await run.says('stderr', /the target has ended: its files answer EIO from here on/);
  run.child.stdin.end('\n');
  const { code, stderr } = await run.ended;
  expect(code).toBe(0);
  expect(stderr).toContain('Input/output error');
  await namespace.ready('shop');
});

test('with agent.direct_connection the session goes over to the address of the pod, in TLS', async () => {
  const env = { MIRRORD_AGENT_DIRECT_CONNECTION: 'true' };
  const { code, stdout, stderr } = await namespace.exec(['-t', 'deployment/shop', '--', 'cat', '/etc/hostname'], env);
  expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.stringMatching(/^shop-/) });
  expect(stderr).toMatch(/connected directly to [0-9.]+:\d+/);
});

test('-e says clearly where ephemeral containers are not to be had, and leaves nothing', async () => {
  const versions = JSON.parse(await namespace.kubectl('get', '--raw', '/api/v1')) as {
    resources: { name: string; kind: string }[];
  };
  const isOffered = versions.resources.some(({ name, kind }) => name === 'pods/ephemeralcontainers' && kind === 'Pod');
  const { code, stdout, stderr } = await namespace.exec(['-e', '-t', 'deployment/shop', '--', 'cat', '/etc/hostname']);
  if (isOffered) expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.stringMatching(/^shop-/) });
  else expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining('ephemeral containers') });
});
