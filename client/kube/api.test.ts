import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ApiServer } from '../testing/api-server.ts';
import { KubeApi } from './api.ts';
import type { RetryPolicy } from './retry.ts';

let server: ApiServer;
const apis: KubeApi[] = [];
beforeEach(async () => {
  server = await ApiServer.start();
});
afterEach(async () => {
  for (const api of apis.splice(0)) await api.close();
  await server.close();
});

async function open(retry?: RetryPolicy): Promise<KubeApi> {
  const api = new KubeApi(await server.access({ user: { token: 'abc' } }), retry);
  apis.push(api);
  return api;
}

test('what a call costs is counted, and the next call uses the same connection', async () => {
  server.answers.set('GET /a', { hello: 'x'.repeat(100) });
  const api = await open();
  expect(await api.get('/a')).toEqual({ hello: 'x'.repeat(100) });
  await api.get('/a', { query: { limit: 5, none: undefined } });
  expect(server.seen.map(({ path }) => path)).toEqual(['/a', '/a?limit=5']);
  expect(server.connections).toBe(1);
  expect(api.traffic).toMatchObject({ calls: 2 });
  expect(api.quickestMs).toBeGreaterThan(0);
  expect(api.traffic.receivedBytes).toBeGreaterThan(2 * 112);
  expect(api.traffic.receivedBytes).toBeLessThan(2 * 600);
});

test('a server below a path, as behind a gateway of many clusters, is asked there', async () => {
  server.answers.set('GET /k8s/clusters/c-1/api/v1/pods', { ok: true });
  const access = await server.access({ cluster: { server: `${server.url}/k8s/clusters/c-1/` } });
  const api = new KubeApi(access);
  apis.push(api);
  expect(await api.get('/api/v1/pods', { query: { limit: 1 } })).toEqual({ ok: true });
  expect(server.seen[0]?.path).toBe('/k8s/clusters/c-1/api/v1/pods?limit=1');
});

test('a connection that the server closed meanwhile is replaced, for what may be asked twice', async () => {
  server.answers.set('GET /a', {});
  server.answers.set('POST /a', ({ socket }) => socket.resetAndDestroy());
  const api = await open();
  await api.get('/a');
  server.answers.set('GET /a', ({ socket }) => {
    server.answers.set('GET /a', { n: 2 });
    socket.resetAndDestroy();
  });
  expect(await api.get('/a')).toEqual({ n: 2 });
  await expect(api.create('/a', {})).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' });
});

test('a compressed answer is read, counted as it came, and limited as it is', async () => {
  const body = gzipSync(JSON.stringify({ text: 'x'.repeat(100_000) }));
  server.answers.set('GET /a', (_, response) => {
    response.setHeader('content-encoding', 'gzip').end(body);
  });
  const api = await open();
  expect((await api.get<{ text: string }>('/a')).text.length).toBe(100_000);
  expect(api.traffic.receivedBytes).toBeLessThan(2_000);
  await expect(api.get('/a', { limitBytes: 50_000 })).rejects.toMatchObject({ code: 'LIMIT_REACHED' });
});

test.each([
  [400, 'CONFIG_INVALID'],
  [401, 'UNAUTHENTICATED'],
  [403, 'NOT_PERMITTED'],
  [404, 'TARGET_NOT_FOUND'],
  [409, 'SERVICE_UNAVAILABLE'],
  [503, 'SERVICE_UNAVAILABLE'],
])('a refusal with %i is %s, with the reason and the server’s words', async (status, code) => {
  server.answers.set('POST /pods', status);
  await expect((await open()).create('/pods', {})).rejects.toMatchObject({ code, httpStatus: status });
  await expect((await open()).create('/pods', {})).rejects.toThrow(`the cluster refused to create /pods (${status}`);
});

