// `mirrord exec --steal` as a user calls it: the target's peers are answered by a program of this machine.

import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { freePort } from '../fixtures/free-port.ts';
import { startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { descendantsOf } from '../fixtures/processes.ts';
import { ExecHarness, type Run } from './exec-harness.ts';

const PORT = 8080;
const TARGET = `http://10.99.0.1:${PORT}`;

let network: TargetNetwork;
let harness: ExecHarness;
let runs: Run[] = [];

beforeAll(async () => {
  network = await startNetwork();
  const web = path.join(import.meta.dirname, '../fixtures/web-server.mjs');
  await network.serve(network.target, [process.execPath, web, `:::${PORT}`]);
});
afterAll(async () => {
  await network?.[Symbol.asyncDispose]();
});
beforeEach(() => {
  runs = [];
  harness = new ExecHarness();
});
afterEach(async () => {
  for (const { child } of runs) if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
  await harness.leavesNothing();
  harness.close();
  await expect.poll(() => curl('/after')).toContain('hello');
});

/** As a peer of the target would ask. */
async function curl(at: string, ...args: string[]): Promise<string> {
  const words = ['-t', String(network.beyond.pid), '-n', 'curl', '-sS', '--max-time', '20', ...args, `${TARGET}${at}`];
  return (await promisify(execFile)('nsenter', words, { maxBuffer: 1 << 27 })).stdout;
}

/** An unmodified server: answers with who asked, and with what. */
const NODE_SERVER = `const http = require('http');
http.createServer((req, res) => {
  let bytes = 0;
  req.on('data', (data) => { bytes += data.length; });
  req.on('end', () => res.end('local ' + req.method + ' ' + req.url + ' ' + bytes + ' from ' + req.socket.remoteAddress + '\\n'));
}).listen(${PORT}, () => console.log('serving'));
process.on('SIGTERM', () => process.exit(0));`;

const PYTHON_SERVER = `
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        body = ('local GET %s from %s\\n' % (self.path, self.client_address[0])).encode()
        self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(('', ${PORT}), Handler)
print('serving', flush=True)
s.serve_forever()`;

async function start(config: object, words: readonly string[]): Promise<Run> {
  const file = path.join(harness.folder, 'mirrord.json');
  writeFileSync(file, JSON.stringify(config));
  const run = harness.start(['exec', '--steal', '-f', file, '-t', `pid/${network.target.pid}`, '--', ...words]);
  runs.push(run);
  await run.said('serving');
  await run.complained(`stealing port ${PORT}`);
  return run;
}

const statOf = (pid: number) => /^\d+ \((.*)\) \S (\d+)/s.exec(readFileSync(`/proc/${pid}/stat`, 'latin1')) ?? [];
const parentOf = (pid: number) => Number(statOf(pid)[2]);
const isSupervisor = (pid: number) => 'mirrord-supervisor'.startsWith(statOf(pid)[1] ?? '?');

async function stop(run: Run): Promise<void> {
  run.child.kill('SIGTERM');
  await run.outcome;
}

test.each([
  ['Node', [process.execPath, '-e', NODE_SERVER]],
  ['Python', ['/usr/bin/python3', '-c', PYTHON_SERVER]],
])(
  'a server in %s answers the peers of the target, which it sees as they are',
  { timeout: 60_000 },
  async (_, words) => {
    const run = await start({}, words);
    expect(await curl('/a')).toMatch(/^local GET \/a .*from (::ffff:)?10\.99\.0\.2\n$/);
    await stop(run);
  },
);

test('the supervisor that served it is killed: the target answers, while the server lives on', {
  timeout: 60_000,
}, async () => {
  const run = await start({}, [process.execPath, '-e', NODE_SERVER]);
  expect(await curl('/a')).toContain('local GET /a');
  const worker = descendantsOf(run.pid).find((pid) => isSupervisor(pid) && isSupervisor(parentOf(pid)));
  process.kill(worker ?? 0, 'SIGKILL');
  await expect.poll(() => curl('/b'), { timeout: 5_000 }).toContain('hello');
  expect(run.child.exitCode).toBeNull();
  await run.complained('was killed: it goes on with what is of this machine');
  await stop(run);
});

test('with a filter only what matches comes here, on one connection with what does not', {
  timeout: 60_000,
}, async () => {
  const body_filter = { body: 'json', query: '$.user', matches: '^alice$' };
  const any_of = [{ header: '^X-User: alice' }, body_filter, { query: '.user == "alice"' }];
  const incoming = { mode: 'steal', http_filter: { any_of } };
  const run = await start({ feature: { network: { incoming } } }, [process.execPath, '-e', NODE_SERVER]);
  expect(await curl('/j', '--json', '{"user": "alice"}')).toContain('local POST /j 17');
  expect(await curl('/j', '--json', '{"user": "bob"}')).toBe('took 15');
  expect(await curl('/q?user=alice')).toContain('local GET /q');
  const alice = ['-H', 'x-user: Alice'];
  expect(await curl('/a', ...alice)).toContain('local GET /a');
  expect(await curl('/b')).toContain('hello');
  const body = ['--data-binary', `@${writeBody(3 << 20)}`, `${TARGET}/1`];
  const both = await curl('/3', ...alice, ...body, '--next', '-sS', `${TARGET}/2`, '--next', '-sS', ...alice);
  expect(both).toMatch(/^local POST \/1 3145728 from .*\nhello .*\nlocal GET \/3 /s);
  await stop(run);
});

test('a request that meets the end of an idle connection of the local process is answered on a new one', {
  timeout: 60_000,
}, async () => {
  const server = `
    let open = 0;
    require('http').createServer({ keepAliveTimeout: 500 }, (_, res) => res.end('local'))
      .on('connection', (socket) => { open += 1; socket.on('close', () => { if (--open === 0) console.log('all closed'); }); })
      .listen(${PORT}, () => console.log('serving'));
    process.on('SIGTERM', () => process.exit(0));`;
  const incoming = { mode: 'steal', http_filter: { header_filter: '^X-User: alice' } };
  const run = await start({ feature: { network: { incoming } } }, [process.execPath, '-e', server]);
  const agent = descendantsOf(run.pid).find((pid) =>
    readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('agent.js'),
  );
  const asks = path.join(import.meta.dirname, '../fixtures/asks-twice.mjs');
  const words = [process.execPath, asks, '10.99.0.1', String(PORT), '20', 'X-User: alice'];
  const peer = spawn('nsenter', ['-t', String(network.beyond.pid), '-n', ...words], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: peer.stdout });
  const answers: string[] = [];
  const over = once(lines, 'close');
  await once(lines, 'line');
  // The end of the idle connections, and the next requests, pass each other.
  process.kill(agent as number, 'SIGSTOP');
  try {
    await run.said('all closed');
    peer.stdin.end('\n');
    await once(lines, 'line');
    lines.on('line', (line) => answers.push(line));
    const unread = async () => {
      const lines = await network.run(network.target, `ss -Htn state established sport = :${PORT}`);
      return lines.split('\n').filter((line) => Number(line.split(/\s+/)[0]) > 0);
    };
    await expect.poll(unread).toEqual([]);
  } finally {
    process.kill(agent as number, 'SIGCONT');
  }
  await over;
  expect(answers).toEqual(Array(20).fill('200 local'));
  await stop(run);
});

