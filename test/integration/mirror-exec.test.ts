// `mirrord exec` and `mirrord dump` with what arrives at a target: real programs, real packets, the whole way. What a local
// process got is held against what the target says it got.

import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { type Peer, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { ExecHarness, type Run, until } from './exec-harness.ts';

const fixture = (name: string) => path.join(import.meta.dirname, '../fixtures', name);
const HTTP = 8080;
const ECHO = 9000;
const DEADLINE_MS = 60_000;
const goServer = path.join(import.meta.dirname, '../../build/go-hash-server');

let network: TargetNetwork;
let server: Peer;
let harness: ExecHarness;

beforeAll(async () => {
  if (!can.root.yes) return;
  network = await startNetwork();
  const command = [process.execPath, fixture('hash-server.mjs'), `${HTTP}`, `${ECHO}`];
  server = await network.serve(network.target, command);
}, DEADLINE_MS);
afterAll(async () => {
  await network?.[Symbol.asyncDispose]();
});
afterEach(async () => {
  await harness?.leavesNothing();
  harness?.close();
}, DEADLINE_MS);

const target = () => `pid/${network.target.pid}`;

function start(command: readonly string[], incoming: unknown = 'mirror'): Run {
  harness = new ExecHarness();
  const config = path.join(harness.folder, 'mirrord.json');
  const feature = { network: { incoming, outgoing: false, dns: false }, fs: 'local' };
  writeFileSync(config, JSON.stringify({ feature }));
  return harness.start(['exec', '-t', target(), '-f', config, '--', ...command]);
}

/** The accounts of connections that are over, `PORT BYTES SHA256` of what came in. */
const accounts = (lines: readonly string[]) =>
  lines.filter((line) => line.startsWith('over ')).map((line) => line.split(' ').slice(1, 4).join(' '));
const localAccounts = (run: Run) => accounts(run.stdout().split('\n').slice(0, -1));

/** Takes as many accounts of the target as there were connections. */
async function targetAccounts(count: number): Promise<string[]> {
  const lines: string[] = [];
  while (lines.length < count) lines.push(await server.line('over'));
  return accounts(lines);
}

/** What the target got is what the local process got: every connection, its peer's port, its bytes. */
async function same(run: Run, count: number): Promise<void> {
  const truth = await targetAccounts(count);
  await until(
    () => `${localAccounts(run).length} of ${count} connections are over here: ${run.stdout().slice(-500)}`,
    () => localAccounts(run).length >= count,
    30_000,
  );
  expect(localAccounts(run).sort()).toEqual(truth.sort());
}

async function stop(run: Run): Promise<string> {
  run.child.kill('SIGTERM');
  return (await run.outcome).stderr;
}

const beyond = (command: string) => network.run(network.beyond, command);
const curl = (at: string) => beyond(`curl -sS --max-time 20 ${at}`);
const send = (host: string, port: number, count: number, bytes: number) =>
  beyond(`${process.execPath} ${fixture('senders.mjs')} ${host} ${port} ${count} ${bytes}`);

describe.skipIf(!can.root.yes)(`a local process under exec (${can.root.why})`, () => {
  test.each([
    ['node', () => [process.execPath, fixture('hash-server.mjs'), `${HTTP}`, `${ECHO}`]],
    ['python', () => ['python3', fixture('hash_server.py'), `${ECHO}`]],
    [
      'a pure Go program',
      () => {
        const variables = { GO111MODULE: 'off', CGO_ENABLED: '0', GOCACHE: path.join(path.dirname(goServer), 'go') };
        execFileSync('go', ['build', '-o', goServer, fixture('hash_server.go')], {
          env: { ...process.env, ...variables },
        });
        return [goServer, `${ECHO}`];
      },
    ],
  ])(
    'in %s gets every connection, byte for byte, from its true peer',
    async (_, command) => {
      const run = start(command());
      await run.complained(`mirroring port ${ECHO}`);
      await send('10.99.0.1', ECHO, 30, 300_000);
      await send('fd99::1', ECHO, 5, 50_000);
      await same(run, 35);
      const said = await stop(run);
      expect(said).toMatch(/port 9000: 35 connections, .* mirrored/);
      expect(said).not.toContain('lost');
    },
    DEADLINE_MS,
  );

  test(
    'sees the peer’s own address, of both families',
    async () => {
      const run = start(['python3', fixture('hash_server.py'), `${ECHO}`]);
      await run.complained(`mirroring port ${ECHO}`);
      await send('10.99.0.1', ECHO, 1, 100);
      await send('fd99::1', ECHO, 1, 100);
      await same(run, 2);
      expect(run.stdout()).toMatch(/from ::ffff:10\.99\.0\.2\n/);
      expect(run.stdout()).toMatch(/from fd99::2\n/);
      await stop(run);
    },
    DEADLINE_MS,
  );

  test(
    'stands for another port of the target than its own',
    async () => {
      const run = start(['python3', fixture('hash_server.py'), '80'], { mode: 'mirror', port_mapping: [[80, ECHO]] });
      await run.complained(`mirroring port ${ECHO}`);
      await send('10.99.0.1', ECHO, 1, 100);
      await same(run, 1);
      expect(await stop(run)).toContain('port 9000: 1 connection');
    },
    DEADLINE_MS,
  );

  test(
    'under load loses nothing that is not counted, and the target nothing at all',
    async () => {
      const run = start([process.execPath, fixture('hash-server.mjs'), `${HTTP}`, `${ECHO}`]);
      await run.complained(`mirroring port ${HTTP}`);
      const report = await beyond(`wrk -t1 -c8 -d1s http://10.99.0.1:${HTTP}/size/500`);
      expect(report).toMatch(/requests in/);
      expect(report).not.toMatch(/Socket errors|Non-2xx/);
      // One more: wrk looks whether somebody is there.
      const truth = await targetAccounts(9);
      await until('the copies are over', () => localAccounts(run).length === 9, 30_000);
      const here = localAccounts(run).sort();
      const said = await stop(run);
      expect(said).toMatch(/port 8080: 9 connections, .* mirrored/);
      if (!said.includes('lost')) expect(here).toEqual(truth.sort());
    },
    DEADLINE_MS,
  );

  test(
    'that stands still loses its own copy, and the target does not wait',
    async () => {
      const run = start(['python3', fixture('hash_server.py'), `${ECHO}`]);
      await run.complained(`mirroring port ${ECHO}`);
      const python = harness.process('hash_server.py');
      process.kill(python, 'SIGSTOP');
      await send('10.99.0.1', ECHO, 4, 40_000_000);
      await targetAccounts(4);
      process.kill(python, 'SIGCONT');
      const said = await stop(run);
      expect(said).toMatch(/port 9000: lost .*: the local process, or the way to it, was too slow/);
    },
    DEADLINE_MS,
  );
});

describe.skipIf(!can.root.yes)('when a part is killed', () => {
  test(
    'the sniffer: connections end, and the next ones come to the one after it',
    async () => {
      const run = start(['python3', fixture('hash_server.py'), `${ECHO}`]);
      await run.complained(`mirroring port ${ECHO}`);
      process.kill(harness.process('sniffer.js'), 'SIGKILL');
      await run.complained('nothing arrives until it is back');
      await send('10.99.0.1', ECHO, 1, 100);
      await targetAccounts(1);
      await run.complained('connections arrive again');
      await send('10.99.0.1', ECHO, 3, 1_000);
      const truth = await targetAccounts(3);
      const isHere = (account: string) => localAccounts(run).includes(account);
      await until('the copies are over', () => truth.every(isHere));
      await stop(run);
    },
    DEADLINE_MS,
  );

  test.each(['agent', 'client'])(
    'the %s: the target goes on, and nothing is left',
    async (which) => {
      const run = start(['python3', fixture('hash_server.py'), `${ECHO}`]);
      await run.complained(`mirroring port ${ECHO}`);
      process.kill(which === 'agent' ? harness.process('agent.js') : run.pid, 'SIGKILL');
      await send('10.99.0.1', ECHO, 2, 1_000);
      await targetAccounts(2);
      if (which === 'agent') await run.complained('the session is lost');
      const left = harness.processes().filter(({ command }) => /^\S*python\S* /.test(command));
      for (const { pid } of left) process.kill(pid, 'SIGKILL');
      await run.outcome;
    },
    DEADLINE_MS,
  );
});

describe.skipIf(!can.root.yes)('mirrord dump', () => {
  test(
    'shows requests and answers as text, and says at the end what it saw',
    async () => {
      harness = new ExecHarness();
      const run = harness.start(['dump', '-t', target(), '-p', `${HTTP}`]);
      await run.complained('Ctrl-C ends it');
      await curl(`http://10.99.0.1:${HTTP}/size/3`);
      await run.said('Connection ID 1 closed');
      run.child.kill('SIGINT');
      const { stdout, stderr, code } = await run.outcome;
      await targetAccounts(1);
      expect(code).toBe(0);
      expect(stdout).toMatch(
        /^## New TCP connection established: Connection ID 1 from 10\.99\.0\.2:\d+ to 10\.99\.0\.1:8080/,
      );
      expect(stdout).toContain('Request ID [1:1]\nGET /size/3 HTTP/1.1\nHost: 10.99.0.1:8080\n');
      expect(stdout).toMatch(/HTTP response: Request ID \[1:1\] after [\d.]+ ms\nHTTP\/1\.1 200 OK\n/);
      expect(stdout).toContain('response: 3 bytes\nData:\nxxx\n');
      expect(stderr).toContain('port 8080: 1 connection');
    },
    DEADLINE_MS,
  );

  test(
    'shows a JSON object a line',
    async () => {
      harness = new ExecHarness();
      const config = path.join(harness.folder, 'filtered.json');
      const incoming = { mode: 'mirror', http_filter: { path_filter: '^/nothing', ports: [ECHO] } };
      writeFileSync(config, JSON.stringify({ feature: { network: { incoming } } }));
      const run = harness.start(['dump', '-t', target(), '-f', config, '-p', `${HTTP},${ECHO}`, '--json']);
      await run.complained(`http_filter has no say here: all that comes to port ${ECHO} is shown`);
      await run.complained('Ctrl-C ends it');
      await curl(`http://10.99.0.1:${HTTP}/`);
      await run.said('"closed"');
      run.child.kill('SIGTERM');
      const events = (await run.outcome).stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
      await targetAccounts(1);
      const kinds = ['opened', 'request', 'finished', 'response', 'body', 'finished', 'closed', 'summary'];
      expect(events.map(({ event }) => event)).toEqual(kinds);
      const sums = events.at(-1).ports.find(({ port }: { port: number }) => port === HTTP);
      expect(sums).toMatchObject({ connections: 1, losses: [] });
    },
    DEADLINE_MS,
  );
});
