// Many connections in a row beside one that is not read: nothing is left of any of them anywhere, and no other waits.

import { copyFileSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { BEYOND, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { ExecHarness, until } from '../integration/exec-harness.ts';
import { source } from '../peers/stage.ts';

const machine = [can.root, can.nats].find(({ yes }) => !yes) ?? can.root;
const CONNECTIONS = 6_000;
const PER_SECOND = 200;
const STOP_SECONDS = 60;
/** Of what a runtime opens for itself now and then; a leak would be thousands. */
const SLACK = 4;
/** Of garbage that is not collected yet: 20 KiB a connection. The supervisor has none, and keeps what it freed. */
const GARBAGE_BYTES = 128 * 1024 * 1024;
const SUPERVISOR_BYTES = 16 * 1024 * 1024;
/** /proc/net/tcp: TIME_WAIT, which has neither process nor buffer. */
const TIME_WAIT = '06';

interface Held {
  descriptors: number;
  threads: number;
  rssBytes: number;
}

describe.skipIf(!machine.yes)(`connections that come and go ${machine.why}`, () => {
  let network: TargetNetwork;
  let harness: ExecHarness;

  beforeEach(async () => {
    network = await startNetwork();
    await network.servePeer(network.beyond, BEYOND);
    harness = new ExecHarness();
  });

  afterEach(async () => {
    harness?.close();
    await network?.[Symbol.asyncDispose]();
  });

  const held = () => new Map(harness.processes().map(({ pid, command }) => [`${pid} ${command}`, heldBy(pid)]));

  test('leave nothing, while a reader stops for a minute and another connection goes on', async () => {
    const program = path.join(harness.folder, 'load.mjs');
    copyFileSync(source('load.mjs'), program);
    const words = [BEYOND, CONNECTIONS, PER_SECOND, STOP_SECONDS].map(String);
    // In a network namespace of its own, so that every socket there is of this run.
    const run = harness.start(['exec', '-t', `pid/${network.target.pid}`, '--', process.execPath, program, ...words], {
      under: ['unshare', '--net', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh'],
    });
    await until('the first have come and gone', () => run.stdout().includes('warm\n'), 60_000);
    const ours = () => socketsOf(harness.process('dist/agent.js'));
    const beyond = () => socketsOf(network.beyond.pid);
    const before = { held: held(), ours: ours(), beyond: beyond() };
    run.child.stdin?.write('\n');
    await until('all have come and gone', () => run.stdout().includes('churned\n'), 150_000);
    await until(
      () => `sockets are gone: ${ours()} of ${before.ours} here, ${beyond()} of ${before.beyond} beyond`,
      () => ours() <= before.ours + SLACK && beyond() <= before.beyond + SLACK,
      30_000,
    );
    await until(
      () => `nothing more is held than before: ${JSON.stringify([[...before.held], [...held()]])}`,
      () => grown(before.held, held()).length === 0,
      30_000,
    );
    run.child.stdin?.write('\n');
    await until('the reader has gone on', () => run.stdout().includes('}\n'), 100_000);
    const result = JSON.parse(run.stdout().split('\n')[2] ?? '');
    expect(result).toMatchObject({ faults: [], late: 'went on', flow: '' });
    // It has gone on beside them: more than once a second, however busy the machine.
    expect(result.roundsBeside).toBeGreaterThan(result.seconds);
    run.child.stdin?.end('\n');
    expect(await run.outcome).toMatchObject({ code: 0 });
    await harness.leavesNothing();
  }, 400_000);
});

/** What somebody holds now and did not before. */
function grown(before: ReadonlyMap<string, Held>, now: ReadonlyMap<string, Held>): string[] {
  return [...now].flatMap(([name, { descriptors, threads, rssBytes }]) => {
    const then = before.get(name);
    if (then === undefined) return [name];
    const isSupervisor = name.includes('mirrord-supervisor');
    const isMore =
      descriptors > then.descriptors + SLACK ||
      threads > then.threads + SLACK ||
      rssBytes > then.rssBytes + (isSupervisor ? SUPERVISOR_BYTES : GARBAGE_BYTES);
    return isMore ? [name] : [];
  });
}

function heldBy(pid: number): Held {
  const pages = Number(readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ')[1]);
  return {
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    threads: readdirSync(`/proc/${pid}/task`).length,
    rssBytes: pages * 4096,
  };
}

/** Of the network namespace of a process. */
function socketsOf(pid: number): number {
  const of = (name: string) => readFileSync(`/proc/${pid}/net/${name}`, 'latin1').trim().split('\n').slice(1);
  const streams = [...of('tcp'), ...of('tcp6')].filter((line) => line.trim().split(/\s+/)[3] !== TIME_WAIT);
  return streams.length + of('udp').length + of('udp6').length;
}