function writeBody(bytes: number): string {
  const file = path.join(harness.folder, 'body');
  writeFileSync(file, Buffer.alloc(bytes, 0x41));
  return file;
}

const LOCAL = expect.stringContaining('local');
const HELLO = expect.stringContaining('hello');

test('answers say who gave them and that nobody keeps them, when the configuration wants it; whole ports and filters alike', {
  timeout: 60_000,
}, async () => {
  const agent = { inject_headers: true, override_cache_control: true };
  const marks = async (...args: string[]) => {
    const heads = await curl('/', '-i', ...args);
    return heads.split('\r\n').filter((line) => /^(mirrord-agent|cache-control):/i.test(line));
  };
  const cache = 'Cache-Control: no-cache, no-store, must-revalidate';
  const filtered = { agent, feature: { network: { incoming: { http_filter: { header_filter: '^x-user: me$' } } } } };
  for (const config of [filtered, { agent }]) {
    const run = await start(config, [process.execPath, '-e', NODE_SERVER]);
    expect(await marks('-H', 'x-user: me')).toEqual(['Mirrord-Agent: forwarded-to-client', cache]);
    if (config === filtered) expect(await marks()).toEqual(['Mirrord-Agent: passed-through', cache]);
    await stop(run);
  }
  expect(await marks()).toEqual([]);
});