test('an object and a kind of object that are unknown are told apart', async () => {
  server.answers.set('GET /old', (_, response) => {
    response.statusCode = 404;
    response.end('404 page not found\n');
  });
  const api = await open();
  await expect(api.get('/new/thing')).rejects.toMatchObject({ isOfUnknownApi: false });
  await expect(api.get('/old')).rejects.toMatchObject({ isOfUnknownApi: true, serverMessage: '404 page not found' });
});

test('a get is repeated as often as the policy says, and nothing else is', async () => {
  let failures = 2;
  server.answers.set('GET /a', (_, response) => {
    response.statusCode = failures-- > 0 ? 503 : 200;
    response.setHeader('retry-after', '3600').end('{}');
  });
  server.answers.set('POST /a', 503);
  const api = await open({ minMs: 1, maxMs: 5, maxRetries: 2 });
  await api.get('/a');
  await expect(api.create('/a', {})).rejects.toMatchObject({ httpStatus: 503 });
  expect(server.seen.map(({ method }) => method)).toEqual(['GET', 'GET', 'GET', 'POST']);
  failures = 9;
  await expect((await open({ minMs: 1, maxMs: 1, maxRetries: 1 })).get('/a')).rejects.toMatchObject({
    httpStatus: 503,
  });
});

test('a server that does not answer is given up at the deadline, and at the caller’s word', async () => {
  server.answers.set('GET /slow', () => {});
  const api = await open();
  const overdue = { code: 'DEADLINE_EXCEEDED', message: expect.stringContaining('get /slow') };
  await expect(api.get('/slow', { deadlineMs: 50 })).rejects.toMatchObject(overdue);
  await expect(api.get('/slow', { signal: AbortSignal.timeout(50) })).rejects.toMatchObject({ code: 'CANCELLED' });
});

test('an answer that stops in its middle is an error, not a short answer', async () => {
  server.answers.set('GET /half', (_, response) => {
    response.writeHead(200, { 'content-length': 100 }).write('{"a":');
    setImmediate(() => response.destroy());
  });
  await expect((await open()).get('/half')).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' });
});

test('what is no Kubernetes API is said to be none', async () => {
  server.answers.set('GET /login', (_, response) => void response.end('<html>'));
  await expect((await open()).get('/login')).rejects.toThrow('what answers there is no Kubernetes API');
});

test('pages follow one another, each when it is asked for', async () => {
  server.answers.set('GET /list?limit=2', { items: [1, 2], metadata: { continue: 'a=b&c' } });
  server.answers.set('GET /list?limit=2&continue=a%3Db%26c', { items: [3], metadata: {} });
  const pages = (await open()).pages<{ items: number[]; metadata?: { continue?: string } }>('/list', () => 2);
  expect((await pages.next()).value).toMatchObject({ items: [1, 2] });
  expect(server.seen.length).toBe(1);
  expect((await pages.next()).value).toMatchObject({ items: [3] });
  expect((await pages.next()).done).toBe(true);
});

test('a list whose continuation has expired goes on where the server says', async () => {
  server.answers.set('GET /list?limit=1', { items: [1], metadata: { continue: 'old' } });
  server.answers.set('GET /list?limit=2&continue=old', (_, response) => {
    response.statusCode = 410;
    response.end(JSON.stringify({ kind: 'Status', code: 410, reason: 'Expired', metadata: { continue: 'new' } }));
  });
  server.answers.set('GET /list?limit=2&continue=new', { items: [2] });
  const seen: number[] = [];
  for await (const { items } of (await open()).pages<{ items: number[]; metadata?: object }>('/list', (page) =>
    page === 0 ? 1 : 2,
  )) {
    seen.push(...items);
  }
  expect(seen).toEqual([1, 2]);
});

test('deleting what is not there is no error', async () => {
  server.answers.set('DELETE /pods/a', {});
  const api = await open();
  expect([await api.delete('/pods/a'), await api.delete('/pods/b')]).toEqual([true, false]);
});

