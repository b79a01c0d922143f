import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { KubeApi } from '../../client/kube/api.ts';
import { loadClusterAccess } from '../../client/kube/config.ts';
import { resolveTarget } from '../../client/kube/resolve.ts';
import type { LabelTarget, WorkloadTarget } from '../../client/kube/target.ts';
import { parseTarget } from '../../client/target.ts';
import { OwnNamespace, PATIENCE_MS, podTemplate, settings } from './own-namespace.ts';

/** Pods that look as if they ran; as many as the machine can stand: 10,000 take some minutes. */
const CROWD = Number(process.env['MIRRORD_TEST_CROWD'] ?? 600);
const AT_ONCE = 8;
const mirrord = path.join(import.meta.dirname, '../../bin/mirrord');
let own: OwnNamespace;

beforeAll(async () => {
  own = await OwnNamespace.make();
  const labels = { app: 'shop' };
  await own.create('/apis/apps/v1', 'deployments', {
    metadata: { name: 'shop' },
    spec: { selector: { matchLabels: labels }, template: podTemplate({ labels }) },
  });
  await own.create('/api/v1', 'services', {
    metadata: { name: 'front' },
    spec: { ports: [{ port: 80 }], selector: labels },
  });
  const waiting = Array.from({ length: CROWD }, (_, at) => `crowd-${at}`);
  const fill = async () => {
    for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) await pretend(name);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, fill));
  await own.until('the deployment', async () => {
    const found = await own.get<{ status?: { availableReplicas?: number } }>('/apis/apps/v1', 'deployments/shop');
    return found?.status?.availableReplicas === 1;
  });
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

test(`exec among ${CROWD} other pods reads little before its own is made, and lists nothing whole`, async () => {
  const words = ['exec', '--verbose', '-n', own.name, '-t', 'deployment/shop', '--', 'true'];
  const env = { ...process.env, MIRRORD_AGENT_IMAGE: process.env['MIRRORD_TEST_IMAGE'] };
  const child = spawn(mirrord, words, { env, stdio: ['ignore', 'inherit', 'pipe'] });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    said += chunk;
  });
  const [code] = await once(child, 'close');
  expect(code, said).toBe(0);
  const counts = (message: string) => {
    const line = said.split('\n').find((one) => one.includes(`"message":"${message}"`)) ?? '{}';
    return JSON.parse(line.slice(line.indexOf('{'))) as { calls: number; receivedBytes: number };
  };
  const before = counts('target found');
  expect(before.calls).toBeLessThanOrEqual(5);
  expect(before.receivedBytes).toBeLessThan(64 * 1024);
  expect(counts('agent removed').receivedBytes).toBeLessThan(256 * 1024);
});

test('all of them are listed, in bounded memory', async () => {
  const child = spawn(mirrord, ['ls', '-n', own.name, '-o', 'name'], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  let peakKiB = 0;
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
    peakKiB = Math.max(peakKiB, peakOf(child.pid));
  });
  const [code] = await once(child, 'close');
  const lines = text.split('\n').filter(Boolean);
  expect(code).toBe(0);
  expect(lines.filter((line) => line.startsWith('pod/crowd-')).length).toBe(CROWD);
  expect(lines.slice(0, 2)).toEqual(['deployment/shop', 'service/front']);
  expect(peakKiB / 1024).toBeLessThan(120);
});

/** VmHWM of proc(5); 0 for a process that has ended since it wrote. */
function peakOf(pid: number | undefined): number {
  try {
    return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}
