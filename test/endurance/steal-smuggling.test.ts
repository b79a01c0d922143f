// Requests that are written to be read in two ways, in front of real servers: whatever the stealer decides on is what the target
// would have seen at that place, and what the target sees of the rest is what it sees without us.

import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { freePort } from '../fixtures/free-port.ts';
import { type Peer, type Saying, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { SMUGGLED, type Smuggled } from '../fixtures/smuggled.ts';
import { StealClient, type Stealer, startStealer } from '../integration/stealer-harness.ts';

const PORT = 8080;
const DEADLINE_MS = 240_000;
const SENT = /^(?:POST \/first|GET \/alice|GET \/bob)$/;
const fixture = (name: string) => path.join(import.meta.dirname, '../fixtures', name);
const seen = (name: string) => fixture(`seen-servers/${name}`);

let folder = '';
let network: TargetNetwork;
let stealer: Stealer;
let peers: Peer[] = [];
let clients: StealClient[] = [];

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'mirrord-smuggled-'));
  execFileSync('go', ['build', '-o', path.join(folder, 'seen'), seen('seen.go')], { cwd: folder, stdio: 'pipe' });
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

function nginx(): string[] {
  const places = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (one) => `${one}_temp_path ${folder}/${one};`,
  );
  const says = 'return 200 "target seen $request_method $request_uri [$http_x_user] -\\n";';
  const http = `http { access_log off; ${places.join(' ')} server { listen ${PORT}; location / { ${says} } } }`;
  const text = `daemon off; master_process off; pid ${folder}/pid; error_log stderr notice; events {} ${http}`;
  writeFileSync(path.join(folder, 'conf'), text);
  return ['nginx', '-e', 'stderr', '-p', folder, '-c', path.join(folder, 'conf')];
}

const PYTHON = '/usr/bin/python3';
const apps = path.dirname(seen('seen.py'));
const GUNICORN = [
  PYTHON,
  '-B',
  '/usr/bin/gunicorn',
  '--threads',
  '8',
  '--chdir',
  apps,
  '-b',
  `0.0.0.0:${PORT}`,
  'seen:wsgi',
];
const SERVERS: ReadonlyArray<readonly [string, Readonly<{ command: () => string[]; saying?: Saying }>]> = [
  ['Node', { command: () => [process.execPath, seen('seen.mjs'), `${PORT}`, 'target'] }],
  ['Node that reads loosely', { command: () => [process.execPath, seen('seen.mjs'), `${PORT}`, 'target', 'loose'] }],
  ['Go', { command: () => [path.join(folder, 'seen'), `${PORT}`, 'target'] }],
  ['nginx', { command: nginx, saying: { ready: 'getrlimit' } }],
  ['http.server', { command: () => [PYTHON, '-B', seen('seen.py'), `${PORT}`, 'target'] }],
  ['gunicorn', { command: () => GUNICORN, saying: { ready: 'Booting worker', end: 'SIGTERM' } }],
];

async function ask(texts: readonly string[], cut: number): Promise<string[]> {
  const words = [
    '-t',
    `${network.beyond.pid}`,
    '-n',
    process.execPath,
    fixture('raw-client.mjs'),
    '10.99.0.1',
    `${PORT}`,
    `${cut}`,
  ];
  const said = await new Promise<string>((resolve, reject) => {
    const child = execFile('nsenter', words, { maxBuffer: 1 << 26, timeout: DEADLINE_MS }, (error, out) =>
      error === null ? resolve(out) : reject(error),
    );
    child.stdin?.end(JSON.stringify(texts));
  });
  return JSON.parse(said);
}

type Answer = Readonly<{ by: string; what: string; user: string; sum: string }>;

function answersIn(text: string): Answer[] {
  const all = text.matchAll(/(target|local) seen (\S* \S*) \[(.*?)\] (\S+)\n/g);
  return [...all].map(([, by = '', what = '', user = '', sum = '']) => ({ by, what, user, sum }));
}

/** One is the other's beginning, body for body: who stops earlier has refused something, or closed. */
function areAlike(some: readonly Answer[], others: readonly Answer[]): boolean {
  const isAlike = (one: Answer, other: Answer | undefined) =>
    other === undefined || (one.what === other.what && (one.sum === other.sum || one.sum === '-' || other.sum === '-'));
  return some.every((one, at) => isAlike(one, others[at]));
}

/** What is wrong with what came back, if anything. */
function faultOf({ name, isForSession }: Smuggled, without: string, within: string): string | undefined {
  const direct = answersIn(without);
  const stolen = answersIn(within);
  const said = `${name}: ${JSON.stringify(direct)} without us, ${JSON.stringify(stolen)} with us`;
  if (stolen.some(({ by, user }) => by === 'local' && !user.includes('alice')))
    return `taken from somebody else: ${said}`;
  if (isForSession && stolen.some(({ what }) => !SENT.test(what))) return `not what was sent: ${said}`;
  // Of a server that does not tell its bodies, one answer less may be a request in a body.
  const isBlind = direct.length > 0 && direct.length < stolen.length && direct[0]?.sum === '-';
  // What the session's own server makes of a strange body is its own.
  if (!isForSession && (isBlind || !areAlike(direct, stolen))) return `read in another way: ${said}`;
  return undefined;
}

test.each(SERVERS)(
  '%s is the target: nothing is taken but what it would have seen, and it sees nothing else',
  async (_, { command, saying }) => {
    peers.push(await network.serve(network.target, command(), saying));
    const texts = SMUGGLED.map(({ text }) => text);
    const direct = [await ask(texts, 0), await ask(texts, 1)];
    const port = await freePort();
    const here = { ...network.target, pid: process.pid };
    peers.push(await network.serve(here, [process.execPath, seen('seen.mjs'), `${port}`, 'local', 'loose']));
    const client = await StealClient.open(stealer, network.identity, port);
    clients.push(client);
    await client.steal({ port: PORT, conditions: [{ $case: 'header', value: '^x-user: alice$' }] });
    const stolen = [await ask(texts, 0), await ask(texts, 1)];
    const faults = stolen.flatMap((all, way) =>
      SMUGGLED.map((one, nth) => faultOf(one, direct[way]?.[nth] ?? '', all[nth] ?? '')),
    );
    expect(faults.filter((fault) => fault !== undefined)).toEqual([]);
    expect(stolen.flat().filter((text) => text.includes('local seen')).length).toBeGreaterThan(50);
  },
  DEADLINE_MS,
);
