import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { KubeApi } from '../kube/api.ts';
import { ApiServer } from '../testing/api-server.ts';
import { loadText } from '../testing/load-text.ts';
import { startAgentPod } from './agent-pod.ts';
import { agentSettings } from './settings.ts';
import { AgentWatch } from './watch.ts';

const NAME = 'mirrord-agent-x';
const JOBS = '/apis/batch/v1/namespaces/shop/jobs';
const PODS = '/api/v1/namespaces/shop/pods';
const POD = {
  metadata: { name: `${NAME}-1` },
  status: {
    phase: 'Pending',
    conditions: [
      { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '0/2 nodes are available' },
    ],
  },
};

let server: ApiServer;
let api: KubeApi;
beforeEach(async () => {
  server = await ApiServer.start();
  api = new KubeApi(await server.access());
});
afterEach(async () => {
  await api.close();
  await server.close();
});

test('an agent that does not get ready is waited for as long as agent.startup_timeout says, and removed', async () => {
  const { config } = await loadText('{"agent": {"startup_timeout": 1}}', { env: {} });
  const settings = agentSettings(config, {});
  server.answers.set(`POST ${JOBS}`, {});
  server.answers.set(`GET ${PODS}`, (_, response: ServerResponse) => {
    response.write(`${JSON.stringify({ type: 'ADDED', object: POD })}\n`);
  });
  server.answers.set(`GET ${PODS}/${NAME}-1/log`, (_, response) => response.end(''));
  server.answers.set(`DELETE ${JOBS}/${NAME}`, {});
  const { signal } = new AbortController();
  const { startupS } = settings;
  const startMs = performance.now();
  const features = { files: true, network: true, mirror: false, steal: false };
  const starting = startAgentPod({
    api,
    namespace: 'shop',
    template: {
      ...{ name: NAME, sessionId: 's-1', publicKey: 'UFVCTElD', node: 'node1', version: '1.2.3' },
      ...{ annotations: {}, features, settings },
    },
    startupS,
    signal,
    watch: new AgentWatch({ api, namespace: 'shop', sessionId: 's-1', startupS, signal }),
    onStep: () => undefined,
  });
  await expect(starting).rejects.toMatchObject({
    code: 'DEADLINE_EXCEEDED',
    // A machine may be so busy that nothing of the pod is known by then.
    message: expect.stringMatching(/^the agent \(.*\) was not ready within 1 s: .+/),
    data: { advice: expect.stringContaining('agent.startup_timeout waits longer') },
  });
  expect(performance.now() - startMs).toBeGreaterThanOrEqual(999);
  expect(server.seen.at(-1)).toMatchObject({ method: 'DELETE', path: `${JOBS}/${NAME}` });
});
