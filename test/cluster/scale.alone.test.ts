import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { KubeApi } from '../../client/kube/api.ts';
import { loadClusterAccess } from '../../client/kube/config.ts';
import { resolveTarget } from '../../client/kube/resolve.ts';
import type { LabelTarget, WorkloadTarget } from '../../client/kube/target.ts';
import { parseTarget } from '../../client/target.ts';
import { makeEveryKind, withRollouts } from './every-kind.ts';
import { NewerApi } from './newer-api.ts';
import { OwnNamespace, PATIENCE_MS, podTemplate, settings } from './own-namespace.ts';

/** Pods that look as if they ran; as many as the machine can stand: 10,000 take some minutes. */
const CROWD = Number(process.env['MIRRORD_TEST_CROWD'] ?? 600);
const AT_ONCE = 8;
const mirrord = path.join(import.meta.dirname, '../../bin/mirrord');
let own: OwnNamespace;

beforeAll(async () => {
  own = await OwnNamespace.make();
  const waiting = Array.from({ length: CROWD }, (_, at) => `crowd-${at}`);
  const fill = async () => {
    for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) await pretend(name);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, fill));
  await makeEveryKind(own);
}, 10 * PATIENCE_MS);
afterAll(() => own?.close(), 10 * PATIENCE_MS);

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
async function exec(args: readonly string[], kubeconfig?: string): Promise<{ before: Counts; whole: Counts }> {
  const words = ['exec', '--verbose', '-n', own.name, ...args, '--', 'true'];
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

describe(`among ${CROWD} other pods, before its own is made`, () => {
  test.each([
    ['pod/db-0', 2],
    ['pod/db-0/container/db', 2],
    ['deployment/shop', 4],
    ['statefulset/db', 4],
    ['daemonset/agent', 4],
    ['replicaset/old', 4],
    ['job/once', 4],
    ['cronjob/nightly', MAX_CALLS],
    ['service/front', 4],
    ['label/app=shop', 3],
    ['targetless', 1],
  ])('exec of %s asks little', async (target, calls) => {
    const { before, whole } = await exec(['-t', target]);
    expect(before.calls).toBeGreaterThan(0);
    expect(before.calls).toBeLessThanOrEqual(calls);
    expect(before.receivedBytes).toBeLessThan(MAX_BYTES);
    expect(whole.receivedBytes).toBeLessThan(4 * MAX_BYTES);
  });

  test('exec of a rollout asks little, with a selector of its own or as another workload’s', async () => {
    await withRollouts(own, async () => {
      for (const [target, calls] of [
        ['rollout/canary', 4],
        ['rollout/stand-in', MAX_CALLS],
      ] as const) {
        const { before } = await exec(['-t', target]);
        expect(before.calls).toBeLessThanOrEqual(calls);
        expect(before.receivedBytes).toBeLessThan(MAX_BYTES);
      }
    });
  });

  test('on a newer server, with its cron jobs and as a container of the target’s pod, too', async () => {
    const api = await NewerApi.start();
    try {
      const { before } = await exec(['-t', 'cronjob/nightly'], api.kubeconfig);
      expect(before.calls).toBeLessThanOrEqual(4);
      const beside = await exec(['-e', '-t', 'cronjob/nightly'], api.kubeconfig);
      expect(beside.before.calls).toBeLessThanOrEqual(4);
      expect(Math.max(before.receivedBytes, beside.before.receivedBytes)).toBeLessThan(MAX_BYTES);
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