test('an agent that has an address for metrics says there what it carried, and nothing about whom', {
  timeout: 60_000,
}, async () => {
  const metrics = `127.0.0.1:${await freePort()}`;
  const incoming = { http_filter: { header_filter: '^x-user: me$' } };
  const run = await start({ agent: { metrics }, feature: { network: { incoming } } }, [
    process.execPath,
    '-e',
    NODE_SERVER,
  ]);
  await curl('/1', '-H', 'x-user: me', '--data', 'x'.repeat(1_000));
  // On one connection, of which the latter are passed on in native code.
  await curl('/2', ...[`${TARGET}/3`, '--next', '-sS', `${TARGET}/4`]);
  const answer = await fetch(`http://${metrics}/metrics`);
  const text = await answer.text();
  const sampleOf = (sample: string) =>
    Number(
      text
        .split('\n')
        .find((line) => line.startsWith(`${sample} `))
        ?.split(' ')[1],
    );
  expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
  expect(sampleOf('mirrord_sessions')).toBe(1);
  expect(sampleOf('mirrord_http_requests_total{outcome="matched"}')).toBe(1);
  expect(sampleOf('mirrord_http_requests_total{outcome="passed"}')).toBe(3);
  expect(sampleOf('mirrord_incoming_connections_total{mode="steal"}')).toBe(1);
  expect(sampleOf('mirrord_incoming_bytes_total{mode="steal"}')).toBeGreaterThan(1_000);
  expect(sampleOf('mirrord_incoming_answer_bytes_total{mode="steal"}')).toBeGreaterThan(100);
  for (const line of text.trimEnd().split('\n')) {
    expect(line).toMatch(/^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z]+="[\w.-]+"\})? -?[\d.e+-]+)$/);
  }
  expect(text).not.toMatch(/x-user|10\.99/);
  await stop(run);
  await expect(fetch(`http://${metrics}/metrics`)).rejects.toThrow();
});

test('two commands steal from one port with two filters; what both want is refused with who has it', {
  timeout: 60_000,
}, async () => {
  const steals = (user: string) => ({
    feature: { network: { incoming: { mode: 'steal', http_filter: { header_filter: `^x-user: ${user}$` } } } },
  });
  const alice = await start(steals('alice'), [process.execPath, '-e', NODE_SERVER]);
  const bob = await start(steals('bob'), [process.execPath, '-e', NODE_SERVER]);
  const words = ['exec', '--steal', '-t', `pid/${network.target.pid}`, '--', process.execPath, '-e', NODE_SERVER];
  const third = await harness.run(words);
  expect(third.stderr).toMatch(/session \w+ steals requests with header "\S*\^x-user: alice\$" of port 8080 since 20/);
  expect(third.stderr).toContain('EADDRINUSE');
  expect(third.code).not.toBe(0);
  const both = () => Promise.all(['alice', 'bob', 'carol'].map((user) => curl('/a', '-H', `x-user: ${user}`)));
  expect(await both()).toEqual([LOCAL, LOCAL, HELLO]);
  const listed = (await harness.run(['session', 'list'])).stdout;
  expect(listed.match(/steal \{"header_filter":"\^x-user: (alice|bob)\$"\} on 8080 {2}since 20/g)).toHaveLength(2);
  // What the third was told of each.
  const leases = third.stderr.match(/steals requests with \S+ \S+ \S+ of port 8080 since [0-9TZ:.-]+/g) ?? [];
  expect(leases).toHaveLength(2);
  for (const lease of leases) expect(listed).toContain(`\n    ${lease}\n`);
  // Who came first holds the target for both: without it the other goes on.
  process.kill(processOf(alice, 'stealer.js $'), 'SIGKILL');
  await expect.poll(both, { timeout: 20_000 }).toEqual([LOCAL, LOCAL, HELLO]);
  const [, id = ''] = /^(\S+) .*alice/m.exec(listed) ?? [];
  expect((await harness.run(['session', 'stop', id])).stdout).toContain(`stopped ${id}, process ${alice.pid}`);
  expect((await alice.outcome).stderr).toMatch(/the session was ended by \S+@\S+, with mirrord session stop/);
  await expect.poll(both, { timeout: 20_000 }).toEqual([HELLO, LOCAL, HELLO]);
  await stop(bob);
});

