import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { KubeApi } from '../kube/api.ts';
import type { Pod } from '../kube/objects.ts';
import type { ResolvedTarget } from '../kube/resolve.ts';
import { ApiServer } from '../testing/api-server.ts';
import { loadText } from '../testing/load-text.ts';
import { grantForward } from '../testing/port-forward.ts';
import { beganAt, startEphemeralAgent } from './ephemeral.ts';
import { gatewayPort } from './ephemeral-container.ts';
import { agentSettings } from './settings.ts';
import type { PodTemplate } from './template.ts';

// What takes a moment may take many on a busy machine; each test waits for an event and not for time.
vi.setConfig({ testTimeout: 60_000 });

const NAME = 'mirrord-agent-x';
const POD = '/api/v1/namespaces/shop/pods/shop-1';
const NEW_API = { resources: [{ name: 'pods/ephemeralcontainers', kind: 'Pod' }] };
const found = {
  namespace: 'shop',
  pod: 'shop-1',
  container: 'web',
  containerId: 'containerd://abc',
  object: { metadata: { name: 'shop-1' } } as Pod,
} as ResolvedTarget;

let server: ApiServer;
let api: KubeApi;
let bodies: string[];
let forwarded: string[];
/** What was said on them first. */
let opened: Buffer[];

beforeEach(async () => {
  server = await ApiServer.start();
  bodies = [];
  forwarded = [];
  opened = [];
  server.server.on('upgrade', acceptForward);
  api = new KubeApi(await server.access());
});

afterEach(async () => {
  await api.close();
  await server.close();
});

/** As the kubelet does for a port on which an HTTP/2 server speaks first. */
function acceptForward(request: IncomingMessage, socket: Duplex): void {
  forwarded.push(`${request.method} ${request.url}`);
  socket.once('data', (bytes: Buffer) => opened.push(bytes));
  grantForward(request, socket, Buffer.from('H'));
}

async function templateOf(agent: object = {}): Promise<PodTemplate> {
  const { config } = await loadText(JSON.stringify({ agent }), { env: {} });
  return {
    name: NAME,
    sessionId: 'session-x',
    publicKey: 'UFVCTElD',
    node: 'node1',
    version: '1.2.3',
    annotations: {},
    features: { files: true, network: true, mirror: false, steal: false },
    settings: agentSettings(config, {}),
  };
}

function recordPatch(request: IncomingMessage, response: ServerResponse): void {
  let body = '';
  request.on('data', (chunk) => {
    body += chunk;
  });
  request.on('end', () => {
    bodies.push(`${request.headers['content-type']} ${body}`);
    response.end(JSON.stringify({ kind: 'Pod' }));
  });
}

/** One change of the pod after another, and then the end of the watch. */
function watchOf(...states: object[]) {
  return (_: IncomingMessage, response: ServerResponse) => {
    for (const state of states) {
      const object = { metadata: { name: 'shop-1' }, status: { ephemeralContainerStatuses: [{ name: NAME, state }] } };
      response.write(`${JSON.stringify({ type: 'MODIFIED', object })}\n`);
    }
    response.end();
  };
}

async function start(startupS = 20) {
  const template = await templateOf();
  const { signal } = new AbortController();
  return startEphemeralAgent({ api, found, template, startupS, signal, onStep: () => {} });
}

test('the container is asked for once, waited for until the agent listens, and reached through the API', async () => {
  server.answers.set(`PATCH ${POD}/ephemeralcontainers`, recordPatch);
  const states = [{ waiting: { reason: 'ContainerCreating' } }, { running: { startedAt: '2026-01-01T00:00:00Z' } }];
  server.answers.set('GET /api/v1/namespaces/shop/pods', watchOf(...states));
  const agent = await start();
  // Nobody asks first whether there is such a thing.
  expect(server.seen[0]?.method).toBe('PATCH');
  expect(bodies).toHaveLength(1);
  expect(bodies[0]).toMatch(/^application\/strategic-merge-patch\+json /);
  const { spec } = JSON.parse(bodies[0]?.replace(/^\S+ /, '') ?? '') as { spec: { ephemeralContainers: object[] } };
  expect(spec.ephemeralContainers).toMatchObject([{ name: NAME, targetContainerName: 'web' }]);
  expect(server.seen.map(({ path }) => path)).toContainEqual(
    expect.stringContaining('fieldSelector=metadata.name%3Dshop-1'),
  );
  const connection = await agent.connect(new AbortController().signal);
  expect(forwarded[0]).toBe(`POST ${POD}/portforward`);
  expect(opened[0]?.includes(`port\0\0\0\x05${gatewayPort('session-x')}`)).toBe(true);
  connection.destroy();
  // The node's clock is years behind: a token must be dated by it.
  expect(agent.clockAheadMs).toBeLessThan(-1_000_000);
  await agent.remove();
});

