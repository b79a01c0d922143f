// Real servers as target and as local process, real clients in front: every body is what was sent, whoever answers, and however
// its bytes were cut.

import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { HttpCondition } from '../../proto/gen/v1/incoming.ts';
import { freePort } from '../fixtures/free-port.ts';
import { type Peer, type Saying, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { StealClient, type Stealer, startStealer } from '../integration/stealer-harness.ts';

const PORT = 8080;
const DEADLINE_MS = 240_000;
const run = promisify(execFile);
const fixture = (name: string) => path.join(import.meta.dirname, '../fixtures', name);

type Condition = NonNullable<HttpCondition['condition']>;
type Server = Readonly<{ name: string; command: (port: number) => string[] }>;

let folder = '';
let network: TargetNetwork;
let stealer: Stealer;
let peers: Peer[] = [];
let clients: StealClient[] = [];

const script = (name: string) => fixture(`sum-servers/${name}`);
const SERVERS: readonly Server[] = [
  { name: 'node', command: (port) => [process.execPath, script('node.mjs'), `${port}`] },
  { name: 'http.server', command: (port) => ['/usr/bin/python3', script('plain.py'), `${port}`] },
  { name: 'aiohttp', command: (port) => ['/usr/bin/python3', script('aio.py'), `${port}`] },
  { name: 'hypercorn', command: (port) => ['/usr/bin/python3', script('asgi.py'), `${port}`] },
  { name: 'Go', command: (port) => [path.join(folder, 'go-server'), `${port}`] },
  { name: 'Java', command: (port) => ['java', '-cp', folder, 'SumServer', `${port}`] },
];

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'mirrord-servers-'));
  execFileSync('go', ['build', '-o', path.join(folder, 'go-server'), script('server.go')], {
    cwd: folder,
    stdio: 'pipe',
  });
  execFileSync('javac', ['-d', folder, script('SumServer.java')], { stdio: 'pipe' });
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
  rmSync(folder, { recursive: true, force: true });
});

/** One server at the target, one here, and a session that wants what has `x-user: alice`. */
async function open(
  target: string[],
  local: (port: number) => string[],
  saying?: Saying,
  condition: Condition = { $case: 'header', value: '^x-user: alice$' },
): Promise<void> {
  peers.push(await network.serve(network.target, target, saying));
  const port = await freePort();
  // This machine's own network: the process of the test is in it.
  const here = { ...network.target, pid: process.pid };
  peers.push(await network.serve(here, local(port)));
  const client = await StealClient.open(stealer, network.identity, port);
  clients.push(client);
  await client.steal({ port: PORT, conditions: [condition] });
}

/** A client beyond the target. */
async function ask(...words: string[]): Promise<string> {
  const all = ['-t', String(network.beyond.pid), '-n', ...words];
  return (await run('nsenter', all, { maxBuffer: 1 << 24, timeout: DEADLINE_MS })).stdout;
}

test.each(
  SERVERS.map((server, index) => [server.name, server, SERVERS[(index + 1) % SERVERS.length] as Server] as const),
)(
  '%s is the target, another the local process: 120 requests on one connection, cut into segments',
  async (_, target, local) => {
    await open([...target.command(PORT), 'target'], (port) => [...local.command(port), 'local']);
    const said = await ask(process.execPath, fixture('sum-client.mjs'), '10.99.0.1', `${PORT}`, '120', 'x-user=alice');
    expect(JSON.parse(said)).toEqual({ 'taken local': 60, 'left target': 60 });
  },
  DEADLINE_MS,
);

const nginx = (port: number, protocol: string): string[] => {
  const own = mkdtempSync(path.join(folder, 'nginx-'));
  writeFileSync(path.join(own, 'page'), 'from nginx\n');
  const places = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((one) => `${one}_temp_path ${own}/${one};`);
  const site = `server { listen ${port} ${protocol}; root ${own}; default_type text/plain; keepalive_requests 1000000; }`;
  const http = `http { access_log off; ${places.join(' ')} ${site} }`;
  const text = `daemon off; master_process off; pid ${own}/pid; error_log stderr notice; events {} ${http}`;
  writeFileSync(path.join(own, 'conf'), text);
  return ['nginx', '-e', 'stderr', '-p', own, '-c', path.join(own, 'conf')];
};
/** What it says when it listens. */
const NGINX_READY = { ready: 'getrlimit' };

