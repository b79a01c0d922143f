import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { KubeApi } from '../../client/kube/api.ts';
import { loadClusterAccess } from '../../client/kube/config.ts';
import { resolveTarget } from '../../client/kube/resolve.ts';
import type { LabelTarget, WorkloadTarget } from '../../client/kube/target.ts';
import { parseTarget } from '../../client/target.ts';
import { kubectl } from './cluster.ts';
import { makeEveryKind, withRollouts } from './every-kind.ts';
import { NewerApi } from './newer-api.ts';
import { OwnNamespace, PATIENCE_MS, podTemplate, settings } from './own-namespace.ts';
import { defineProfiles, profileObject, removeProfiles } from './profiles.ts';

/** Pods that look as if they ran; as many as the machine can stand: 10,000 take some minutes. */
const CROWD = Number(process.env['MIRRORD_TEST_CROWD'] ?? 600);
const AT_ONCE = 8;
const mirrord = path.join(import.meta.dirname, '../../bin/mirrord');
const PROFILE = 'scale';
let own: OwnNamespace;
/** Where agents run that are not to run beside their targets. */
let agents: OwnNamespace;
let folder = '';

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'mirrord-scale-'));
  [own, agents] = await Promise.all([OwnNamespace.make(), OwnNamespace.make()]);
  await defineProfiles();
  await kubectl(
    ['apply', '-f', '-'],
    JSON.stringify(profileObject('MirrordClusterProfile', PROFILE, ['IncomingMirror'])),
  );
  const waiting = Array.from({ length: CROWD }, (_, at) => `crowd-${at}`);
  const fill = async () => {
    for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) await pretend(name);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, fill));
  await makeEveryKind(own);
}, 10 * PATIENCE_MS);
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await removeProfiles();
  await Promise.all([own?.close(), agents?.close()]);
}, 10 * PATIENCE_MS);

/** On no node, and yet Running by its status. */
async function pretend(name: string): Promise<void> {
  const labels = { app: 'crowd' };
  await own.create('/api/v1', 'pods', { ...podTemplate({ labels, isStuck: true }), metadata: { name, labels } });
  const running = { startedAt: new Date().toISOString() };
  const containerStatuses = [
    {
      name: 'app',
      image: 'x',
      imageID: 'x',
      containerID: `containerd://${name}`,
      ready: true,
      restartCount: 0,
      state: { running },
    },
  ];
  const status = { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }], containerStatuses };
  await own.api.patch(own.path('/api/v1', `pods/${name}/status`), 'strategic-merge', { status });
}

test.each(['deployment/shop', 'service/front', 'label/app=shop'])(
  `%s costs the same among ${CROWD} other pods`,
  async (text) => {
    const api = new KubeApi(await loadClusterAccess(settings));
    try {
      const target = parseTarget(text) as WorkloadTarget | LabelTarget;
      expect((await resolveTarget({ api, target, namespace: own.name })).pod).toMatch(/^shop-/);
      expect(api.traffic.calls).toBeLessThanOrEqual(3);
      expect(api.traffic.receivedBytes).toBeLessThan(24 * 1024);
    } finally {
      await api.close();
    }
  },
);

/** Before the pod of the agent is made, the call that makes it aside. */
const MAX_CALLS = 5;
const MAX_BYTES = 64 * 1024;

interface Counts {
  readonly calls: number;
  readonly receivedBytes: number;
}

/** A whole run of `true`: what it had cost when its agent was made, and at its end. */
async function exec(
  args: readonly string[],
  { kubeconfig, config = {} }: { kubeconfig?: string; config?: object } = {},
): Promise<{ before: Counts; whole: Counts }> {
  const file = path.join(folder, 'mirrord.json');
  writeFileSync(file, JSON.stringify(config));
  const words = ['exec', '--verbose', '-f', file, '-n', own.name, ...args, '--', 'true'];
  const env = { ...process.env, MIRRORD_AGENT_IMAGE: process.env['MIRRORD_TEST_IMAGE'] };
  const child = spawn(mirrord, words, {
    env: {
      ...env,
      MIRRORD_AGENT_STARTUP_TIMEOUT: '120',
      ...(kubeconfig === undefined ? {} : { KUBECONFIG: kubeconfig }),
    },
    stdio: ['ignore', 'inherit', 'pipe'],
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    said += chunk;
  });
  const [code] = await once(child, 'close');
  expect(code, said).toBe(0);
  const counts = (words: string) => {
    const line = said.split('\n').find((one) => one.includes(words)) ?? '{}';
    return JSON.parse(line.slice(line.indexOf('{'))) as Counts;
  };
  const created = counts('"step":"created"');
  return { before: { ...created, calls: created.calls - 1 }, whole: counts('"message":"agent removed"') };
}

