import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import tls from 'node:tls';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { stealerAddon } from '../native/index.ts';
import type { EndpointEvents } from '../relay/endpoint.ts';
import type { PoolEndpoint } from '../relay/pool-endpoint.ts';
import { joinEndpoints } from '../relay/raw-relay.ts';
import { Identity } from './identity.ts';
import { secureClient, secureOrigin } from './secure-endpoint.ts';

const NONE = Buffer.alloc(0);
let pem: { certificate: Buffer; key: Buffer };
let servers: net.Server[] = [];
let sockets: net.Socket[] = [];

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
  sockets = [];
});
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  for (const server of servers) await new Promise((resolve) => server.close(resolve));
});

const own = (serverNames: string[] = [], certificate = pem.certificate, key = pem.key) => ({
  ...{ certificate, key: Buffer.from(key), serverNames },
  ...{ clientRoots: NONE, targetCertificate: NONE, targetKey: NONE, targetRoots: NONE },
});

async function listen(server: net.Server): Promise<number> {
  servers.push(server);
  server.on('connection', (socket: net.Socket) => sockets.push(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

/** A descriptor of its own that is being connected. */
function dial(port: number): { fd: number; onDialled: () => void } {
  const address = Buffer.from('00000000000000000000ffff7f000001', 'hex');
  return { fd: stealerAddon().connect(-1, { address, port }), onDialled: () => undefined };
}

/** A connection that has ended its handshake here, and its client. */
async function accepted(
  identity = new Identity(443, own()),
): Promise<{ endpoint: PoolEndpoint; client: tls.TLSSocket }> {
  // A server of TLS that is told nothing: what is dialled to it is handed to a client as it is.
  const meeting = net.createServer({ pauseOnConnect: true });
  const port = await listen(meeting);
  const raw = new Promise<net.Socket>((resolve) => meeting.once('connection', resolve));
  const { endpoint, agreed } = secureClient(identity, '', dial(port).fd);
  const client = tls.connect({ socket: await raw, servername: 'shop.test', rejectUnauthorized: false });
  client.on('error', () => undefined);
  await agreed;
  return { endpoint, client };
}

const ignore: EndpointEvents = {
  onData: () => undefined,
  onEnd: () => undefined,
  onDrain: () => undefined,
  onClosed: () => undefined,
};
const next = (what: keyof EndpointEvents, endpoint: PoolEndpoint) =>
  new Promise<unknown>((resolve) => endpoint.listen({ ...ignore, [what]: resolve }));

test('16 MiB pass whole through two connections in TLS, each end on its own, and little waits in between', async () => {
  const sums = { sent: createHash('sha256'), got: createHash('sha256') };
  const echo = tls.createServer({ cert: pem.certificate, key: pem.key, allowHalfOpen: true }, (socket) =>
    socket.pipe(socket),
  );
  const port = await listen(echo);
  const { endpoint, client } = await accepted();
  const origin = secureOrigin(new Identity(443, own()), 'shop.test', [], dial(port)).endpoint;
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
  expect(await heard).toBe('one two three');
  endpoint.destroy();
});

test('sessions with a server are gone on with, and what it asked for when they began is known', async () => {
  for (const requestCert of [false, true]) {
    const reused: boolean[] = [];
    const server = tls.createServer({
      ...{ cert: pem.certificate, key: pem.key, requestCert, rejectUnauthorized: false },
      ALPNProtocols: ['h2', 'http/1.1'],
    });
    server.on('secureConnection', (socket) => {
      reused.push(socket.isSessionReused());
      socket.on('error', () => undefined).end('hello');
    });
    const port = await listen(server);
    const identity = new Identity(443, own());
    for (const protocol of ['h2', 'http/1.1', 'h2']) {
      const { endpoint, agreed } = secureOrigin(identity, 'shop.test', [protocol], dial(port));
      expect(await agreed).toMatchObject({ protocol, asksWhoWeAre: requestCert });
      await next('onEnd', endpoint);
      endpoint.destroy();
    }
    expect(reused).toEqual([false, true, true]);
  }
});

test.each([
  ['that says no word of TLS', (socket: net.Socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'), 'UNSUPPORTED'],
  ['that goes without a word', (socket: net.Socket) => socket.resume().end(), 'CONNECTION_FAILED'],
])('a target %s is not agreed with, and its end is told', async (_, act, code) => {
  const port = await listen(net.createServer(act));
  const { endpoint, agreed } = secureOrigin(new Identity(443, own()), '', [], dial(port));
  await expect(agreed).rejects.toMatchObject({ code });
  expect(await next('onClosed', endpoint)).toMatchObject({ code: 'CONNECTION_FAILED' });
});

test('a peer that does not read is written to no more until it does, and has all of it then, to the end', async () => {
  const { endpoint, client } = await accepted();
  const block = randomBytes(300_000);
  const [sent, got] = [createHash('sha256'), createHash('sha256')];
  let drained: () => void = () => undefined;
  endpoint.listen({ ...ignore, onDrain: () => drained() });
  let isTaken = true;
  client.pause();
  for (let count = 0; count < 400 && isTaken; count++) {
    isTaken = endpoint.write(Buffer.from(block));
    if (isTaken) await new Promise((resolve) => setImmediate(resolve));
    isTaken = endpoint.write(Buffer.from([count]));
    sent.update(block).update(Buffer.from([count]));
  }
  expect(isTaken).toBe(false);
  const isDrained = new Promise<void>((resolve) => {
    drained = resolve;
  });
  const ended = new Promise<void>((resolve) => client.on('data', (data) => got.update(data)).once('end', resolve));
  client.resume();
  await isDrained;
  endpoint.write(block);
  endpoint.end();
  await ended;
  expect(got.digest('hex')).toBe(sent.update(block).digest('hex'));
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
