import type { Duplex } from 'node:stream';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { KubeApi } from '../kube/api.ts';
import { ApiServer } from '../testing/api-server.ts';
import { grantForward, isSpdy, refuseForward } from '../testing/port-forward.ts';
import { AgentConnections } from './forward.ts';

const SPOKEN = Buffer.from([1, 2, 3]);

let server: ApiServer;
let api: KubeApi;
let connections: AgentConnections;
beforeEach(async () => {
  server = await ApiServer.start();
  api = new KubeApi(await server.access());
  connections = new AgentConnections({ api, namespace: 'ns', pod: 'agent', port: 27_401 });
});
afterEach(async () => {
  connections.close();
  await api.close();
  await server.close();
});

/** From the `from`th on the node forwards, and the agent speaks. */
function forwardsFrom(from: number): () => number {
  let seen = 0;
  server.server.on('upgrade', (request, socket: Duplex) => {
    seen += 1;
    if (seen < from) refuseForward(socket, 500, 'no sandbox');
    else grantForward(request, socket, SPOKEN);
  });
  return () => seen;
}

test('an agent is reached before its node has said that it runs, by one look at a time and then the second connection', async () => {
  const seen = forwardsFrom(3);
  const running = new AbortController();
  await connections.becomeReachable(AbortSignal.timeout(20_000), running.signal);
  expect(seen()).toBe(4);
  const connection = await connections.connect(AbortSignal.timeout(20_000));
  expect(connection.read()).toEqual(SPOKEN);
});

test('when the node has said so, its refusal is the answer', async () => {
  forwardsFrom(100);
  await expect(connections.becomeReachable(AbortSignal.timeout(20_000))).rejects.toThrow('no sandbox');
});

test('an agent that starts keeps its client waiting, who opens the second connection meanwhile', async () => {
  const waiting: (() => void)[] = [];
  server.server.on('upgrade', (request, socket: Duplex) => {
    const speak = grantForward(request, socket, Buffer.alloc(0));
    waiting.push(() => speak(SPOKEN));
    if (waiting.length === 2) for (const say of waiting) say();
  });
  await connections.becomeReachable(AbortSignal.timeout(20_000), new AbortController().signal);
  expect(waiting.length).toBe(2);
  for (const _ of waiting) {
    const connection = await connections.connect(AbortSignal.timeout(20_000));
    expect(connection.read()).toEqual(SPOKEN);
    connection.destroy();
  }
  expect(waiting.length).toBe(2);
});

test('far away both connections are asked for at once', async () => {
  vi.spyOn(api, 'quickestMs', 'get').mockReturnValue(50);
  const asked: (() => void)[] = [];
  server.server.on('upgrade', (request, socket: Duplex) => {
    asked.push(() => grantForward(request, socket, SPOKEN));
    if (asked.length === 2) for (const grant of asked) grant();
  });
  await connections.becomeReachable(AbortSignal.timeout(20_000));
  for (const _ of asked) (await connections.connect(AbortSignal.timeout(20_000))).destroy();
  expect(asked.length).toBe(2);
});

test('one that ends while it starts is looked for again', async () => {
  let seen = 0;
  server.server.on('upgrade', (request, socket: Duplex) => {
    seen += 1;
    const isOver = seen < 3;
    grantForward(request, socket, isOver ? Buffer.alloc(0) : SPOKEN);
    if (isOver) socket.end();
  });
  await connections.becomeReachable(AbortSignal.timeout(20_000), new AbortController().signal);
  expect(seen).toBe(4);
});

test('the word of the node ends the wait for the next look', async () => {
  const seen = forwardsFrom(2);
  const running = new AbortController();
  server.server.once('upgrade', () => running.abort());
  await connections.becomeReachable(AbortSignal.timeout(20_000), running.signal);
  // One look refused, then both connections of a session.
  expect(seen()).toBe(3);
});

test.each([400, 403, 426])(
  'where SPDY is answered with %i a WebSocket is opened, from then on at once',
  async (status) => {
    const kinds: string[] = [];
    server.server.on('upgrade', (request, socket: Duplex) => {
      kinds.push(String(request.headers.upgrade));
      if (isSpdy(request)) refuseForward(socket, status, 'only WebSockets');
      else grantForward(request, socket, SPOKEN);
    });
    const connection = await connections.connect(AbortSignal.timeout(20_000));
    const next = await connections.connect(AbortSignal.timeout(20_000));
    expect(kinds).toEqual(['SPDY/3.1', 'websocket', 'websocket']);
    for (const one of [connection, next]) one.destroy();
  },
);

test('a pod that is gone is gone for both: nobody asks twice', async () => {
  let seen = 0;
  server.server.on('upgrade', (_request, socket: Duplex) => {
    seen += 1;
    refuseForward(socket, 404, 'pods "agent" not found');
  });
  await expect(connections.connect(AbortSignal.timeout(20_000))).rejects.toMatchObject({ httpStatus: 404 });
  expect(seen).toBe(1);
});
