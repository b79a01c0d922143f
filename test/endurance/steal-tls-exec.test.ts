// TLS on a stolen port as a user has it: opaque without a certificate, read with one of the target's or of the user's, and
// delivered as the configuration says.

import { execFile, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { CertificateFolder, type Pair } from '../fixtures/certificates.ts';
import { startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { descendantsOf } from '../fixtures/processes.ts';
import { ExecHarness, type Run } from '../integration/exec-harness.ts';

const PORT = 8443;
const NAME = 'shop.test';
const DEADLINE = { timeout: 60_000 };
const SERVER = path.join(import.meta.dirname, '../fixtures/tls-server.mjs');
const SECURE_SUM = path.join(import.meta.dirname, '../fixtures/tls-servers/SecureSum.java');
const ALICE = { header_filter: '^x-user: alice$' };
const IN_TARGET = { certificate: '/etc/tls/shop.crt', key: '/etc/tls/shop.key' };

let network: TargetNetwork;
let certificates: CertificateFolder;
let pair: Pair;
/** Of the local process, which the clients of the target do not trust. */
let own: CertificateFolder;
let ownPair: Pair;
let harness: ExecHarness;
let runs: Run[] = [];

beforeAll(async () => {
  certificates = new CertificateFolder();
  execFileSync('javac', ['-d', certificates.folder, SECURE_SUM], { stdio: 'pipe' });
  own = new CertificateFolder();
  pair = certificates.pair([NAME]);
  ownPair = own.pair(['laptop.test']);
  network = await startNetwork({ uid: 1_000, gid: 1_000 });
  const { certificate, key } = certificates.read(pair);
  const folder = path.join(network.target.root, 'etc/tls');
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, 'shop.crt'), certificate);
  writeFileSync(path.join(folder, 'shop.key'), key);
  writeFileSync(path.join(folder, 'secret.key'), key);
  for (const [name, mode] of [
    ['shop.crt', 0o644],
    ['shop.key', 0o644],
    ['secret.key', 0o600],
  ] as const) {
    chmodSync(path.join(folder, name), mode);
  }
  await network.serve(network.target, [process.execPath, SERVER, 'target', `${PORT}`, pair.certificate, pair.key]);
}, 60_000);
afterAll(async () => {
  await network?.[Symbol.asyncDispose]();
  for (const one of [certificates, own]) one?.[Symbol.dispose]();
});
beforeEach(() => {
  runs = [];
  harness = new ExecHarness();
});
afterEach(async () => {
  for (const { child } of runs) if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
  for (const { outcome } of runs) await outcome;
  await harness.leavesNothing();
  harness.close();
  await expect.poll(() => curl('/after')).toContain('target HTTP/2.0 GET /after');
});

async function curl(at: string, ...words: string[]): Promise<string> {
  const trust = ['--cacert', certificates.authority, '--resolve', `${NAME}:${PORT}:10.99.0.1`];
  const all = ['-t', `${network.beyond.pid}`, '-n', 'curl', '-sS', '--max-time', '20', ...trust, ...words];
  return (await promisify(execFile)('nsenter', [...all, `https://${NAME}:${PORT}${at}`])).stdout;
}

const serveTls = ['node', SERVER, 'local', `${PORT}`];
const servePlain = (
  port: number,
) => `require('http').createServer((q, s) => s.end('plain ' + q.url + ' ' + (q.socket.encrypted ?? false) + '\\n'))
  .listen(${port}, () => console.log('ready'));`;

function words(incoming: object, command: readonly string[]): string[] {
  const file = path.join(harness.folder, 'mirrord.json');
  writeFileSync(
    file,
    JSON.stringify({ feature: { fs: 'local', network: { incoming: { mode: 'steal', ...incoming } } } }),
  );
  return ['exec', '-f', file, '-t', `pid/${network.target.pid}`, '--', ...command];
}

async function start(incoming: object, command: readonly string[]): Promise<Run> {
  const run = harness.start(words(incoming, command));
  runs.push(run);
  await run.said('ready');
  await run.complained(`stealing port ${PORT}`);
  return run;
}

test("without a certificate it is the local process's own TLS that the client sees", DEADLINE, async () => {
  await start({}, [...serveTls, ownPair.certificate, ownPair.key]);
  await expect(curl('/a')).rejects.toThrow(/SSL certificate problem/);
  const [http2, http1] = [await curl('/a', '-k'), await curl('/b', '-k', '--http1.1')];
  expect(http2).toContain(`local HTTP/2.0 GET /a 0 `);
  expect(http1).toMatch(new RegExp(`local HTTP/1.1 GET /b 0 .* for ${NAME}`));
});

test(
  "with the target's certificate filters apply, and the local process gets TLS as its clients spoke it",
  DEADLINE,
  async () => {
    await start({ tls: [IN_TARGET], http_filter: ALICE }, [...serveTls, ownPair.certificate, ownPair.key]);
    const alice = ['-H', 'x-user: alice'];
    expect(await curl('/a', ...alice)).toMatch(new RegExp(`local HTTP/2.0 GET /a 0 .* for ${NAME}`));
    expect(await curl('/b', ...alice, '--http1.1')).toMatch(new RegExp(`local HTTP/1.1 GET /b 0 .* for ${NAME}`));
    expect(await curl('/c')).toMatch(new RegExp(`target HTTP/2.0 GET /c 0 .* for ${NAME}`));
    expect(await curl('/d', '--http1.1')).toContain('target HTTP/1.1 GET /d');
  },
);

