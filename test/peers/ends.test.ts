// A thousand connections at once; and what becomes of connections when the way they go is cut, at the agent or at the client.

import { copyFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { can, canRun } from '../can.ts';
import { BEYOND, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { ExecHarness, until } from '../integration/exec-harness.ts';
import { source } from './stage.ts';

const machine = [can.root, can.nats, canRun('python3')].find(({ yes }) => !yes) ?? can.root;
/** An address whose network card nobody has: who dials it waits. */
const NOBODY = '10.99.0.50';
const CARD = '02:00:00:00:00:99';
/** Nothing that was open ends as if all had come. */
const BECAME = [
  'blocked',
  'connect ENETDOWN',
  'datagrams ECONNREFUSED',
  'dialled ENETDOWN',
  'later ENETDOWN',
  'reading ECONNRESET',
  'ready',
  'recv ECONNRESET',
  'waiting ECONNRESET',
];
/** Sooner than an agent that says nothing is given up. */
const AT_ONCE_MS = 10_000;

describe.skipIf(!machine.yes)(`connections all at once, and their ends ${machine.why}`, () => {
  let network: TargetNetwork;
  let harness: ExecHarness;

  beforeEach(async () => {
    network = await startNetwork();
    await network.run(network.target, `ip neigh add ${NOBODY} lladdr ${CARD} dev toward nud permanent`);
    await network.servePeer(network.beyond, BEYOND);
    harness = new ExecHarness();
  });

  afterEach(async () => {
    harness?.close();
    await network?.[Symbol.asyncDispose]();
  });

  const start = (script: string, ...words: string[]) =>
    harness.start(['exec', '-t', `pid/${network.target.pid}`, '--', 'sh', '-c', script, 'sh', ...words]);
  const here = (name: string) => {
    const copy = path.join(harness.folder, name);
    copyFileSync(source(name), copy);
    return copy;
  };

  test('1,000 are open at once, each with its own bytes', async () => {
    const run = start('exec "$@"', process.execPath, here('many.mjs'), BEYOND, '1000');
    expect(await run.outcome).toMatchObject({ code: 0, stdout: 'open 1000\nexact 1000\n' });
    await harness.leavesNothing();
  });

  test.each([
    // What stays here still works.
    { who: 'the agent', name: 'dist/agent.js', own: 'own closed' },
    // Nobody is left who knows what stays here.
    { who: 'the client', name: 'bin/mirrord', own: 'own ENETDOWN' },
  ])('when $who is killed, each fails at once, and later ones as well', async ({ name, own }) => {
    const script = '"$1" "$2" "$4" "$5" & /usr/bin/python3 "$3" "$4" "$5"; wait';
    const run = start(script, process.execPath, here('ends.mjs'), here('blocked.py'), BEYOND, NOBODY);
    await until('all are open', () => /ready\n/.test(run.stdout()) && /blocked\n/.test(run.stdout()), 60_000);
    const killedMs = performance.now();
    process.kill(harness.process(name), 'SIGKILL');
    const { stdout } = await run.outcome;
    expect(performance.now() - killedMs).toBeLessThan(AT_ONCE_MS);
    expect(stdout.trim().split('\n').sort()).toEqual([...BECAME, own].sort());
    await harness.leavesNothing();
  });
});
