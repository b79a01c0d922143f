// Two sessions steal and one mirrors, each with an agent of its own, and one part after the other of one of them is killed, by a seed
// that is told: whatever it is, nothing of the target's fails but what was on its way, and after a second everything answers.

import { randomInt } from 'node:crypto';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { Run } from '../integration/exec-harness.ts';
import { expectWholeAgain, PORT, PROCESSES, processesOf, StealStage, stealing, WHOLE_AGAIN_MS } from './steal-stage.ts';

const WORKERS = 4;
const FAULTS = 8;
/** Each worker had one request on its way, and may have met the dying listener with the next. */
const MAY_FAIL = 2 * WORKERS;
/** Began after that, no more fault does. */
const LAST_FAULT_MS = 35_000;
const USERS = { alice: stealing('alice'), bob: stealing('bob'), carol: { mode: 'mirror' } } as const;
const PARTS = ['stealer', 'nats', 'agent', 'client'] as const;

let stage: StealStage;

beforeAll(async () => {
  stage = await StealStage.open();
});
afterAll(() => stage?.close());
afterEach(() => stage.leave());

/** Numbers below 2^32, always the same after one seed (xorshift). */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

test('parts of any of three sessions are killed at random: the target answers, and who is left gets what is his', async () => {
  const seed = randomInt(1, 2 ** 31);
  const pick = numbers(seed);
  const runs = new Map<string, Run>();
  const sees = (user: string) =>
    user === 'carol'
      ? expect.poll(() => runs.get(user)?.stderr(), { timeout: 60_000 }).toContain(`mirroring port ${PORT}`)
      : expect.poll(() => stage.as(user), { timeout: 60_000 }).toBe(`local ${user}\n`);
  const load = stage.load(WORKERS);
  const [kills, told]: [number[], string[]] = [[], [`seed ${seed}`]];
  const endMs = performance.now() + LAST_FAULT_MS;
  while (kills.length < FAULTS && performance.now() < endMs) {
    for (const [user, incoming] of Object.entries(USERS)) {
      if (!runs.has(user)) runs.set(user, await stage.start(user, incoming));
      await sees(user);
    }
    const user = Object.keys(USERS)[pick(3)] as keyof typeof USERS;
    const run = runs.get(user) as Run;
    const part = PARTS[pick(PARTS.length)] as (typeof PARTS)[number];
    const locals = processesOf(run, PROCESSES.local);
    // One that mirrors has no stealer.
    const [victim] = processesOf(run, PROCESSES[part]);
    if (victim === undefined) continue;
    await load.goesOn(pick(100));
    told.push(`${part} of ${user}`);
    kills.push(Date.now());
    process.kill(victim, 'SIGKILL');
    await load.goesBeyond((kills.at(-1) as number) + WHOLE_AGAIN_MS);
    if (part !== 'agent' && part !== 'client') continue;
    if (part === 'client') for (const pid of locals) process.kill(pid, 'SIGKILL');
    else run.child.kill('SIGTERM');
    await run.outcome;
    runs.delete(user);
  }
  for (const user of runs.keys()) await sees(user);
  expectWholeAgain(await load.end(), kills, MAY_FAIL, told.join(', '));
}, 180_000);
