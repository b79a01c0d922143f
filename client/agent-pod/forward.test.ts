import { createHash } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { KubeApi } from '../kube/api.ts';
import { ApiServer } from '../testing/api-server.ts';
import { AgentConnections } from './forward.ts';

const PATH = '/api/v1/namespaces/ns/pods/agent/portforward';
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

let server: ApiServer;
let api: KubeApi;
let connections: AgentConnections;
beforeEach(async () => {
  server = await ApiServer.start();
  api = new KubeApi(await server.access());
  connections = new AgentConnections({ api, namespace: 'ns', pod: 'agent', port: 57_400 });
});
afterEach(async () => {
  connections.close();
  await api.close();
  await server.close();
});

/** From the `from`th on the node forwards, and the agent speaks. */
function forwardsFrom(from: number): () => number {
  let seen = 0;
  server.answers.set(`GET ${PATH}`, 503);
  server.server.on('upgrade', (request, socket: Duplex) => {
    seen += 1;
    if (seen < from) {
      const body = JSON.stringify({ kind: 'Status', status: 'Failure', code: 500, message: 'no sandbox' });
      socket.end(`HTTP/1.1 500 no\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
      return;
    }
    const accept = createHash('sha1').update(`${request.headers['sec-websocket-key']}${GUID}`).digest('base64');
    socket.write(
      `HTTP/1.1 101 yes\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: ${accept}\r\n` +
        'sec-websocket-protocol: v4.channel.k8s.io\r\n\r\n',
    );
    // Both channels say their port, then the agent speaks.
    socket.write(Buffer.from([0x82, 3, 0, 0x38, 0xe0, 0x82, 3, 1, 0x38, 0xe0, 0x82, 4, 0, 1, 2, 3]));
  });
  return () => seen;
}

test('an agent is reached before its node has said that it runs, by one connection at a time', async () => {
  const seen = forwardsFrom(3);
  const running = new AbortController();
  await connections.becomeReachable(AbortSignal.timeout(20_000), running.signal);
  expect(seen()).toBe(3);
  const connection = await connections.connect(AbortSignal.timeout(20_000));
  expect(connection.read()).toEqual(Buffer.from([1, 2, 3]));
});

test('when the node has said so, its refusal is the answer', async () => {
  forwardsFrom(100);
  await expect(connections.becomeReachable(AbortSignal.timeout(20_000))).rejects.toThrow('no sandbox');
});

test('the word of the node ends the wait for the next look', async () => {
  const seen = forwardsFrom(2);
  const running = new AbortController();
  server.server.once('upgrade', () => running.abort());
  await connections.becomeReachable(AbortSignal.timeout(20_000), running.signal);
  // One look refused, then both connections of a session.
  expect(seen()).toBe(3);
});
