import { createServer, type Server } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { AppError } from '#proto/errors.ts';
import { ApiServer } from '../testing/api-server.ts';
import { KubeApi } from './api.ts';

const QUICK = { minMs: 1, maxMs: 5, maxRetries: 2 };
const PATIENT_MS = 60_000;
let server: ApiServer;
let api: KubeApi;
let told: AppError[];

beforeEach(async () => {
  server = await ApiServer.start();
  api = new KubeApi(await server.access(), QUICK);
  told = [];
  api.patience = { ms: PATIENT_MS, onWait: (failure) => told.push(failure) };
});
afterEach(async () => {
  await api.close();
  await server.close();
});

/** Refuses as often as it is asked, then answers. */
function after(times: number, refuse: (asked: number) => number, answer: object): void {
  let asked = 0;
  for (const method of ['GET', 'POST']) {
    server.answers.set(`${method} /a`, (_, response) => {
      asked += 1;
      response.statusCode = asked <= times ? refuse(asked) : 200;
      response.end(JSON.stringify(answer));
    });
  }
}

test('a server that restarts is waited for, longer than the policy has it, and that is told once', async () => {
  after(6, () => 503, { n: 1 });
  expect(await api.get('/a')).toEqual({ n: 1 });
  after(6, () => 503, { n: 2 });
  expect(await api.get('/a')).toEqual({ n: 2 });
  expect(told).toMatchObject([{ httpStatus: 503 }]);
});

test('one that has just begun may not know yet who may do what', async () => {
  after(6, (asked) => (asked < 3 ? 503 : 403), { n: 1 });
  expect(await api.get('/a')).toEqual({ n: 1 });
});

test.each([403, 404, 422])('what it refuses otherwise (%i) is refused at once', async (status) => {
  server.answers.set('GET /a', status);
  await expect(api.get('/a')).rejects.toMatchObject({ httpStatus: status });
  expect(server.seen).toHaveLength(1);
  expect(told).toEqual([]);
});

test('what changes something is asked again only where the caller says so', async () => {
  after(4, () => 503, { n: 1 });
  await expect(api.create('/a', {})).rejects.toMatchObject({ httpStatus: 503 });
  expect(await api.patiently(() => api.create('/a', {}), {})).toEqual({ n: 1 });
});

test('after the start a failure is heard at once, and where the policy has no retries there is no patience', async () => {
  after(6, () => 503, {});
  api.patience = null;
  await expect(api.get('/a')).rejects.toMatchObject({ httpStatus: 503 });
  expect(server.seen).toHaveLength(1 + QUICK.maxRetries);
  await using none = new KubeApi(await server.access(), { ...QUICK, maxRetries: 0 });
  none.patience = { ms: PATIENT_MS, onWait: (failure) => told.push(failure) };
  await expect(none.get('/a')).rejects.toMatchObject({ httpStatus: 503 });
  expect(told).toEqual([]);
});

test('a port where nobody listens yet is waited for; a watch that breaks ends, and is begun anew', async () => {
  const gone = await reserved();
  await using far = new KubeApi(await server.access({ cluster: { server: `http://127.0.0.1:${gone}` } }), QUICK);
  const waits = new Promise<AppError>((onWait) => {
    far.patience = { ms: PATIENT_MS, onWait };
  });
  const events = far.watch('/pods', { timeoutS: 30 });
  const first = events.next();
  expect(await waits).toMatchObject({ code: 'SERVICE_UNAVAILABLE', message: expect.stringContaining('ECONNREFUSED') });
  const late = await listening(gone);
  expect((await first).value).toEqual({ type: 'ADDED', object: {} });
  await late[Symbol.asyncDispose]();
  expect((await events.next()).done).toBe(true);
});

test('who gives up is not kept waiting', async () => {
  after(Number.POSITIVE_INFINITY, () => 503, {});
  const asked = new AbortController();
  api.patience = { ms: PATIENT_MS, onWait: () => asked.abort() };
  await expect(api.get('/a', { signal: asked.signal })).rejects.toMatchObject({ code: 'CANCELLED' });
});

/** Closes at once: the port of one that is not there. */
async function reserved(): Promise<number> {
  const one = createServer();
  const port = await open(one, 0);
  await one[Symbol.asyncDispose]();
  return port;
}

function open(one: Server, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    one.once('error', reject).listen(port, '127.0.0.1', () => resolve(Object(one.address()).port as number));
  });
}

/** One event for each watch; its end breaks them. */
async function listening(port: number): Promise<AsyncDisposable> {
  const body = '{"type":"ADDED","object":{}}\n';
  const sockets = new Set<{ destroy(): void }>();
  const one = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    const size = body.length.toString(16);
    socket.once('data', () =>
      socket.write(`HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${size}\r\n${body}\r\n`),
    );
  });
  await open(one, port);
  return {
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await one[Symbol.asyncDispose]();
    },
  };
}
