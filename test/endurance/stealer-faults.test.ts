// Parts of a filtered steal are killed, ten times each and at any moment, while the target's peers ask without a pause: nothing of
// the target's fails but what was on its way through the killed process, and after a second everything answers.

import { randomInt } from 'node:crypto';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { Run } from '../integration/exec-harness.ts';
import {
  expectWholeAgain,
  type Load,
  PROCESSES,
  processesOf,
  processOf,
  StealStage,
  stealing,
  WHOLE_AGAIN_MS,
} from './steal-stage.ts';

const WORKERS = 8;
const KILLS = 10;
/** Of what stands in no request's way. */
const KILLS_OF_LOCALS = 3;
/** Each worker had one request on its way, and may have met the dying listener with the next. */
const MAY_FAIL = 2 * WORKERS;

let stage: StealStage;

beforeAll(async () => {
  stage = await StealStage.open();
});
afterAll(() => stage?.close());
afterEach(() => stage.leave());

const isStolen = () => expect.poll(() => stage.as('alice'), { timeout: 60_000 }).toBe('local alice\n');

/** Killed at a moment that nobody chose, and looked at for as long as the target may take, and a little longer. */
async function killUnder(load: Load, pid: number): Promise<number> {
  await load.goesOn(randomInt(300));
  const killed = Date.now();
  process.kill(pid, 'SIGKILL');
  await load.goesBeyond(killed + WHOLE_AGAIN_MS);
  return killed;
}

test.each([
  ['the stealer', PROCESSES.stealer, MAY_FAIL],
  ['nats-server', PROCESSES.nats, 0],
] as const)(
  '%s is killed again and again, and started anew: what fails was on its way through it',
  async (who, pattern, mayFail) => {
    const run = await stage.start('alice', stealing('alice'));
    const load = stage.load(WORKERS);
    const kills: number[] = [];
    while (kills.length < KILLS) {
      await isStolen();
      await expect.poll(() => processesOf(run, pattern).length, { timeout: 60_000 }).toBe(1);
      kills.push(await killUnder(load, processOf(run, pattern)));
    }
    await isStolen();
    expectWholeAgain(await load.end(), kills, mayFail);
    expect(run.child.exitCode, who).toBeNull();
  },
  600_000,
);

test.each([
  ['the agent', PROCESSES.agent, MAY_FAIL, KILLS],
  ['the client', PROCESSES.client, MAY_FAIL, KILLS],
  ['the local process', PROCESSES.local, 0, KILLS_OF_LOCALS],
] as const)(
  '%s is killed, in one session after the other: what fails was on its way through it',
  async (who, pattern, mayFail, count) => {
    const load = stage.load(WORKERS);
    const kills: number[] = [];
    while (kills.length < count) {
      const run = await stage.start('alice', stealing('alice'));
      await isStolen();
      const locals = processesOf(run, PROCESSES.local);
      kills.push(await killUnder(load, processOf(run, pattern)));
      await ended(run, who, locals);
    }
    expectWholeAgain(await load.end(), kills, mayFail);
  },
  600_000,
);

/** A local process outlives its client, as it would outlive its terminal. */
async function ended(run: Run, who: string, locals: readonly number[]): Promise<void> {
  if (who === 'the client') for (const pid of locals) process.kill(pid, 'SIGKILL');
  else run.child.kill('SIGTERM');
  await run.outcome;
}
