// Which sockets stand for which ports, as configured, and several processes behind one port: real programs under a mirror, whose
// copies are held against what the target says it got.

import { rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { can } from '../can.ts';
import { type Peer, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { ExecHarness, type Run, until } from '../integration/exec-harness.ts';

/** What stays here is bound here: of nobody else on this machine. Each case has two of its own, and a server behind them. */
const FIRST_PORT = 20_000 + (process.pid % 500) * 20;
let OTHER = FIRST_PORT - 2;
let ECHO = OTHER + 1;
const DEADLINE_MS = 90_000;
const fixture = (name: string) => path.join(import.meta.dirname, '../fixtures', name);

const both = () => [process.execPath, fixture('hash-server.mjs'), '-', `${OTHER}`, `${ECHO}`];

let network: TargetNetwork;
let server: Peer;
let harness: ExecHarness;

beforeAll(async () => {
  if (!can.root.yes) return;
  network = await startNetwork();
}, DEADLINE_MS);
beforeEach(async () => {
  if (!can.root.yes) return;
  OTHER += 2;
  ECHO += 2;
  server = await network.serve(network.target, both());
}, DEADLINE_MS);
afterAll(async () => {
  await network?.[Symbol.asyncDispose]();
});
afterEach(async () => {
  try {
    await harness?.leavesNothing();
  } finally {
    harness?.close();
    await server?.stop();
  }
}, DEADLINE_MS);

function start(command: readonly string[], incoming: Record<string, unknown> = {}): Run {
  harness = new ExecHarness();
  const config = path.join(harness.folder, 'mirrord.json');
  const settings = { incoming: { mode: 'mirror', ...incoming }, outgoing: false, dns: false };
  writeFileSync(config, JSON.stringify({ feature: { network: settings, fs: 'local' } }));
  return harness.start(['exec', '-t', `pid/${network.target.pid}`, '-f', config, '--', ...command]);
}

const accounts = (lines: readonly string[]) =>
  lines.filter((line) => line.startsWith('over ')).map((line) => line.split(' ').slice(1, 4).join(' '));
const heard = (run: Run) => accounts(run.stdout().split('\n').slice(0, -1));

/** Sends to a port of the target, and resolves with what it says of it. */
async function send(port: number, count: number): Promise<string[]> {
  const program = `${process.execPath} ${fixture('senders.mjs')} 10.99.0.1 ${port} ${count} 20000`;
  await network.run(network.beyond, program);
  const lines: string[] = [];
  while (lines.length < count) lines.push(await server.line('over'));
  return accounts(lines).sort();
}

async function hears(run: Run, truth: readonly string[]): Promise<void> {
  await until(
    () => `${heard(run).length} of ${truth.length} are heard here: ${run.stdout().slice(-400)}`,
    () => truth.every((one) => heard(run).includes(one)),
    30_000,
  );
}

async function stop(run: Run): Promise<string> {
  run.child.kill('SIGTERM');
  return (await run.outcome).stderr;
}

/** Processes of shared_port.py, and not who started them. */
const shared = (mode = '') =>
  harness.processes().filter(({ command }) => new RegExp(`^\\S*python\\S* \\S*shared_port\\.py ${mode}`).test(command));

/** Workers too: mirrord stays for as long as any of them lives. */
async function stopAll(run: Run): Promise<void> {
  for (const { pid } of shared()) process.kill(pid, 'SIGKILL');
  await run.outcome;
}

describe.skipIf(!can.root.yes)(`ports under a mirror (${can.root.why})`, () => {
  test.each([
    ['ports', () => ({ ports: [ECHO] })],
    ['ignore_ports', () => ({ ignore_ports: [OTHER] })],
  ])(
    '%s leaves the others to this machine',
    async (_, incoming) => {
      const run = start(both(), incoming());
      await run.complained(`mirroring port ${ECHO}`);
      await run.said('ready');
      await send(OTHER, 2);
      await hears(run, await send(ECHO, 2));
      expect(heard(run)).toHaveLength(2);
      expect(await stop(run)).not.toContain(`port ${OTHER}`);
    },
    DEADLINE_MS,
  );

  test(
    'listen_ports says where a socket is on this machine',
    async () => {
      const port = 40_000 + (process.pid % 20_000);
      const moved = start(['python3', fixture('hash_server.py'), `${ECHO}`], { listen_ports: [[ECHO, port]] });
      await moved.complained(`port ${ECHO} of the local process is ${port} on this machine`);
      await moved.complained(`mirroring port ${ECHO}`);
      await hears(moved, await send(ECHO, 2));
      await stop(moved);
    },
    DEADLINE_MS,
  );

  test(
    'ignore_localhost leaves a socket at localhost to this machine',
    async () => {
      const local = `import socket,sys
b=socket.create_server(('127.0.0.1',${OTHER}))
c=socket.create_server(('0.0.0.0',${ECHO})); print('ready',flush=True)
while True: c.accept()[0].close()`;
      const run = start(['python3', '-c', local], { ignore_localhost: true });
      await run.complained(`mirroring port ${ECHO}`);
      await run.said('ready');
      await send(OTHER, 1);
      await send(ECHO, 1);
      const said = await stop(run);
      expect(said).toContain(`port ${ECHO}: 1 connection`);
      expect(said).not.toContain(`port ${OTHER}`);
    },
    DEADLINE_MS,
  );
});

describe.skipIf(!can.root.yes)('several processes behind one port', () => {
  test(
    'by SO_REUSEPORT: every connection is heard by one of them',
    async () => {
      const run = start(['python3', fixture('shared_port.py'), 'reuseport', `${ECHO}`]);
      await until(
        () => `both workers are there: ${run.stdout()}`,
        () => run.stdout().match(/^worker /gm)?.length === 2,
      );
      await hears(run, await send(ECHO, 40));
      expect(heard(run)).toHaveLength(40);
      await stopAll(run);
    },
    DEADLINE_MS,
  );

  test(
    'by a parent that reloads: the next worker hears what comes next',
    async () => {
      const run = start(['python3', fixture('shared_port.py'), 'reload', `${ECHO}`]);
      await run.said('worker ');
      await hears(run, await send(ECHO, 5));
      for (const { pid } of shared('reload')) process.kill(pid, 'SIGHUP');
      await until(
        () => `another worker is there: ${run.stdout()}`,
        () => run.stdout().match(/^worker /gm)?.length === 2,
      );
      await hears(run, await send(ECHO, 5));
      const workers = new Set(run.stdout().match(/(?<=^over .*worker )\d+/gm));
      expect([heard(run).length, workers.size]).toEqual([10, 2]);
      await stopAll(run);
    },
    DEADLINE_MS,
  );

  test(
    'by workers that are forked before: every connection is heard by one of them, also when one was replaced',
    async () => {
      const run = start(['python3', fixture('shared_port.py'), 'prefork', `${ECHO}`]);
      const workers = () => [...run.stdout().matchAll(/^worker (\d+)$/gm)].map(([, pid]) => Number(pid));
      await until('both workers are there', () => workers().length === 2);
      await hears(run, await send(ECHO, 20));
      process.kill(workers()[0] as number, 'SIGKILL');
      await until('another worker is there', () => workers().length === 3);
      await hears(run, await send(ECHO, 20));
      expect(heard(run)).toHaveLength(40);
      await stopAll(run);
    },
    DEADLINE_MS,
  );

  test(
    'by node:cluster: every connection is heard by one of them',
    async () => {
      const program = `const cluster = require('node:cluster');
        if (cluster.isPrimary) { cluster.fork(); cluster.fork(); }
        else require('node:net').createServer((s) => { let n = 0; s.on('data', (d) => { n += d.length; })
          .on('end', () => { console.log('over', s.remotePort, n, 'x'); s.end(); }); })
          .listen(${ECHO}, () => console.log('worker', process.pid));`;
      const file = path.join(tmpdir(), `mirror-cluster-${process.pid}.cjs`);
      writeFileSync(file, program);
      onTestFinished(() => rmSync(file));
      const run = start([process.execPath, file]);
      await until(
        () => `both workers are there: ${run.stdout()}`,
        () => run.stdout().match(/^worker /gm)?.length === 2,
      );
      const truth = (await send(ECHO, 40)).map((line) => `${line.split(' ').slice(0, 2).join(' ')} x`);
      await hears(run, truth);
      await stop(run);
    },
    DEADLINE_MS,
  );
});
