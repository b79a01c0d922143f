import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { KubeApi } from '../kube/api.ts';
import { ApiServer } from '../testing/api-server.ts';
import { AgentWatch } from './watch.ts';

const PODS = 'GET /api/v1/namespaces/shop/pods';
const SHOWN = `${JSON.stringify({ type: 'ADDED', object: { metadata: { name: 'agent-1' } } })}\n`;

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

const newWatch = () =>
  new AgentWatch({ api, namespace: 'shop', sessionId: 's-1', startupS: 20, signal: new AbortController().signal });

function begunWatch(): AgentWatch {
  const watch = newWatch();
  watch.begin();
  return watch;
}

/** The first of what is seen; null when the watch ended before. */
async function first(watch: AgentWatch): Promise<string | null> {
  for await (const { object } of watch.next()) return object.metadata.name ?? '';
  return null;
}

/** Resolves with the open answer of a watch. */
function asked(): Promise<ServerResponse> {
  return new Promise((resolve) => {
    server.answers.set(PODS, (_: IncomingMessage, response: ServerResponse) => {
      response.writeHead(200);
      response.flushHeaders();
      resolve(response);
    });
  });
}

test('once begun it is asked for at once, on a connection that nothing else has, and loses nothing', async () => {
  const answer = asked();
  server.answers.set('GET /a', {});
  const watch = begunWatch();
  const response = await answer;
  await api.get('/a');
  expect(server.connections).toBe(2);
  response.write(SHOWN);
  expect(await first(watch)).toBe('agent-1');
  expect(server.seen[0]?.path).toContain('labelSelector=mirrord.dev%2Fsession%3Ds-1&watch=true');
});

test('one that fails before anybody waits ends, and the next one is a new one', async () => {
  server.answers.set(PODS, 503);
  const watch = begunWatch();
  expect(await first(watch)).toBeNull();
  server.answers.set(PODS, (_, response) => response.end(SHOWN));
  expect(await first(watch)).toBe('agent-1');
  server.answers.set(PODS, 403);
  await expect(first(watch)).rejects.toMatchObject({ code: 'NOT_PERMITTED' });
});

test('one that is not begun asks when somebody waits for it', async () => {
  server.answers.set(PODS, (_, response) => response.end(SHOWN));
  server.answers.set('GET /a', {});
  const watch = newWatch();
  await api.get('/a');
  expect(server.seen).toHaveLength(1);
  expect(await first(watch)).toBe('agent-1');
});

test('whoever ends it leaves no watch behind', async () => {
  const answer = asked();
  const watch = begunWatch();
  const response = await answer;
  const closed = new Promise((resolve) => response.once('close', resolve));
  watch.end();
  await closed;
  await expect(first(watch)).resolves.toBeNull();
});
