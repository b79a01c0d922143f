import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ApiServer } from '../testing/api-server.ts';
import { testCertificates } from '../testing/certificates.ts';
import { withResolvers } from '../with-resolvers.ts';
import { KubeApi } from './api.ts';
import type { ClusterAccess } from './config.ts';
import { CONNECT_DEADLINE_MS } from './connection.ts';

const { ca, otherCa, client } = testCertificates();
const base64 = (bytes: Buffer) => bytes.toString('base64');
let server: ApiServer;
const open = new Set<{ close(): unknown }>();
beforeEach(async () => {
  server = await ApiServer.start('https');
  server.answers.set('GET /version', { gitVersion: 'v1' });
});
afterEach(async () => {
  vi.useRealTimers();
  for (const thing of open) await thing.close();
  open.clear();
  await server.close();
});

async function versionThrough(access: ClusterAccess): Promise<string> {
  const api = new KubeApi(access);
  open.add(api);
  return (await api.get<{ gitVersion: string }>('/version')).gitVersion;
}

test('a server whose authority the kubeconfig names is trusted, and one of another is not', async () => {
  const trusted = await server.access({ cluster: { 'certificate-authority-data': base64(ca) } });
  expect(await versionThrough(trusted)).toBe('v1');
  const other = await server.access({ cluster: { 'certificate-authority-data': base64(otherCa) } });
  await expect(versionThrough(other)).rejects.toMatchObject({
    code: 'SERVICE_UNAVAILABLE',
    message: expect.stringContaining('is not trusted'),
    data: { move: 'user', advice: expect.stringContaining('certificate-authority') },
  });
});

test('insecure-skip-tls-verify and accept_invalid_certificates take whoever answers', async () => {
  const cluster = { 'certificate-authority-data': base64(otherCa) };
  expect(await versionThrough(await server.access({ cluster }, { acceptInvalidCertificates: true }))).toBe('v1');
  const skipping = { 'insecure-skip-tls-verify': true };
  expect(await versionThrough(await server.access({ cluster: skipping }))).toBe('v1');
  await expect(
    versionThrough(await server.access({ cluster: skipping }, { acceptInvalidCertificates: false })),
  ).rejects.toThrow('is not trusted');
});

test('tls-server-name is the name that is asked for and checked', async () => {
  const cluster = { 'certificate-authority-data': base64(ca), 'tls-server-name': 'api.cluster.test' };
  expect(await versionThrough(await server.access({ cluster }))).toBe('v1');
  expect(server.seen[0]?.serverName).toBe('api.cluster.test');
  const wrong = { ...cluster, 'tls-server-name': 'elsewhere.test' };
  await expect(versionThrough(await server.access({ cluster: wrong }))).rejects.toThrow('ERR_TLS_CERT_ALTNAME_INVALID');
});

test('a client certificate is presented', async () => {
  const user = { 'client-certificate-data': base64(client.cert), 'client-key-data': base64(client.key) };
  await versionThrough(await server.access({ cluster: { 'certificate-authority-data': base64(ca) }, user }));
  expect(server.seen[0]?.commonName).toBe('client');
});

test('a certificate that a plugin has made is presented', async () => {
  const status = { clientCertificateData: client.cert.toString(), clientKeyData: client.key.toString() };
  const apiVersion = 'client.authentication.k8s.io/v1';
  const answer = JSON.stringify({ kind: 'ExecCredential', apiVersion, status });
  const exec = { apiVersion, command: 'printf', args: ['%s', answer] };
  await versionThrough(
    await server.access(
      { cluster: { 'certificate-authority-data': base64(ca) }, user: { exec } },
      { env: process.env },
    ),
  );
  expect(server.seen[0]?.commonName).toBe('client');
});

test('half a certificate is refused by the name of the half that is missing', async () => {
  const user = { 'client-certificate-data': base64(client.cert) };
  const access = await server.access({ user });
  await expect(versionThrough(access)).rejects.toThrow('client-certificate is set but client-key is not');
});

test('a server that is not there is an error that names it and its context', async () => {
  const access = await server.access({ cluster: { 'certificate-authority-data': base64(ca) } });
  await server.close();
  await expect(versionThrough(access)).rejects.toMatchObject({
    code: 'SERVICE_UNAVAILABLE',
    message: expect.stringMatching(/context test at 127\.0\.0\.1:\d+ cannot be reached: .*ECONNREFUSED/),
  });
});

test('a request that had to wait for a connection has all its time for the answer', async () => {
  const answers: (() => void)[] = [];
  let asked = withResolvers<void>();
  server.answers.set('GET /slow', (_, response) => {
    answers.push(() => response.end('{}'));
    asked.resolve();
  });
  const api = new KubeApi(await server.access({ cluster: { 'certificate-authority-data': base64(ca) } }));
  open.add(api);
  const gets = Array.from({ length: 7 }, () => api.get('/slow'));
  while (answers.length < 6) {
    await asked.promise;
    asked = withResolvers<void>();
  }
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const waited = api.get('/slow');
  for (const answer of answers.splice(0)) answer();
  while (answers.length < 2) {
    await asked.promise;
    asked = withResolvers<void>();
  }
  vi.advanceTimersByTime(CONNECT_DEADLINE_MS + 1_000);
  vi.useRealTimers();
  for (const answer of answers) answer();
  await expect(Promise.all([...gets, waited])).resolves.toHaveLength(8);
});