test(
  "Java's own server is the local process: it gets TLS with its own certificate, in HTTP/1.1, which is all it speaks",
  DEADLINE,
  async () => {
    const java = ['java', '-cp', certificates.folder, 'SecureSum', 'serve', `${PORT}`, 'java'];
    await start({ tls: [IN_TARGET], http_filter: ALICE }, [...java, ownPair.certificate, ownPair.key]);
    const sum = createHash('sha256').update('a'.repeat(3_000_000)).digest('hex');
    const file = certificates.path('body');
    writeFileSync(file, 'a'.repeat(3_000_000));
    const body = ['--http1.1', '-H', 'expect:', '--data-binary', `@${file}`];
    expect(await curl('/a', ...body, '-H', 'x-user: alice')).toBe(`java ${sum}`);
    expect(await curl('/b', ...body)).toContain('target HTTP/1.1 POST /b 3000000');
  },
);

test("with files of the user's and delivery as plaintext a plain server answers https", DEADLINE, async () => {
  const tls = [{ from: 'local', ...pair, ports: [PORT], server_names: ['*.test'] }];
  const incoming = { tls, tls_delivery: { protocol: 'tcp' }, http_filter: ALICE };
  const run = await start(incoming, ['node', '-e', servePlain(PORT)]);
  expect(await curl('/a', '-H', 'x-user: alice', '--http1.1')).toBe('plain /a false\n');
  expect(await curl('/b')).toContain('target HTTP/2.0 GET /b');
  expect(await curl('/c', '--http1.1')).toContain('target HTTP/1.1 GET /c');
  expect((await stop(run)).stderr).not.toContain('does not take TLS');
});

test(
  'a local process that takes no TLS is told of once, its requests get 502, and no key is in what we write',
  DEADLINE,
  async () => {
    const run = await start({ tls: [IN_TARGET], http_filter: ALICE }, ['node', '-e', servePlain(PORT)]);
    const status = ['-H', 'x-user: alice', '--http1.1', '-o', '/dev/null', '-w', '%{http_code}'];
    expect([await curl('/a', ...status), await curl('/b', ...status)]).toEqual(['502', '502']);
    const { stdout, stderr } = await stop(run);
    expect(stderr.match(/the local process does not take TLS/g)).toHaveLength(1);
    expect(stderr).toContain('"tls_delivery": {"protocol": "tcp"}');
    expectNoKey(stdout + stderr);
  },
);

test('a key that the target itself may not read is named before anything starts', DEADLINE, async () => {
  const key = '/etc/tls/secret.key';
  const outcome = await harness.run(words({ tls: [{ ...IN_TARGET, key }] }, ['true']));
  expect([outcome.code, outcome.stderr]).toEqual([
    2,
    expect.stringContaining(`${key} cannot be read in the target: EACCES`),
  ]);
});

test.each(['the client', 'the stealer'])(
  '%s is killed under load: the target answers at once, with its own certificate',
  DEADLINE,
  async (who) => {
    const run = await start({ tls: [IN_TARGET], http_filter: ALICE }, [...serveTls, ownPair.certificate, ownPair.key]);
    const alice = () => curl('/k', '-H', 'x-user: alice');
    const asked = Array.from({ length: 8 }, () => alice().catch(String));
    expect(await alice()).toContain('local');
    const local = descendantsOf(run.pid).filter((pid) => commandOf(pid).startsWith('node '));
    const victim =
      who === 'the client' ? run.pid : descendantsOf(run.pid).find((pid) => /stealer\.js/.test(commandOf(pid)));
    process.kill(victim as number, 'SIGKILL');
    await Promise.all(asked);
    expect(await curl('/after', '-H', 'x-user: bob', '--retry', '3', '--retry-all-errors')).toContain(
      'target HTTP/2.0 GET /after',
    );
    // A stealer is started again, and has the key again.
    const next = who === 'the client' ? 'target' : 'local';
    await expect.poll(() => alice().catch(String), { timeout: 20_000 }).toContain(`${next} HTTP/2.0 GET /k`);
    if (who === 'the client') for (const pid of local) process.kill(pid, 'SIGKILL');
    else await stop(run);
    await run.outcome;
  },
);

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}

async function stop(run: Run): Promise<{ stdout: string; stderr: string }> {
  run.child.kill('SIGTERM');
  return await run.outcome;
}

/** Neither in what was said, nor in what lies in the folders of the run. */
function expectNoKey(said: string): void {
  const lines = readFileSync(pair.key, 'latin1').split('\n');
  const secrets = lines.filter((line) => line.length > 20 && !line.startsWith('-----'));
  expect(secrets.length).toBeGreaterThan(0);
  const files = readdirSync(harness.folder, { recursive: true, encoding: 'utf8' }).map((name) =>
    path.join(harness.folder, name),
  );
  const texts = files.filter((file) => statSync(file).isFile()).map((file) => readFileSync(file, 'latin1'));
  for (const secret of secrets) for (const text of [said, ...texts]) expect(text).not.toContain(secret);
}
