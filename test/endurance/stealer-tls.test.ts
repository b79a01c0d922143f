// Real servers in TLS behind the stealer, real clients in front of it: every body is what was sent, whoever answers; and clients
// that stop in the middle of what they say.

import { execFile, execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { HttpCondition } from '../../proto/gen/v1/incoming.ts';
import { CertificateFolder, type Pair } from '../fixtures/certificates.ts';
import { freePort } from '../fixtures/free-port.ts';
import { type Peer, type Saying, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { StealClient, type Stealer, startStealer } from '../integration/stealer-harness.ts';

const NAME = 'shop.test';
const PORT = 8443;
const DEADLINE_MS = 240_000;
const run = promisify(execFile);
const fixture = (name: string) => path.join(import.meta.dirname, '../fixtures', name);
const ALICE = { $case: 'header', value: '(?i)^x-user: alice$' } as const;

let certificates: CertificateFolder;
let pair: Pair;
let network: TargetNetwork;
let stealer: Stealer;
let peers: Peer[] = [];
let clients: StealClient[] = [];

beforeAll(async () => {
  certificates = new CertificateFolder();
  pair = certificates.pair([NAME]);
  execFileSync('go', ['build', '-o', certificates.path('go-server'), fixture('tls-servers/server.go')], {
    cwd: certificates.folder,
    stdio: 'pipe',
  });
  execFileSync('javac', ['-d', certificates.folder, fixture('tls-servers/SecureSum.java')], { stdio: 'pipe' });
  network = await startNetwork();
  stealer = await startStealer();
}, DEADLINE_MS);
afterEach(async () => {
  for (const client of clients) client.vanish();
  for (const peer of peers) await peer.stop();
  [clients, peers] = [[], []];
});
afterAll(async () => {
  await stealer?.[Symbol.asyncDispose]();
  await network?.[Symbol.asyncDispose]();
  certificates?.[Symbol.dispose]();
});

type Condition = NonNullable<HttpCondition['condition']>;
const plain = (port: number) => [process.execPath, fixture('sum-servers/node.mjs'), `${port}`, 'local'];
const plainHttp2 = (port: number) => [...plain(port), 'http2'];

/** One server in TLS at the target, one without it here, where the session's connections are delivered as plaintext. */
async function open(
  target: readonly string[],
  local: (port: number) => readonly string[],
  { saying, condition = ALICE }: { saying?: Saying; condition?: Condition } = {},
): Promise<StealClient> {
  peers.push(await network.serve(network.target, target, saying));
  const port = await freePort();
  peers.push(await network.serve({ ...network.target, pid: process.pid }, local(port)));
  const client = await StealClient.open(stealer, network.identity, port);
  clients.push(client);
  const none = Buffer.alloc(0);
  const rest = { serverNames: [], clientRoots: none, targetCertificate: none, targetKey: none, targetRoots: none };
  await client.steal({ port: PORT, conditions: [condition], tls: [{ ...certificates.read(pair), ...rest }] });
  return client;
}

/** A client beyond the target. */
async function ask(...words: string[]): Promise<string> {
  const all = ['-t', String(network.beyond.pid), '-n', ...words];
  return (await run('nsenter', all, { maxBuffer: 1 << 26, timeout: DEADLINE_MS })).stdout;
}

const curl = (...words: string[]) =>
  ask(
    'curl',
    '-sS',
    '--cacert',
    certificates.authority,
    '--resolve',
    `${NAME}:${PORT}:10.99.0.1`,
    ...words,
    `https://${NAME}:${PORT}/page`,
  );

const nginx = (): string[] => {
  const own = certificates.path('nginx');
  mkdirSync(own, { recursive: true });
  writeFileSync(path.join(own, 'page'), 'from nginx\n');
  const places = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((one) => `${one}_temp_path ${own}/${one};`);
  const tls = `ssl_certificate ${pair.certificate}; ssl_certificate_key ${pair.key};`;
  const site = `server { listen ${PORT} ssl http2; ${tls} root ${own}; default_type text/plain; keepalive_requests 1000000; }`;
  const text = `daemon off; master_process off; pid ${own}/pid; error_log stderr notice; events {}
    http { access_log off; ${places.join(' ')} ${site} }`;
  writeFileSync(path.join(own, 'conf'), text);
  return ['nginx', '-e', 'stderr', '-p', own, '-c', path.join(own, 'conf')];
};
/** What it says when it listens. */
const NGINX_READY = { ready: 'getrlimit' };

const SERVERS: ReadonlyArray<readonly [string, () => string[], boolean]> = [
  ['Node', () => [process.execPath, fixture('tls-servers/node.mjs')], true],
  ['Go', () => [certificates.path('go-server')], true],
  ['Python', () => ['/usr/bin/python3', fixture('tls-servers/server.py')], false],
  ['Java', () => ['java', '-cp', certificates.folder, 'SecureSum', 'serve'], false],
];

test.each(SERVERS)(
  'a server in %s: curl has what it sent by hash, from the target and from the local process, in each kind of HTTP that it speaks',
  async (name, command, hasHttp2) => {
    const bodies = [1, 70_000, 5_000_000].map((bytes, index) => {
      const file = certificates.path(`body-${index}`);
      const body = randomBytes(bytes);
      writeFileSync(file, body);
      return { file, sum: createHash('sha256').update(body).digest('hex') };
    });
    for (const [way, local] of [
      ['--http1.1', plain],
      ['--http2', plainHttp2],
    ] as const) {
      if (way === '--http2' && !hasHttp2) continue;
      const client = await open([...command(), `${PORT}`, 'target', pair.certificate, pair.key], local);
      for (const { file, sum } of bodies) {
        for (const [who, header] of [
          ['local', 'x-user: alice'],
          ['target', 'x-user: bob'],
        ] as const) {
          expect(await curl(way, '-H', header, '-H', 'expect:', '--data-binary', `@${file}`)).toBe(`${who} ${sum}`);
        }
      }
      // Java's server answers no offer, and then nobody does.
      const agreed = way === '--http2' ? 'h2' : name === 'Java' ? '' : 'http/1.1';
      expect(client.tls.map(({ alpn }) => alpn).filter((alpn) => alpn !== agreed)).toEqual([]);
      for (const one of clients) one.vanish();
      for (const peer of peers) await peer.stop();
      [clients, peers] = [[], []];
    }
  },
  DEADLINE_MS,
);

test(
  'a client that speaks HTTP/2 to a server that does not gets HTTP/1.1, as from the server itself',
  async () => {
    const [, command] = SERVERS[2] as (typeof SERVERS)[number];
    const client = await open([...command(), `${PORT}`, 'target', pair.certificate, pair.key], plain);
    const version = ['--http2', '-o', '/dev/null', '-w', '%{http_version}', '-d', 'x'];
    expect(await curl(...version)).toBe('1.1');
    expect(await curl(...version, '-H', 'x-user: alice')).toBe('1.1');
    expect(client.tls).toEqual([{ serverName: NAME, alpn: 'http/1.1' }]);
  },
  DEADLINE_MS,
);

test(
  'nginx: wrk and h2load have every answer, while a session takes its own',
  async () => {
    await open(nginx(), plainHttp2, { saying: NGINX_READY });
    const wrk = await ask('wrk', '-t1', '-c16', '-d4s', `https://10.99.0.1:${PORT}/page`);
    expect(wrk).toMatch(/\d+ requests in/);
    expect(wrk).not.toMatch(/Socket errors|Non-2xx/);
    for (const more of [[], ['-H', 'x-user: alice', '-d', fixture('sum-client.mjs')]]) {
      const said = await ask('h2load', '-n4000', '-c4', '-m50', ...more, `https://10.99.0.1:${PORT}/page`);
      expect(said, more.join(' ')).toContain('4000 succeeded, 0 failed, 0 errored, 0 timeout');
      expect(said).toContain('4000 2xx');
    }
    const words = ['openssl', 's_client', '-quiet', '-connect', `10.99.0.1:${PORT}`, '-servername', NAME];
    const said = await ask('sh', '-c', `printf 'GET /page HTTP/1.0\\r\\n\\r\\n' | ${words.join(' ')} 2>/dev/null`);
    expect(said).toMatch(/^HTTP\/1.1 200 OK\r\n.*from nginx\n$/s);
  },
  DEADLINE_MS,
);

test(
  'gRPC by its official library: 400 calls on one connection, twenty at a time, each answered with its own sum by whom it was for',
  async () => {
    const script = fixture('sum-servers/grpc.mjs');
    const serve = (at: string, port: number, ...files: string[]) => [
      process.execPath,
      script,
      'serve',
      `[::]:${port}`,
      at,
      ...files,
    ];
    await open(serve('target', PORT, pair.certificate, pair.key), (port) => serve('local', port));
    const words = ['ask', `10.99.0.1:${PORT}`, '400', 'x-user=alice', certificates.authority, NAME];
    expect(JSON.parse(await ask(process.execPath, script, ...words))).toEqual({
      'taken local': 200,
      'left target': 200,
    });
  },
  DEADLINE_MS,
);

test(
  'WebSocket by the ws library: 300 messages in fragments, compressed answers, pings from both ends',
  async () => {
    const script = fixture('sum-servers/ws.mjs');
    const serve = (at: string, port: number, ...files: string[]) => [
      process.execPath,
      script,
      'serve',
      `${port}`,
      at,
      ...files,
    ];
    const condition = { $case: 'path', value: '^/alice$' } as const;
    await open(serve('target', PORT, pair.certificate, pair.key), (port) => serve('local', port), { condition });
    for (const [at, name] of [
      ['/alice', 'local'],
      ['/bob', 'target'],
    ] as const) {
      const said = await ask(process.execPath, script, 'ask', `wss://10.99.0.1:${PORT}${at}`, '300', NAME);
      expect(JSON.parse(said)).toEqual({ pings: 1, [name]: 300 });
    }
  },
  DEADLINE_MS,
);

test.each([
  ['Node, which speaks HTTP/2', 0, plainHttp2, 'HTTP_2'],
  ['its own server, which does not', 3, plain, 'HTTP_1_1'],
] as const)(
  "Java's client, which offers HTTP/2, before %s: 201 requests, each with the sum of what was sent",
  async (_, server, local, version) => {
    const [, command] = SERVERS[server] as (typeof SERVERS)[number];
    await open([...command(), `${PORT}`, 'target', pair.certificate, pair.key], local);
    const hosts = certificates.path('hosts');
    writeFileSync(hosts, `10.99.0.1 ${NAME}\n`);
    const java = ['java', `-Djdk.net.hosts.file=${hosts}`, '-cp', certificates.folder, 'SecureSum', 'ask'];
    const said = await ask(...java, `https://${NAME}:${PORT}/`, '201', certificates.authority);
    expect(said).toBe(`101 alice local ${version}\n100 others target ${version}\n`);
  },
  DEADLINE_MS,
);

/** Says some bytes of a hello, and waits for what becomes of its connection: prints how it ended, and after how many seconds. */
const STOPS = `const [bytes] = process.argv.slice(1).map(Number); const net = require('net'); const tls = require('tls');
const startMs = performance.now();
const socket = net.connect(${PORT}, '10.99.0.1', () => {
  const through = new (require('stream').Duplex)({ read() {}, write(chunk, _, done) { socket.write(chunk.subarray(0, bytes)); done(); } });
  tls.connect({ socket: through, servername: '${NAME}', rejectUnauthorized: false }).on('error', () => {});
});
socket.resume().on('error', () => {}).on('close', () => { console.log(Math.round((performance.now() - startMs) / 1000)); process.exit(); });`;

test(
  'clients that stop in the middle of their hello, or of the handshake, are let go after 10 s, and keep nobody up meanwhile',
  async () => {
    await open(
      [process.execPath, fixture('tls-servers/node.mjs'), `${PORT}`, 'target', pair.certificate, pair.key],
      plain,
    );
    // Half of a hello is the target's after 10 s, which waits for two minutes: this one's client is not let go by us.
    const half = ask('timeout', '15', process.execPath, '-e', STOPS, '100').catch(
      (error: { code: number }) => `${error.code}`,
    );
    const whole = Array.from({ length: 20 }, () => ask(process.execPath, '-e', STOPS, '100000'));
    for (let count = 0; count < 5; count++) {
      expect(await curl('--http1.1', '-H', 'x-user: alice', '-d', 'x')).toMatch(/^local /);
      expect(await curl('--http1.1', '-d', 'x')).toMatch(/^target /);
    }
    expect(await half).toBe('124');
    for (const seconds of await Promise.all(whole)) expect(Number(seconds)).toBeGreaterThanOrEqual(9);
  },
  DEADLINE_MS,
);