const KINDS: [target: string, calls: number][] = [
  ['targetless', 1],
  ['pod/db-0', 2],
  ['pod/db-0/container/db', 2],
  ['label/app=shop', 3],
  ['label/app=shop/container/web', 3],
  ['deployment/shop', 4],
  ['statefulset/db', 4],
  ['daemonset/agent', 4],
  ['replicaset/old', 4],
  ['job/once', 4],
  ['service/front', 4],
  ['cronjob/nightly', MAX_CALLS],
];
/** The second stands for another workload, and no controller has said which pods it has. */
const ROLLOUTS: [target: string, calls: number][] = [
  ['rollout/canary', 4],
  ['rollout/stand-in', MAX_CALLS],
];

/** All settings that have to do with the cluster, a profile of it above all. */
function everything(target: string): object {
  const incoming = { mode: 'steal', http_filter: { header_filter: 'x-user: me' } };
  return {
    profile: PROFILE,
    agent: {
      namespace: agents.name,
      direct_connection: true,
      image_pull_secrets: [{ name: 'none-of-this-name' }],
      labels: { team: 'shop' },
      annotations: { note: 'x' },
      node_selector: { 'kubernetes.io/os': 'linux' },
      metrics: '0.0.0.0:9000',
      privileged: true,
      log_level: 'debug',
    },
    // There is nothing to steal from nobody.
    ...(target === 'targetless' ? {} : { feature: { network: { incoming } } }),
  };
}

describe(`among ${CROWD} other pods, before its own is made`, () => {
  async function asksLittle(target: string, calls: number, config: object): Promise<void> {
    const { before, whole } = await exec(['-t', target], { config });
    expect(before.calls).toBeGreaterThan(0);
    expect(before.calls).toBeLessThanOrEqual(calls);
    expect(before.receivedBytes).toBeLessThan(MAX_BYTES);
    expect(whole.receivedBytes).toBeLessThan(4 * MAX_BYTES);
  }

  test.each(KINDS)('exec of %s asks little', (target, calls) => asksLittle(target, calls, {}));

  test.each(KINDS)('exec of %s with a profile and all that can be set asks little more', (target, calls) =>
    asksLittle(target, Math.min(calls + 1, MAX_CALLS), everything(target)),
  );

  test('exec of a rollout asks little, with a selector of its own or as another workload’s, with a profile too', async () => {
    await withRollouts(own, async () => {
      for (const [target, calls] of ROLLOUTS) {
        await asksLittle(target, calls, {});
        await asksLittle(target, MAX_CALLS, everything(target));
      }
    });
  });

  test('on a newer server, with its cron jobs and as a container of the target’s pod, too', async () => {
    const api = await NewerApi.start();
    const { kubeconfig } = api;
    const config = { profile: PROFILE };
    try {
      for (const target of ['pod/db-0', 'label/app=shop', 'deployment/shop', 'cronjob/nightly']) {
        const beside = await exec(['-e', '-t', target], { kubeconfig, config });
        expect(beside.before.calls, target).toBeLessThanOrEqual(MAX_CALLS);
        expect(beside.before.receivedBytes).toBeLessThan(MAX_BYTES);
      }
      const { before } = await exec(['-t', 'cronjob/nightly'], { kubeconfig });
      expect(before.calls).toBeLessThanOrEqual(4);
      await withRollouts(own, async () => {
        const { before } = await exec(['-e', '-t', 'rollout/stand-in'], { kubeconfig, config });
        expect(before.calls).toBeLessThanOrEqual(MAX_CALLS);
      });
    } finally {
      await api.close();
    }
  });
});

test.each([
  ['their namespace', () => ['-n', own.name], ''],
  ['all namespaces', () => ['-A'], '\\S+ '],
])('all of them are listed with %s, in bounded memory', async (_, place, before) => {
  const child = spawn(mirrord, ['ls', ...place(), '-o', 'name'], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  let peakKiB = 0;
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
    peakKiB = Math.max(peakKiB, peakOf(child.pid));
  });
  const [code] = await once(child, 'close');
  const lines = text.split('\n').filter(Boolean);
  expect(code).toBe(0);
  const isShop = (line: string) => new RegExp(`^${before}deployment/shop$`).test(line);
  const isOfCrowd = (line: string) => new RegExp(`^${before}pod/crowd-`).test(line);
  expect(lines.filter(isOfCrowd).length).toBe(CROWD);
  expect(lines.findIndex(isShop)).toBeGreaterThanOrEqual(0);
  expect(lines.findIndex(isShop)).toBeLessThan(lines.findIndex(isOfCrowd));
  expect(peakKiB * 1024).toBeLessThan(120_000_000);
});

/** VmHWM of proc(5); 0 for a process that has ended since it wrote. */
function peakOf(pid: number | undefined): number {
  try {
    return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}
