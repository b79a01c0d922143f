// Datagrams that arrive at a target, the whole way: to real programs, with the true addresses of their peers, whole also when
// they came in fragments, and with answers that nobody gets.

import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { type Peer, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { ExecHarness, type Run, until } from '../integration/exec-harness.ts';
import { lossesIn } from './mirror-stage.ts';

const PORT = 9053;
const DEADLINE_MS = 60_000;
const fixture = (name: string) => path.join(import.meta.dirname, '../fixtures', name);

let network: TargetNetwork;
let server: Peer;
let other: Peer;
let harness: ExecHarness;

beforeAll(async () => {
  if (!can.root.yes) return;
  network = await startNetwork();
  server = await network.serve(network.target, ['python3', fixture('udp_heard.py'), `${PORT}`]);
  other = await network.serve(network.beyond, ['python3', fixture('udp_heard.py'), '7053']);
}, DEADLINE_MS);
afterAll(async () => {
  await network?.[Symbol.asyncDispose]();
});
afterEach(async () => {
  await harness?.leavesNothing();
  harness?.close();
}, DEADLINE_MS);

function start(command: readonly string[], incoming: unknown = 'mirror', outgoing: unknown = false): Run {
  harness = new ExecHarness();
  const config = path.join(harness.folder, 'mirrord.json');
  const feature = { network: { incoming, outgoing, dns: false }, fs: 'local' };
  writeFileSync(config, JSON.stringify({ feature }));
  return harness.start(['exec', '-t', `pid/${network.target.pid}`, '-f', config, '--', ...command]);
}

const heard = (run: Run) =>
  run
    .stdout()
    .split('\n')
    .filter((line) => line.startsWith('heard '));

/** Asks the target, and resolves with what it heard. */
async function ask(host: string, ...sizes: number[]): Promise<{ truth: string[]; said: string }> {
  const said = await network.run(network.beyond, `python3 ${fixture('udp_ask.py')} ${host} ${PORT} ${sizes.join(' ')}`);
  const truth: string[] = [];
  while (truth.length < sizes.length) truth.push(await server.line('heard'));
  return { truth, said };
}

async function stop(run: Run): Promise<string> {
  run.child.kill('SIGTERM');
  return (await run.outcome).stderr;
}

describe.skipIf(!can.root.yes)(`datagrams under a mirror (${can.root.why})`, () => {
  test.each([
    ['python, which waits for each', ['python3', fixture('udp_heard.py'), `${PORT}`]],
    ['node, which is told of them', [process.execPath, fixture('udp-heard.mjs'), `${PORT}`]],
  ])(
    'reach %s, from their true peers, whole, and its answers reach nobody',
    async (_, command) => {
      const run = start(command);
      await run.complained(`mirroring port ${PORT}/udp`);
      await run.said(`ready ${PORT}`);
      const v4 = await ask('10.99.0.1', 1, 100, 0, 1_400, 60_000);
      const v6 = await ask('fd99::1', 5);
      expect(v4.said).toContain('answers 5');
      await until(
        () => `six are heard here: ${heard(run)}`,
        () => heard(run).length === 6,
      );
      expect(heard(run)).toEqual([...v4.truth, ...v6.truth]);
      const said = await stop(run);
      expect(said).toContain(`port ${PORT}/udp: 6 datagrams of 2 peers, 62 kB mirrored`);
      expect(lossesIn(said)).toEqual([]);
    },
    DEADLINE_MS,
  );

  test(
    'a socket goes on asking others, and stands for another port where that is wanted',
    async () => {
      const incoming = { mode: 'mirror', port_mapping: [[53, PORT]] };
      const run = start(['python3', fixture('udp_heard.py'), '53', '10.99.0.2:7053'], incoming, true);
      await run.said('ready 53');
      await run.said('answered answer to 10 bytes from 10.99.0.2');
      expect(await other.line('heard 10 ')).toContain('from 10.99.0.1');
      const { truth } = await ask('10.99.0.1', 9);
      await until('it is heard here', () => heard(run).length === 1);
      expect(heard(run)).toEqual(truth);
      await stop(run);
    },
    DEADLINE_MS,
  );

  test(
    'ports that are left out stay this machine’s',
    async () => {
      const run = start(['python3', fixture('udp_heard.py'), `${PORT}`], { mode: 'mirror', ignore_ports: [PORT] });
      await run.said(`ready ${PORT}`);
      await ask('10.99.0.1', 3);
      const said = await stop(run);
      expect(said).not.toContain('mirroring port');
      expect(heard(run)).toEqual([]);
    },
    DEADLINE_MS,
  );
});