test(
  'nginx is the target: wrk has every answer, while a session takes its own',
  async () => {
    await open(nginx(PORT, ''), (port) => [...(SERVERS[0] as Server).command(port), 'local'], NGINX_READY);
    const wrk = await ask('wrk', '-t1', '-c16', '-d5s', `http://10.99.0.1:${PORT}/page`);
    expect(wrk).toMatch(/\d+ requests in/);
    expect(wrk).not.toMatch(/Socket errors|Non-2xx/);
    const took = await ask('curl', '-sS', '-H', 'x-user: alice', '-d', 'body', `http://10.99.0.1:${PORT}/page`);
    expect(took).toMatch(/^local [0-9a-f]{64}$/);
  },
  DEADLINE_MS,
);

test(
  'nginx is the target of HTTP/2: h2load has every answer of 50 streams at once',
  async () => {
    await open(
      nginx(PORT, 'http2'),
      (port) => [...(SERVERS[0] as Server).command(port), 'local', 'http2'],
      NGINX_READY,
    );
    for (const [more, answers] of [
      [[], '5000 2xx'],
      [['-H', 'x-user: alice', '-d', fixture('sum-client.mjs')], '5000 2xx'],
    ] as const) {
      const said = await ask('h2load', '-n5000', '-c4', '-m50', ...more, `http://10.99.0.1:${PORT}/page`);
      expect(said, more.join(' ')).toContain('5000 succeeded, 0 failed, 0 errored, 0 timeout');
      expect(said).toContain(answers);
    }
  },
  DEADLINE_MS,
);

test(
  'WebSocket on either side: 200 messages there and back, by the path that asked for it',
  async () => {
    const serve = (port: number) => [process.execPath, fixture('web-socket.mjs'), 'serve', `${port}`, '::'];
    await open(serve(PORT), serve, undefined, { $case: 'path', value: '^/alice$' });
    const client = [process.execPath, '--experimental-websocket', '--no-warnings', fixture('web-socket.mjs')];
    const [target, local] = peers as [Peer, Peer];
    for (const [at, server] of [
      ['/alice', local],
      ['/bob', target],
    ] as const) {
      const said = await ask(...client, 'talk', `ws://10.99.0.1:${PORT}${at}`, '200');
      expect(said).toMatch(/^right [1-9][0-9]{6}\n$/);
      await server.line(`upgrade ${at}`);
    }
  },
  DEADLINE_MS,
);

/** As target and as local process; both answer with a name of theirs and what they got. */
const PAIRS: ReadonlyArray<readonly [string, (at: 'target' | 'local', port: number) => string[], string[]]> = [
  [
    'HTTP/2 by Node',
    (at, port) => [process.execPath, script('node.mjs'), `${port}`, at, 'http2'],
    [script('http2-client.mjs'), '10.99.0.1', `${PORT}`, '400', 'x-user=alice'],
  ],
  [
    'gRPC by its official library',
    (at, port) => [process.execPath, script('grpc.mjs'), 'serve', `[::]:${port}`, at],
    [script('grpc.mjs'), 'ask', `10.99.0.1:${PORT}`, '400', 'x-user=alice'],
  ],
];

test.each(PAIRS)(
  '%s on either side: 400 requests on one connection, twenty at a time, each answered with its own sum by whom it was for',
  async (_, serve, client) => {
    await open(serve('target', PORT), (port) => serve('local', port));
    expect(JSON.parse(await ask(process.execPath, ...client))).toEqual({ 'taken local': 200, 'left target': 200 });
  },
  DEADLINE_MS,
);

test(
  'WebSocket by the ws library on either side: 300 messages in fragments, compressed answers, pings from both ends',
  async () => {
    const serve = (at: string) => (port: number) => [process.execPath, script('ws.mjs'), 'serve', `${port}`, at];
    await open(serve('target')(PORT), serve('local'), undefined, { $case: 'path', value: '^/alice$' });
    for (const [at, name] of [
      ['/alice', 'local'],
      ['/bob', 'target'],
    ] as const) {
      const said = await ask(process.execPath, script('ws.mjs'), 'ask', `ws://10.99.0.1:${PORT}${at}`, '300');
      expect(JSON.parse(said)).toEqual({ pings: 1, [name]: 300 });
    }
  },
  DEADLINE_MS,
);
