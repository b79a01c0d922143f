import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ConflictPolicy } from '../../proto/gen/v1/incoming.ts';
import { type Address, addressText, fromSocketAddress } from '../../proto/socket-address.ts';
import { startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { StealClient, type Stealer, startStealer } from './stealer-harness.ts';

const PORT = 8080;
const TARGET = `http://10.99.0.1:${PORT}`;
const run = promisify(execFile);

let network: TargetNetwork;
let stealer: Stealer;
let local: Server;
let localPort = 0;
let clients: StealClient[] = [];

beforeAll(async () => {
  network = await startNetwork();
  const server = path.join(import.meta.dirname, '../fixtures/web-server.mjs');
  await network.serve(network.target, [process.execPath, server, `:::${PORT}`]);
  local = createServer((request, response) => {
    const hash = createHash('sha256');
    request.on('data', (data: Buffer) => hash.update(data));
    request.on('end', () => {
      if (request.url === '/big') response.end(Buffer.alloc(32 << 20, 0x42));
      else response.end(`local ${request.method} ${request.url} ${hash.digest('hex').slice(0, 8)}\n`);
    });
  });
  await new Promise<void>((resolve) => local.listen(0, '127.0.0.1', resolve));
  localPort = (local.address() as AddressInfo).port;
});
afterAll(async () => {
  local.closeAllConnections();
  await new Promise((resolve) => local.close(resolve));
  await network[Symbol.asyncDispose]();
});
beforeEach(async () => {
  clients = [];
  stealer = await startStealer();
});
afterEach(async () => {
  for (const client of clients) client.vanish();
  await expect.poll(() => stealer.liveSessions).toBe(0);
  await stealer[Symbol.asyncDispose]();
  // Whatever a test did: the target answers as if nobody had been there.
  expect(await curl(`${TARGET}/after`)).toContain('hello');
});

async function open(): Promise<StealClient> {
  const client = await StealClient.open(stealer, network.identity, localPort);
  clients.push(client);
  return client;
}

/** curl as the target's peer, or within the target. */
async function curl(url: string, ...args: string[]): Promise<string> {
  return await curlIn(network.beyond.pid, url, ...args);
}

async function curlIn(pid: number, url: string, ...args: string[]): Promise<string> {
  const words = ['-t', String(pid), '-n', 'curl', '-sS', '-g', '--max-time', '20', ...args, url];
  return (await run('nsenter', words, { maxBuffer: 1 << 27 })).stdout;
}

/** As a probe does that only connects: a node's, or a load balancer's. */
async function isOpen(port: number): Promise<boolean> {
  const words = ['-t', String(network.beyond.pid), '-n', 'bash', '-c', `exec 3<>/dev/tcp/10.99.0.1/${port}`];
  return run('nsenter', words).then(
    () => true,
    () => false,
  );
}

/** Connections to the port that a process's network has established. */
function establishedIn(pid: number): number {
  const port = `:${PORT.toString(16).toUpperCase().padStart(4, '0')}`;
  const lines = readFileSync(`/proc/${pid}/net/tcp`, 'latin1').split('\n');
  return lines.filter((line) => line.trim().split(/\s+/)[2]?.endsWith(port) && / 01 /.test(line)).length;
}

const header = (value: string) => ({ $case: 'header', value }) as const;

describe('a port that is stolen whole', () => {
  test('is answered by the session from the subscription on, over both families and over lo, and by the target after it', async () => {
    const client = await open();
    expect(client.facts?.method).toBe('sk_lookup');
    const { id } = await client.steal({ port: PORT });
    expect(await curl(`${TARGET}/a`)).toBe('local GET /a e3b0c442\n');
    expect(await curl(`http://[fd99::1]:${PORT}/b`)).toBe('local GET /b e3b0c442\n');
    expect(await curlIn(network.target.pid, `http://127.0.0.1:${PORT}/c`)).toBe('local GET /c e3b0c442\n');
    expect(client.peers.map((peer) => peer.replace(/:\d+$/, ''))).toEqual(['10.99.0.2', '[fd99::2]', '127.0.0.1']);
    const counters = await client.unsubscribe(id);
    expect(counters.connections).toBe(3n);
    expect(await curl(`${TARGET}/d`)).toContain('hello');
  });

  test('other ports are nobody business', async () => {
    const client = await open();
    await client.steal({ port: PORT + 1 });
    expect(await curl(TARGET)).toContain('hello');
  });

  test('32 MiB come back whole, past a credit of 256 KiB', async () => {
    const client = await open();
    await client.steal({ port: PORT });
    expect((await curl(`${TARGET}/big`)).length).toBe(32 << 20);
  });
});

describe('with a filter', () => {
  test('only what matches is taken; the rest reaches the target at the address that was meant', async () => {
    const client = await open();
    await client.steal({ port: PORT, conditions: [header('(?i)^x-user: alice$')] });
    expect(await curl(`${TARGET}/a`, '-H', 'X-User: Alice')).toBe('local GET /a e3b0c442\n');
    expect(await curl(`${TARGET}/b`, '-H', 'X-User: bob')).toBe(`hello ::ffff:10.99.0.1 at 10.99.0.1:${PORT}\n`);
    expect(await curl(`http://[fd99::1]:${PORT}/c`)).toBe(`hello fd99::1 at [fd99::1]:${PORT}\n`);
    expect(await curlIn(network.target.pid, `http://127.0.0.1:${PORT}/c`)).toContain('hello ::ffff:127.0.0.1');
  });

  test('requests of one connection part, and bodies are what they were', async () => {
    const client = await open();
    await client.steal({ port: PORT, conditions: [{ $case: 'path', value: '^/mine' }] });
    const body = Buffer.alloc(3 << 20, 0x43);
    const hash = createHash('sha256').update(body).digest('hex').slice(0, 8);
    const { stdout } = await run('nsenter', [
      ...['-t', String(network.beyond.pid), '-n', 'sh', '-c'],
      `head -c ${body.length} /dev/zero | tr '\\0' C | curl -sS --max-time 20 --data-binary @- ${TARGET}/mine --next -sS --data-binary abc ${TARGET}/yours`,
    ]);
    expect(stdout).toBe(`local POST /mine ${hash}\ntook 3`);
  });

  test('a body or a query decides, also behind requests of the same connection that have neither', async () => {
    const client = await open();
    const isAlice = { query: '$.user', matches: '^alice$', maxBytes: 0, waitMs: 0 };
    await client.steal({ port: PORT, conditions: [{ $case: 'jsonBody', value: isAlice }] });
    await client.steal({ port: PORT, conditions: [{ $case: 'queryJq', value: '.user == "alice"' }] });
    const post = (user: string) => ['--data-binary', `{"user":"${user}"}`, `${TARGET}/p`];
    const asks = [[`${TARGET}/1`, `${TARGET}/2`], post('bob'), post('alice'), [`${TARGET}/3`]];
    const words = asks.flatMap((some) => [...some, '--next', '-sS']);
    const answers = await curl(`${TARGET}/4?user=alice`, ...words);
    expect(answers.match(/local|hello|took \d+/g)).toEqual(['hello', 'hello', 'took 14', 'local', 'hello', 'local']);
  });

  test('two sessions steal side by side, and each gets its own', async () => {
    const [alice, bob] = [await open(), await open()];
    await alice.steal({ port: PORT, conditions: [header('^x-user: alice$')] });
    await bob.steal({ port: PORT, conditions: [header('^x-user: bob$')] });
    await curl(TARGET, '-H', 'x-user: alice');
    await curl(TARGET, '-H', 'x-user: bob');
    await curl(TARGET, '-H', 'x-user: carol');
    expect([alice.peers.length, bob.peers.length]).toEqual([1, 1]);
  });
});

describe('who may', () => {
  test('what one session wants in answers is in its own and in those of the target, not in those of another', async () => {
    const [one, two] = [await open(), await open()];
    const http = { firstHeadMs: 0, idleMs: 0, namesOrigin: true, forbidsCaching: false };
    await one.steal({ port: PORT, conditions: [header('^x-user: one$')], http });
    await two.steal({ port: PORT, conditions: [header('^x-user: two$')] });
    const agentOf = async (user: string) =>
      /^mirrord-agent: (.*)\r$/im.exec(await curl(TARGET, '-i', '-H', `x-user: ${user}`))?.[1];
    expect([await agentOf('one'), await agentOf('two'), await agentOf('other')]).toEqual([
      'forwarded-to-client',
      undefined,
      'passed-through',
    ]);
  });

  test('a whole port is refused while somebody has it, and the answer says who, what and since when', async () => {
    const [first, second] = [await open(), await open()];
    await first.steal({ port: PORT });
    await expect(second.steal({ port: PORT, conditions: [header('a: b')] })).rejects.toThrow(
      /port 8080 cannot be stolen: session \S+ steals everything of port 8080 since 20\d\d-/,
    );
    expect(await curl(`${TARGET}/a`)).toContain('local');
    expect(second.peers).toEqual([]);
  });

  test('the same filter twice is a conflict; override takes it over and the other is told', async () => {
    const [first, second] = [await open(), await open()];
    const conditions = [header('^x-user: alice$')];
    await first.steal({ port: PORT, conditions });
    await expect(second.steal({ port: PORT, conditions })).rejects.toThrow(
      /requests with header "\^x-user: alice\$" of port/,
    );
    const onConflict = ConflictPolicy.CONFLICT_POLICY_OVERRIDE;
    const { subscribed } = await second.steal({ port: PORT, conditions, onConflict });
    expect(subscribed.notes[0]).toMatch(/taken over: session/);
    await expect
      .poll(() => first.errors.map(({ message }) => message))
      .toContainEqual(expect.stringMatching(/was taken over/));
    await curl(TARGET, '-H', 'x-user: alice');
    expect([first.peers.length, second.peers.length]).toEqual([0, 1]);
  });

  test('a filter that cannot be is refused before anything is redirected', async () => {
    const client = await open();
    await expect(client.steal({ port: PORT, conditions: [header('(?=a)')] })).rejects.toThrow(/look-around/);
    await expect(client.steal({ port: 0 })).rejects.toThrow(/port 0/);
  });

  test('a target that is another process by now is refused', async () => {
    const identity = { ...network.identity, startTimeTicks: network.identity.startTimeTicks + 1n };
    await expect(StealClient.open(stealer, identity, localPort)).rejects.toThrow(/is another one now/);
  });
});

describe('ends', () => {
  test('a session that vanishes with a request in flight: 502 for that one, the target for the next', async () => {
    const held = createServer(() => client.vanish());
    await new Promise<void>((resolve) => held.listen(0, '127.0.0.1', resolve));
    const client = await StealClient.open(stealer, network.identity, (held.address() as AddressInfo).port);
    clients.push(client);
    await client.steal({ port: PORT, conditions: [header('^x-user: bob$')] });
    const out = await curl(`${TARGET}/1`, '-H', 'x-user: bob', '-w', '%{http_code}\n', `${TARGET}/2`);
    expect(out).toMatch(/^mirrord: the session that took this request has ended\n502\nhello .*\n200\n$/s);
    held.closeAllConnections();
    await new Promise((resolve) => held.close(resolve));
  });

  test('what passes through to the target goes on when the last session is gone', async () => {
    const client = await open();
    await client.steal({ port: PORT, conditions: [header('^x-user: alice$')] });
    const slow = curl(`${TARGET}/large`, '-o', '/dev/null', '-w', '%{size_download}', '--limit-rate', '8M');
    await expect.poll(() => establishedIn(network.beyond.pid)).toBeGreaterThan(0);
    client.vanish();
    expect(await slow).toBe(String(8 << 20));
  });

  test('the target can start its server anew at once, with connections through us just over; between, its port is closed', async () => {
    const port = PORT + 9;
    const server = [process.execPath, path.join(import.meta.dirname, '../fixtures/web-server.mjs'), `:::${port}`];
    const before = await network.serve(network.target, server);
    const client = await open();
    await client.steal({ port, conditions: [header('^x-user: alice$')] });
    const url = `http://10.99.0.1:${port}/`;
    expect(await isOpen(port)).toBe(true);
    // Ended by the server first: our side of it waits for a minute.
    for (const user of ['alice', 'bob']) await curl(url, '-H', `x-user: ${user}`, '-H', 'Connection: close');
    await before.stop();
    // A probe that only connects hears it too.
    await expect.poll(() => isOpen(port), { interval: 10, timeout: 20_000 }).toBe(false);
    const after = await network.serve(network.target, server);
    expect(await curl(url)).toContain('hello');
    await expect.poll(() => curl(url, '-H', 'x-user: alice'), { timeout: 20_000 }).toContain('local');
    await after.stop();
  });

  test('connections that were there before go on and are named, until they are asked to come again', async () => {
    // One connection, a request at each line that it reads.
    const program = `const s=require('net').connect(${PORT},'10.99.0.1');
      s.pipe(process.stdout);process.stdin.on('data',()=>s.write('GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n')).on('end',()=>s.end())`;
    const older = spawn('nsenter', ['-t', String(network.beyond.pid), '-n', process.execPath, '-e', program]);
    let said = '';
    older.stdout.on('data', (data: Buffer) => {
      said += data.toString();
    });
    older.stdin.write('1\n');
    await expect.poll(() => said.match(/hello/g), { timeout: 10_000 }).toHaveLength(1);
    const client = await open();
    const { id, subscribed } = await client.steal({ port: PORT, conditions: [header('^x-user: alice$')] });
    expect(subscribed.olderConnections).toBe(1);
    expect(subscribed.olderPeers.map((peer) => addressText(fromSocketAddress(peer) as Address))).toEqual([
      expect.stringContaining('10.99.0.2'),
    ]);
    older.stdin.write('2\n');
    await expect.poll(() => said.match(/hello/g), { timeout: 10_000 }).toHaveLength(2);
    expect(client.peers).toEqual([]);
    // What passes through us is not among them.
    const slow = curl(`${TARGET}/large`, '-o', '/dev/null', '-w', '%{size_download}', '--limit-rate', '16M');
    await expect.poll(() => establishedIn(network.beyond.pid)).toBeGreaterThan(1);
    const closed = once(older, 'exit');
    expect(await client.renew(id)).toMatchObject({ connections: 1, failed: 0 });
    await closed;
    expect(await slow).toBe(String(8 << 20));
    expect(await client.renew(id)).toMatchObject({ connections: 0, failed: 0 });
  });
});