test.each(['the client', 'the agent', 'the stealer'])(
  '%s is killed: the target answers at once',
  { timeout: 60_000 },
  async (who) => {
    const run = await start({}, [process.execPath, '-e', NODE_SERVER]);
    expect(await curl('/a')).toContain('local');
    const command = { 'the client': 'bin/mirrord exec', 'the agent': 'agent.js $', 'the stealer': 'stealer.js $' }[who];
    const victim = processOf(run, command ?? '');
    // It outlives its client, as it should.
    const local = descendantsOf(run.pid).filter((pid) => commandOf(pid).startsWith(`${process.execPath} -e`));
    process.kill(victim, 'SIGKILL');
    // The stealer is started again, and takes the port again; without client or agent the target has it.
    const next = who === 'the stealer' ? 'local' : 'hello';
    await expect.poll(() => curl('/b').catch(String), { timeout: 20_000 }).toContain(next);
    if (who === 'the client') for (const pid of local) process.kill(pid, 'SIGKILL');
    else await stop(run);
    await run.outcome;
  },
);

const CROWD = 40;
/** As many connections at once, all held until it is told to go on; prints how many were answered at all. */
const CROWD_CLIENT = `
import socket, sys
def ask(s):
    try:
        s.settimeout(10); s.sendall(b'GET /crowd HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'); return b'hello' in s.recv(4096)
    except OSError:
        return False
all = [socket.create_connection(('10.99.0.1', ${PORT})) for _ in range(${CROWD})]
print('first', ask(all[0]), flush=True)
sys.stdin.readline()
for s in all[1:]: s.sendall(b'GET /crowd HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')
print('again', ask(all[0]), flush=True)
sys.stdin.read()`;

test('a stealer without a free descriptor keeps the connections that it has, and takes new ones when it can', async () => {
  const filter = { feature: { network: { incoming: { http_filter: { header_filter: '^x-user: nobody$' } } } } };
  const run = await start(filter, [process.execPath, '-e', NODE_SERVER]);
  const stealer = processOf(run, 'stealer.js $');
  const limit = (most: number) => execFileSync('prlimit', ['--pid', String(stealer), `--nofile=${most}:`]);
  limit(readdirSync(`/proc/${stealer}/fd`).length + 10);
  const words = ['-t', String(network.beyond.pid), '-n', 'python3', '-c', CROWD_CLIENT];
  const crowd = spawn('nsenter', words, { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: crowd.stdout })[Symbol.asyncIterator]();
  expect((await lines.next()).value).toBe('first True');
  crowd.stdin.write('\n');
  expect((await lines.next()).value).toBe('again True');
  crowd.stdin.end();
  await once(crowd, 'exit');
  await expect.poll(() => curl('/new').catch(String), { timeout: 20_000 }).toContain('hello');
  expect(processOf(run, 'stealer.js $')).toBe(stealer);
  await stop(run);
});

/** The one of a run with such a command. */
function processOf(run: Run, command: string): number {
  const pattern = new RegExp(`^\\S*node \\S*${command}`);
  const found = [run.pid, ...descendantsOf(run.pid)].filter((pid) => pattern.test(commandOf(pid)));
  expect(found).toHaveLength(1);
  return found[0] as number;
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}
