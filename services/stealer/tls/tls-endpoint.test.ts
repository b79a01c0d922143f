import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import tls from 'node:tls';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { EndpointEvents } from '../relay/endpoint.ts';
import { joinEndpoints } from '../relay/raw-relay.ts';
import { Identity } from './identity.ts';
import { TlsEndpoint } from './tls-endpoint.ts';

const NONE = Buffer.alloc(0);
let pem: { certificate: Buffer; key: Buffer };
let servers: net.Server[] = [];

beforeAll(() => {
  const folder = mkdtempSync(path.join(tmpdir(), 'mirrord-endpoint-'));
  const names = ['-subj', '/CN=shop.test', '-addext', 'subjectAltName=DNS:shop.test,DNS:*.shop.test'];
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  execFileSync('openssl', ['req', '-x509', ...kind, '-keyout', 'key', '-out', 'crt', ...names], {
    cwd: folder,
    stdio: 'pipe',
  });
  pem = { certificate: readFileSync(path.join(folder, 'crt')), key: readFileSync(path.join(folder, 'key')) };
  rmSync(folder, { recursive: true });
});
beforeEach(() => {
  servers = [];
});
afterEach(async () => {
  for (const server of servers) await new Promise((resolve) => server.close(resolve));
});

const own = (serverNames: string[] = [], certificate = pem.certificate, key = pem.key) => ({
  ...{ certificate, key: Buffer.from(key), serverNames },
  ...{ clientRoots: NONE, targetCertificate: NONE, targetKey: NONE, targetRoots: NONE },
});

async function listen(server: net.Server): Promise<number> {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

/** A connection that has ended its handshake here, and its client. */
async function accepted(): Promise<{ endpoint: TlsEndpoint; client: tls.TLSSocket }> {
  const identity = new Identity(443, own());
  let resolve: (endpoint: TlsEndpoint) => void = () => undefined;
  const promise = new Promise<TlsEndpoint>((settle) => {
    resolve = settle;
  });
  const port = await listen(
    net.createServer({ allowHalfOpen: true, pauseOnConnect: true }, async (raw) => {
      resolve(new TlsEndpoint(await identity.accept(raw, ''), raw));
    }),
  );
  const client = tls.connect({ port, host: '127.0.0.1', servername: 'shop.test', rejectUnauthorized: false });
  client.on('error', () => undefined);
  return { endpoint: await promise, client };
}

const ignore: EndpointEvents = {
  onData: () => undefined,
  onEnd: () => undefined,
  onDrain: () => undefined,
  onClosed: () => undefined,
};
const next = (what: keyof EndpointEvents, endpoint: TlsEndpoint) =>
  new Promise<unknown>((resolve) => endpoint.listen({ ...ignore, [what]: resolve }));

test('16 MiB pass whole through two connections in TLS, each end on its own, and little waits in between', async () => {
  const sums = { sent: createHash('sha256'), got: createHash('sha256') };
  const echo = tls.createServer({ cert: pem.certificate, key: pem.key, allowHalfOpen: true }, (socket) =>
    socket.pipe(socket),
  );
  const port = await listen(echo);
  const { endpoint, client } = await accepted();
  const raw = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const origin = new TlsEndpoint(tls.connect({ socket: raw, rejectUnauthorized: false }), raw);
  const closed = new Promise<void>((resolve) => joinEndpoints(endpoint, origin, resolve));
  const block = randomBytes(1 << 20);
  const ended = new Promise<void>((resolve) => client.on('data', (data) => sums.got.update(data)).once('end', resolve));
  for (let count = 0; count < 16; count++) {
    sums.sent.update(block);
    if (!client.write(block)) await new Promise((resolve) => client.once('drain', resolve));
  }
  client.end();
  await ended;
  expect(sums.got.digest('hex')).toBe(sums.sent.digest('hex'));
  await closed;
});

test('an end that came before anybody listened, or while nobody read, is told when somebody does', async () => {
  const { endpoint, client } = await accepted();
  client.end('last words');
  await new Promise((resolve) => client.once('finish', resolve));
  endpoint.listen(ignore);
  endpoint.pause();
  const early = await accepted();
  early.client.end();
  // Node has told it by then.
  await new Promise((resolve) => early.client.once('finish', () => setImmediate(resolve)));
  await next('onEnd', early.endpoint);
  early.endpoint.destroy();
  const told = next('onEnd', endpoint);
  endpoint.resume();
  await told;
  endpoint.destroy();
});

test('a connection that is cut in the very moment of its handshake is reset, and nothing else happens', async () => {
  for (let count = 0; count < 20; count++) {
    const { endpoint, client } = await accepted();
    endpoint.listen({ ...ignore, onClosed: () => expect.unreachable('told of what it did itself') });
    endpoint.destroy();
    await new Promise((resolve) => client.once('close', resolve));
  }
});

test('what is written piece by piece in a turn leaves together, in order', async () => {
  const { endpoint, client } = await accepted();
  endpoint.listen(ignore);
  const heard = new Promise<string>((resolve) => client.once('data', (data) => resolve(String(data))));
  const whole = Buffer.from('one two three');
  endpoint.write(whole.subarray(0, 4));
  endpoint.write(whole.subarray(4));
  endpoint.write(Buffer.from(' four'));
  expect(await heard).toBe('one two three four');
  endpoint.destroy();
});

describe('who the stealer is', () => {
  test.each([
    [[], 'shop.test', true],
    [[], 'a.shop.test', true],
    [[], 'a.b.shop.test', false],
    [[], 'other.test', false],
    [[], '', true],
    [['*.x.test', 'y.test'], 'a.x.test', true],
    [['*.x.test', 'y.test'], 'a.b.x.test', false],
    [['*.x.test', 'y.test'], 'x.test', false],
    [['*.x.test', 'y.test'], 'shop.test', false],
    [['Y.test'], 'y.test', true],
    [['y.test'], '', false],
    [['*'], 'any.test', true],
    [['*'], '', true],
  ])('for %j and a client that asks for %j: %j', (names, serverName, isCovered) => {
    expect(new Identity(443, own(names)).covers(serverName)).toBe(isCovered);
  });

  test('has no clash with itself, and says for which name it has one with another', () => {
    const other = tls.rootCertificates[0] as string;
    expect(new Identity(443, own()).clashWith(new Identity(443, own(['shop.test'])))).toBeUndefined();
    expect(() => new Identity(443, own([], Buffer.from(other)))).toThrow(
      'TLS of port 443: the key is not the one of the certificate',
    );
  });

  test('overwrites the key that it was given, also when it refuses it', () => {
    const [good, bad] = [own(), { ...own(), certificate: Buffer.from(tls.rootCertificates[0] as string) }];
    new Identity(443, good);
    expect(() => new Identity(443, bad)).toThrow();
    for (const { key } of [good, bad]) expect(key.every((byte) => byte === 0)).toBe(true);
  });
});