test('a watch gives events as they come, across pieces, and ends with the server', async () => {
  server.answers.set('GET /pods', (_, response) => {
    response.write('{"type":"ADDED","object":{"n":1}}\n{"type":"MODI');
    setImmediate(() => response.end('FIED","object":{"n":2}}\n'));
  });
  const api = await open();
  const seen: unknown[] = [];
  for await (const { type, object } of api.watch('/pods', { timeoutS: 30, query: { resourceVersion: 7 } })) {
    seen.push([type, object]);
  }
  expect(seen).toEqual([
    ['ADDED', { n: 1 }],
    ['MODIFIED', { n: 2 }],
  ]);
  expect(server.seen[0]?.path).toBe('/pods?resourceVersion=7&watch=true&timeoutSeconds=30');
});

test('a watch that is ended as soon as it is there is not asked for without a pause, nor kept when given up', async () => {
  server.answers.set('GET /pods', (_, response) => response.end());
  const api = await open();
  const drained = async (signal?: AbortSignal) => {
    for await (const event of api.watch('/pods', { timeoutS: 30, ...(signal === undefined ? {} : { signal }) })) {
      expect.unreachable(JSON.stringify(event));
    }
  };
  const beganMs = performance.now();
  for (let nth = 0; nth < 3; nth++) await drained();
  expect(performance.now() - beganMs).toBeGreaterThan(700);
  const giveUp = new AbortController();
  const last = drained(giveUp.signal);
  await expect.poll(() => server.seen.length).toBe(4);
  giveUp.abort();
  await last.catch(() => undefined);
  await expect(drained(giveUp.signal)).rejects.toMatchObject({ code: 'CANCELLED' });
});

test('a watch of a version that is gone says so by its reason', async () => {
  const status = { kind: 'Status', code: 410, reason: 'Expired', message: 'too old resource version' };
  server.answers.set('GET /pods', (_, response) => {
    response.end(`${JSON.stringify({ type: 'ERROR', object: status })}\n`);
  });
  const events = (await open()).watch('/pods', { timeoutS: 30 });
  await expect(events.next()).rejects.toMatchObject({ reason: 'Expired', httpStatus: 410 });
});

test('a watch that is left closes its connection', async () => {
  const gone = new Promise<void>((resolve) => {
    server.answers.set('GET /pods', (request, response) => {
      request.once('close', resolve);
      response.write('{"type":"ADDED","object":{}}\n');
    });
  });
  for await (const _ of (await open()).watch('/pods', { timeoutS: 30 })) break;
  await gone;
});

test('an upgrade gives the socket, what came behind the head, and the protocol', async () => {
  server.server.on('upgrade', (request, socket) => {
    const key = `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
    const accept = createHash('sha1').update(key).digest('base64');
    const head = ['HTTP/1.1 101 x', 'Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Protocol: two'];
    socket.end(`${head.join('\r\n')}\r\nSec-WebSocket-Accept: ${accept}\r\n\r\nhello`);
  });
  const api = await open();
  const { socket, head, protocol } = await api.upgrade('/x', {
    kind: 'websocket',
    protocols: ['one', 'two'],
    query: { ports: 80 },
  });
  expect([head.toString(), protocol]).toEqual(['hello', 'two']);
  socket.resume();
  await once(socket, 'end');
  socket.destroy();
});

test('an upgrade that is refused gives the server’s words', async () => {
  server.answers.set('GET /x', 403);
  await expect((await open()).upgrade('/x', { kind: 'websocket', protocols: ['one'] })).rejects.toMatchObject({
    code: 'NOT_PERMITTED',
    httpStatus: 403,
  });
});

test('closing ends what is under way, and leaves no connection', async () => {
  const arrived = new Promise<void>((resolve) => {
    server.answers.set('GET /slow', () => resolve());
  });
  const api = await open();
  const pending = expect(api.get('/slow')).rejects.toMatchObject({ code: 'CANCELLED' });
  await arrived;
  await api.close();
  await pending;
  await expect.poll(() => server.connections).toBe(0);
});