function unknown(_: IncomingMessage, response: ServerResponse): void {
  response.statusCode = 404;
  response.end('404 page not found');
}

describe('where it is not to be had', () => {
  test.each([
    [
      'an API server that has none',
      { resources: [{ name: 'pods', kind: 'Pod' }] },
      unknown,
      'offers no ephemeral containers',
    ],
    ['such a one that its rights forbid', { resources: [] }, 403, 'offers no ephemeral containers'],
    [
      'an API server that has their first form',
      { resources: [{ name: 'pods/ephemeralcontainers', kind: 'EphemeralContainers' }] },
      { kind: 'EphemeralContainers', ephemeralContainers: [] },
      'only in their first form',
    ],
  ])('%s: it is said, and nothing is waited for', async (_, discovery, answer, message) => {
    server.answers.set('GET /api/v1', discovery);
    server.answers.set(`PATCH ${POD}/ephemeralcontainers`, answer);
    const refusal = { code: 'UNSUPPORTED', message: expect.stringContaining(message), data: { exitCode: 2 } };
    await expect(start()).rejects.toMatchObject(refusal);
    expect(server.seen.map(({ method, path }) => `${method} ${path}`)).toEqual([
      `PATCH ${POD}/ephemeralcontainers`,
      'GET /api/v1',
    ]);
  });

  test('a right that is missing is named', async () => {
    server.answers.set('GET /api/v1', NEW_API);
    server.answers.set(`PATCH ${POD}/ephemeralcontainers`, (_, response) => {
      const message =
        'pods "shop-1" is forbidden: User "u" cannot patch resource "pods/ephemeralcontainers" in API group ""';
      response.statusCode = 403;
      response.end(JSON.stringify({ kind: 'Status', code: 403, reason: 'Forbidden', message }));
    });
    const what = 'you may not patch pods/ephemeralcontainers in namespace shop';
    await expect(start()).rejects.toMatchObject({ code: 'NOT_PERMITTED', message: what });
  });

  test('a rule of the pod’s namespace is named, and a way that has no need of it', async () => {
    server.answers.set('GET /api/v1', NEW_API);
    server.answers.set(`PATCH ${POD}/ephemeralcontainers`, (_, response) => {
      const message =
        'pods "shop-1" is forbidden: violates PodSecurity "baseline:latest": non-default capabilities (container "mirrord-agent-x" must not include "SYS_ADMIN" in securityContext.capabilities.add)';
      response.statusCode = 403;
      response.end(JSON.stringify({ kind: 'Status', code: 403, reason: 'Forbidden', message }));
    });
    await expect(start()).rejects.toMatchObject({
      code: 'NOT_PERMITTED',
      message: expect.stringMatching(
        /^namespace shop forbids the agent in pod shop-1 by its pod security rules: .*SYS_ADMIN/,
      ),
      data: {
        advice: expect.stringMatching(/^leave -e \(agent\.ephemeral\) away and let the agent run in another namespace/),
      },
    });
  });

  test('a pod that is deleted meanwhile is a target that is gone', async () => {
    server.answers.set('GET /api/v1', NEW_API);
    server.answers.set(`PATCH ${POD}/ephemeralcontainers`, { kind: 'Pod' });
    server.answers.set('GET /api/v1/namespaces/shop/pods', (_, response) => {
      response.end(`${JSON.stringify({ type: 'DELETED', object: { metadata: { name: 'shop-1' } } })}\n`);
    });
    await expect(start()).rejects.toMatchObject({ code: 'TARGET_GONE' });
  });

  test('a container that does not run in time says what it waited for', async () => {
    server.answers.set('GET /api/v1', NEW_API);
    server.answers.set(`PATCH ${POD}/ephemeralcontainers`, { kind: 'Pod' });
    const states = watchOf({ waiting: { reason: 'ContainerCreating' } });
    server.answers.set('GET /api/v1/namespaces/shop/pods', states);
    const message = expect.stringMatching(/was not ready within 0\.3 s: \w/);
    await expect(start(0.3)).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED', message });
  });
});

test.each([
  [{ waiting: { reason: 'ErrImagePull', message: 'no such image' } }, 'cannot start (ErrImagePull): no such image'],
  [{ waiting: { reason: 'CreateContainerConfigError' } }, 'cannot start (CreateContainerConfigError)'],
  [{ terminated: { reason: 'Error', exitCode: 4 } }, 'ended at once: Error, exit code 4'],
])('a container that will never run is not waited for: %j', (state, message) => {
  expect(() => beganAt({ name: NAME, state }, 'shop-1')).toThrow(message);
});
