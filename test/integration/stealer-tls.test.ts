// Filters on a port that speaks TLS: the stealer has the certificate, and is to both sides what the other one is.

import { execFile } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer as createHttp } from 'node:http';
import { createServer as createHttp2 } from 'node:http2';
import { type AddressInfo, createServer, type Server } from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { TlsIdentity } from '../../proto/gen/v1/incoming.ts';
import { CertificateFolder, type Pair } from '../fixtures/certificates.ts';
import { type Peer, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { StealClient, type Stealer, startStealer } from './stealer-harness.ts';

const NAME = 'shop.test';
const PORT = 8443;
const run = promisify(execFile);
const ALICE = { $case: 'header', value: '(?i)^x-user: alice$' } as const;
const SUM = createHash('sha256').digest('hex');

let network: TargetNetwork;
let certificates: CertificateFolder;
let pair: Pair;
let stealer: Stealer;
let local: Server;
let clients: StealClient[] = [];
let peers: Peer[] = [];

beforeAll(async () => {
  certificates = new CertificateFolder();
  pair = certificates.pair([NAME, '*.shop.test']);
  network = await startNetwork();
  local = await plainServer();
  await serveTls(PORT);
});
afterAll(async () => {
  await new Promise((resolve) => local.close(resolve));
  await network[Symbol.asyncDispose]();
  certificates[Symbol.dispose]();
});
beforeEach(async () => {
  [clients, peers] = [[], []];
  stealer = await startStealer();
});
afterEach(async () => {
  for (const client of clients) client.vanish();
  for (const peer of peers) await peer.stop();
  await expect.poll(() => stealer.liveSessions).toBe(0);
  await stealer[Symbol.asyncDispose]();
  expect(await curl('/after')).toContain('target HTTP/2.0 GET /after');
});

async function serveTls(port: number, ...more: string[]): Promise<Peer> {
  const server = path.join(import.meta.dirname, '../fixtures/tls-server.mjs');
  const words = [process.execPath, server, 'target', `${port}`, pair.certificate, pair.key, ...more];
  return await network.serve(network.target, words);
}

/** What a local process is behind its own TLS: both kinds of HTTP, by how a connection begins. */
async function plainServer(): Promise<Server> {
  const answer = (request: { method?: string | undefined; url?: string | undefined; httpVersion: string }) =>
    `local HTTP/${request.httpVersion} ${request.method} ${request.url}\n`;
  const http = createHttp((request, response) => {
    if (request.url === '/hang') server.emit('hung');
    else request.resume().on('end', () => response.end(answer(request)));
  });
  const http2 = createHttp2((request, response) => {
    request.resume().on('end', () => response.end(answer(request)));
  });
  const server = createServer((socket) => {
    socket.once('readable', () => {
      const first = socket.read() as Buffer | null;
      if (first === null) return;
      socket.unshift(first);
      (first.toString('latin1', 0, 3) === 'PRI' ? http2 : http).emit('connection', socket);
    });
    socket.on('error', () => socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

async function open(): Promise<StealClient> {
  const client = await StealClient.open(stealer, network.identity, (local.address() as AddressInfo).port);
  clients.push(client);
  return client;
}

function identity(of: Pair = pair, more: Partial<TlsIdentity> = {}): TlsIdentity {
  const none = Buffer.alloc(0);
  const rest = { serverNames: [], clientRoots: none, targetCertificate: none, targetKey: none, targetRoots: none };
  return { ...certificates.read(of), ...rest, ...more };
}

/** As a peer of the target, which trusts the authority of the test. */
async function curl(at: string, ...words: string[]): Promise<string> {
  return await requests([[at, ...words]]);
}

/** One after the other, on one connection if they may. */
async function requests(all: string[][], name = NAME, port = PORT): Promise<string> {
  const trust = ['-sS', '--max-time', '20', '--cacert', certificates.authority];
  const resolve = ['--resolve', `${name}:${port}:10.99.0.1`];
  const words = all.map(([at, ...more]) => [...trust, ...resolve, ...more, `https://${name}:${port}${at}`]);
  const joined = words.flatMap((one, index) => (index === 0 ? one : ['--next', ...one]));
  return (await run('nsenter', ['-t', `${network.beyond.pid}`, '-n', 'curl', ...joined], { maxBuffer: 1 << 27 }))
    .stdout;
}

test.each([
  ['HTTP/2', '--http2', '2.0'],
  ['HTTP/1.1', '--http1.1', '1.1'],
  ['no ALPN', '--no-alpn', '1.1'],
])('with %s what matches comes here and the rest reaches the target, on one connection', async (_, way, version) => {
  const client = await open();
  await client.steal({ port: PORT, conditions: [ALICE], tls: [identity()] });
  const body = certificates.path('body');
  writeFileSync(body, Buffer.alloc(3 << 20, 0x41));
  const sum = createHash('sha256').update(readFileSync(body)).digest('hex');
  const said = await requests([
    ['/1', way],
    ['/2', way, '-H', 'x-user: alice'],
    ['/3', way, '--data-binary', `@${body}`],
    ['/size/5000000', way, '-o', certificates.path('down')],
  ]);
  expect(said).toBe(
    [
      `target HTTP/${version} GET /1 0 ${SUM} for ${NAME}`,
      `local HTTP/${version} GET /2`,
      `target HTTP/${version} POST /3 ${3 << 20} ${sum} for ${NAME}`,
      '',
    ].join('\n'),
  );
  expect(readFileSync(certificates.path('down')).equals(Buffer.alloc(5_000_000, 'x'))).toBe(true);
  const alpn = way === '--http2' ? 'h2' : way === '--http1.1' ? 'http/1.1' : '';
  expect(client.tls).toEqual([{ serverName: NAME, alpn }]);
});

test('a name that no session has a certificate for, and what is no TLS, reach the target as they are', async () => {
  const client = await open();
  await client.steal({ port: PORT, conditions: [ALICE], tls: [identity(certificates.pair(['other.test']))] });
  const fingerprint = await shown(NAME);
  expect(fingerprint).toBe(fingerprintOf(pair));
  expect(await curl('/a', '-H', 'x-user: alice')).toContain('target HTTP/2.0 GET /a');
  expect(await shown('other.test')).not.toBe(fingerprint);
  // The target's own answer to what it does not understand.
  const garbage = await say(PORT, 'hello?\r\n\r\n');
  expect(garbage).not.toContain('local');
  expect(client.tls).toEqual([]);
});

test('plain HTTP on a port with a certificate is filtered as ever, and a server that speaks first is heard at once', async () => {
  const web = path.join(import.meta.dirname, '../fixtures/web-server.mjs');
  peers.push(await network.serve(network.target, [process.execPath, web, ':::8090']));
  const greeter =
    "require('net').createServer((s) => { s.write('220 hi\\r\\n'); s.on('error', () => {}); }).listen(8025, () => console.log('ready'))";
  peers.push(await network.serve(network.target, [process.execPath, '-e', greeter]));
  const client = await open();
  for (const port of [8090, 8025]) await client.steal({ port, conditions: [ALICE], tls: [identity()] });
  expect(await say(8090, 'GET /a HTTP/1.0\r\nx-user: alice\r\n\r\n')).toContain('local HTTP/1.0 GET /a');
  expect(await say(8090, 'GET /b HTTP/1.0\r\n\r\n')).toContain('hello');
  expect(await say(8025, '', '220 hi')).toContain('220 hi');
});

test('the certificate is of who came first, who came later is told, and takes its place; the filters of both hold', async () => {
  const [first, second] = [await open(), await open()];
  const other = certificates.pair([NAME], { file: 'second' });
  const bob = { $case: 'header', value: '(?i)^x-user: bob$' } as const;
  const { subscribed } = await first.steal({ port: PORT, conditions: [ALICE], tls: [identity()] });
  expect(subscribed.notes).toEqual([]);
  const later = await second.steal({ port: PORT, conditions: [bob], tls: [identity(other)] });
  expect(later.subscribed.notes).toEqual([
    expect.stringMatching(/^clients that ask for shop.test see the certificate of session \w+, /),
  ]);
  expect(await shown(NAME)).toBe(fingerprintOf(pair));
  for (const user of ['alice', 'bob'])
    expect(await curl('/x', '-H', `x-user: ${user}`)).toContain('local HTTP/2.0 GET /x');
  expect([first.tls.length, second.tls.length]).toEqual([1, 1]);
  first.vanish();
  await expect.poll(() => shown(NAME)).toBe(fingerprintOf(other));
  expect(await curl('/y', '-H', 'x-user: alice')).toContain('target HTTP/2.0 GET /y');
});

test('a session that ends with a request in flight: 502 for that one, and the next is answered by the target', async () => {
  const came = new Promise<void>((resolve) => local.once('hung', resolve));
  const client = await open();
  await client.steal({ port: PORT, conditions: [ALICE], tls: [identity()] });
  const both = requests([
    ['/hang', '--http1.1', '-H', 'x-user: alice'],
    ['/2', '--http1.1'],
  ]);
  await came;
  client.vanish();
  expect(await both).toMatch(/^mirrord: the session that took this request has ended\ntarget HTTP\/1.1 GET \/2 /);
});

test('a target that is down, or does not have us as its client, leaves matched requests to the session or all to the target', async () => {
  const client = await open();
  const authority = { clientRoots: readFileSync(certificates.authority) };
  const me = certificates.pair(['client.test']);
  const asClient = { targetCertificate: readFileSync(me.certificate), targetKey: readFileSync(me.key) };
  await client.steal({ port: 8551, conditions: [ALICE], tls: [identity()] });
  // Clients of a target that is down have 200 ms to ask, which they may miss here.
  const ask = () => requests([['/a', '-H', 'x-user: alice']], NAME, 8551).catch(String);
  await expect.poll(ask, { timeout: 20_000 }).toContain('local HTTP/1.1 GET /a');
  // It wants certificates of its clients: with none of ours its clients have it to themselves.
  peers.push(await serveTls(8552, 'http/1.1', certificates.authority));
  const mutual = ['--cert', me.certificate, '--key', me.key];
  const { id } = await client.steal({ port: 8552, conditions: [ALICE], tls: [identity()] });
  expect(await requests([['/b', ...mutual, '-H', 'x-user: alice']], NAME, 8552)).toContain('target HTTP/1.1 GET /b');
  await client.unsubscribe(id);
  // With one they come to us, if they have one.
  await client.steal({ port: 8552, conditions: [ALICE], tls: [identity(pair, { ...authority, ...asClient })] });
  expect(await requests([['/c', ...mutual, '-H', 'x-user: alice']], NAME, 8552)).toContain('local HTTP/1.1 GET /c');
  expect(await requests([['/d', ...mutual, '--tls-max', '1.2']], NAME, 8552)).toContain('target HTTP/1.1 GET /d');
  await expect(requests([['/e', '-H', 'x-user: alice']], NAME, 8552)).rejects.toThrow(/alert|reset|closed|eof/i);
});

test('a key of another certificate and a text that is none are refused, without a word of them', async () => {
  const client = await open();
  const other = certificates.read(certificates.pair(['other.test']));
  for (const [one, said] of [
    [identity(pair, { key: other.key }), 'TLS of port 8443: the key is not the one of the certificate'],
    [identity(pair, { certificate: Buffer.from('none') }), 'TLS of port 8443: the certificate: '],
  ] as const) {
    await expect(client.steal({ port: PORT, conditions: [ALICE], tls: [one] })).rejects.toThrow(said);
  }
});

/** What a client that asks for a name is shown. */
async function shown(name: string): Promise<string> {
  const words = [
    '-t',
    `${network.beyond.pid}`,
    '-n',
    'openssl',
    's_client',
    '-connect',
    `10.99.0.1:${PORT}`,
    '-servername',
    name,
  ];
  const asked = run('nsenter', words, { timeout: 20_000 });
  asked.child.stdin?.end();
  return new X509Certificate((await asked).stdout).fingerprint256;
}

function fingerprintOf({ certificate }: Pair): string {
  return new X509Certificate(readFileSync(certificate)).fingerprint256;
}

/** What is answered to some words without TLS, up to its end or to a word of it. */
async function say(port: number, words: string, until = ''): Promise<string> {
  const script = `const s = require('net').connect(${port}, '10.99.0.1'); let all = '';
    s.on('data', (d) => { all += d; if (${JSON.stringify(until)} && all.includes(${JSON.stringify(until)})) s.destroy(); });
    s.on('error', () => {}).on('close', () => console.log(all)).write(${JSON.stringify(words)});`;
  const all = ['-t', `${network.beyond.pid}`, '-n', process.execPath, '-e', script];
  return (await run('nsenter', all, { timeout: 20_000 })).stdout;
}
