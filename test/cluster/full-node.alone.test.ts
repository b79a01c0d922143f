// A node that takes no more pods says so, and so do we; nothing is left. The node's room is made as small as what is on it: its
// kubelet puts that right every few seconds, and it is made small again as long as the test asks.

import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { KubeApi } from '../../client/kube/api.ts';
import { loadClusterAccess } from '../../client/kube/config.ts';
import { kubectl, NODE_B, TestNamespace } from './cluster.ts';
import { settings } from './own-namespace.ts';

const namespace = new TestNamespace();
/** The kubelet says how much room there is whenever it likes, and is contradicted this often. */
const EVERY_MS = 50;
/** The kubelet may look just when it has put its room right. */
const TRIES = 3;

interface Node {
  readonly status: { readonly allocatable: Readonly<Record<string, string>> };
}
interface Pods {
  readonly items: readonly { readonly status: { readonly phase: string } }[];
}

let api: KubeApi;
beforeAll(async () => {
  api = new KubeApi(await loadClusterAccess(settings));
  await namespace.create();
  await namespace.deploy('shop', 'node', NODE_B);
  await namespace.ready('shop');
});
afterEach(() => namespace.assertClean());
afterAll(async () => {
  await api.close();
  await namespace.delete();
});

const path = `/api/v1/nodes/${NODE_B}`;
const setRoom = (pods: string) => api.patch(`${path}/status`, 'merge', { status: { allocatable: { pods } } });

/** Runs `act` while the node is full. */
async function whileFull<T>(act: () => Promise<T>): Promise<T> {
  const { status } = await api.get<Node>(path);
  const list = await kubectl(['get', 'pods', '-A', '--field-selector', `spec.nodeName=${NODE_B}`, '-o', 'json']);
  const { items } = JSON.parse(list) as Pods;
  const running = items.filter(({ status: { phase } }) => phase === 'Running' || phase === 'Pending').length;
  const done = new AbortController();
  const keep = (async () => {
    while (!done.signal.aborted) {
      await setRoom(String(running));
      await sleep(EVERY_MS);
    }
  })();
  try {
    return await act();
  } finally {
    done.abort();
    await keep;
    await setRoom(status.allocatable['pods'] ?? '110');
  }
}

test('a target on a node with a full pod list', async () => {
  const ended = await whileFull(async () => {
    for (let attempt = 1; ; attempt += 1) {
      const run = await namespace.exec(['-t', 'deployment/shop', '--', 'true']);
      if (run.code !== 0 || attempt === TRIES) return run;
    }
  });
  expect(ended.stderr).toMatch(/the target's node has no room for the agent's pod \(OutOfpods\)/);
  expect(ended.stderr).toMatch(/what to do: the agent must run on that node: name a pod on another one, or make room/);
  expect(ended.code).toBe(4);
});