/** Leads every name to the API server of the test, as a proxy that resolves names itself. */
class TestProxy {
  readonly asked: string[] = [];
  readonly server: Server;
  readonly #sockets = new Set<Socket>();

  constructor(speak: (proxy: TestProxy, socket: Socket) => Promise<void>, isSecure = false) {
    const welcome = (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => {}).once('close', () => this.#sockets.delete(socket));
      speak(this, socket).catch(() => socket.destroy());
    };
    this.server = isSecure ? createTlsServer(testCertificates().server, welcome) : createServer(welcome);
    this.server.listen(0, '127.0.0.1');
    open.add(this);
  }

  async port(): Promise<number> {
    if (!this.server.listening) await once(this.server, 'listening');
    return (this.server.address() as AddressInfo).port;
  }

  join(socket: Socket): void {
    const up = connect(server.port, '127.0.0.1');
    this.#sockets.add(up);
    up.on('error', () => socket.destroy()).once('close', () => socket.destroy());
    socket.once('close', () => up.destroy());
    socket.pipe(up).pipe(socket);
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.server.close();
  }
}

async function chunk(socket: Socket): Promise<Buffer> {
  socket.resume();
  const [bytes] = (await once(socket, 'data')) as [Buffer];
  socket.pause();
  return bytes;
}

function connectProxy(wantedCredentials: string | null, isSecure = false): TestProxy {
  return new TestProxy(async (proxy, socket) => {
    const head = (await chunk(socket)).toString();
    proxy.asked.push(head.split('\r\n')[0] ?? '');
    const credentials = /proxy-authorization: basic (\S+)/i.exec(head)?.[1];
    if (wantedCredentials !== null && Buffer.from(credentials ?? '', 'base64').toString() !== wantedCredentials) {
      socket.end('HTTP/1.1 407 Who are you\r\n\r\n');
      return;
    }
    socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
    proxy.join(socket);
  }, isSecure);
}

test('through a CONNECT proxy with credentials: the proxy resolves the name, TLS is end to end', async () => {
  const proxy = connectProxy('me:p@ss');
  const cluster = {
    server: 'https://api.cluster.test:6443',
    'certificate-authority-data': base64(ca),
    'proxy-url': `http://me:p%40ss@127.0.0.1:${await proxy.port()}`,
  };
  expect(await versionThrough(await server.access({ cluster }))).toBe('v1');
  expect(proxy.asked).toEqual(['CONNECT api.cluster.test:6443 HTTP/1.1']);
  expect(server.seen[0]?.serverName).toBe('api.cluster.test');
});

test('a proxy that speaks TLS itself is spoken to in TLS, and the server through it in its own', async () => {
  const proxy = connectProxy(null, true);
  const cluster = {
    server: 'https://api.cluster.test:6443',
    'certificate-authority-data': base64(ca),
    'proxy-url': `https://127.0.0.1:${await proxy.port()}`,
  };
  expect(await versionThrough(await server.access({ cluster }))).toBe('v1');
  expect(proxy.asked).toEqual(['CONNECT api.cluster.test:6443 HTTP/1.1']);
});

test('HTTPS_PROXY is used, and NO_PROXY leaves a server out of it', async () => {
  const proxy = connectProxy(null);
  const cluster = { server: 'https://api.cluster.test', 'certificate-authority-data': base64(ca) };
  const env = { HTTPS_PROXY: `http://127.0.0.1:${await proxy.port()}` };
  expect(await versionThrough(await server.access({ cluster }, { env }))).toBe('v1');
  expect(proxy.asked).toEqual(['CONNECT api.cluster.test:443 HTTP/1.1']);
  const excepted = await server.access({ cluster }, { env: { ...env, NO_PROXY: '.cluster.test' } });
  expect(excepted.proxy).toBe(null);
});

test('a proxy that refuses is named, with what it answered and without the password', async () => {
  const proxy = connectProxy('me:right');
  const cluster = { 'proxy-url': `http://me:wrong@127.0.0.1:${await proxy.port()}` };
  const error = await versionThrough(await server.access({ cluster })).catch((thrown: unknown) => thrown);
  expect(String(error)).toMatch(/proxy 127\.0\.0\.1:\d+ wants other credentials \(407\)/);
  expect(String(error)).not.toContain('wrong');
});

test('through a SOCKS 5 proxy with a user name, which resolves the name', async () => {
  const proxy = new TestProxy(async (self, socket) => {
    await chunk(socket);
    socket.write(Buffer.from([5, 2]));
    const login = await chunk(socket);
    self.asked.push(
      login
        .subarray(2)
        .toString('latin1')
        .replace(/[^a-z]/g, ' '),
    );
    socket.write(Buffer.from([1, 0]));
    const request = await chunk(socket);
    self.asked.push(`${request.subarray(5, 5 + (request[4] ?? 0))}:${request.readUInt16BE(request.length - 2)}`);
    socket.write(Buffer.from([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]));
    self.join(socket);
  });
  const cluster = {
    server: 'https://api.cluster.test:6443',
    'certificate-authority-data': base64(ca),
    'proxy-url': `socks5://me:pw@127.0.0.1:${await proxy.port()}`,
  };
  expect(await versionThrough(await server.access({ cluster }))).toBe('v1');
  expect(proxy.asked).toEqual(['me pw', 'api.cluster.test:6443']);
});
