// Two sessions steal, by header and by path, and one mirrors, from connections that are kept and bring bodies of every kind, while
// parts of those who steal are killed: each request has the answer of whom it was for, or of the target while that one is not there,
// and who mirrors has each of them once, or is told.

import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { Run } from '../integration/exec-harness.ts';
import { PROCESSES, processesOf, processOf, StealStage, stealing, WHOLE_AGAIN_MS } from './steal-stage.ts';

const USERS = {
  alice: stealing('alice'),
  path: { mode: 'steal', http_filter: { path_filter: '^/stolen' } },
  carol: { mode: 'mirror' },
} as const;
type User = keyof typeof USERS;
/** What it takes to be whole again is measured elsewhere, by stealer-random-faults.test.ts. */
const MAY_FAIL_MS = 3 * WHOLE_AGAIN_MS;
const FAULTS = [
  ['alice', 'stealer'],
  ['path', 'client'],
  ['path', 'stealer'],
  ['alice', 'client'],
] as const;

let stage: StealStage;

beforeAll(async () => {
  stage = await StealStage.open();
});
afterAll(() => stage?.close());
afterEach(() => stage.leave());

test('whatever is killed of those who steal, answers are those of whom they should be, and who mirrors has each request once, or is told', async () => {
  const runs = new Map<User, Run>();
  const start = async (user: User) => {
    runs.set(user, await stage.start(user, USERS[user]));
  };
  const serves = async (user: User, at: string) =>
    expect.poll(() => stage.as(user, at), { timeout: 60_000 }).toBe(`local ${user}\n`);
  for (const user of Object.keys(USERS) as User[]) await start(user);
  const load = stage.mixedLoad(4);
  await load.goesOn(500);
  const kills: number[] = [];
  for (const [user, part] of FAULTS) {
    const run = runs.get(user) as Run;
    const locals = processesOf(run, PROCESSES.local);
    kills.push(Date.now());
    process.kill(processOf(run, PROCESSES[part]), 'SIGKILL');
    if (part === 'client') {
      for (const pid of locals) process.kill(pid, 'SIGKILL');
      await run.outcome;
      await start(user);
    }
    await serves(user, user === 'path' ? '/stolen/asked' : '/asked');
    await load.goesOn(200);
  }
  const requests = await load.endRequests();
  for (const [path, user, bytes, began, ended, answer] of requests) {
    const wants = [...(user === 'alice' ? ['alice'] : []), ...(path.startsWith('/stolen') ? ['path'] : [])];
    const target = bytes > 0 ? `200 took ${bytes}` : '200 hello';
    const mayFail = kills.some((at) => began < at + MAY_FAIL_MS && ended >= at);
    const told = JSON.stringify({ path, user, bytes, began, ended, answer, kills });
    const answers = [target, ...wants.map((one) => `200 local ${one}`)];
    if (!mayFail) expect(answers, told).toContain(answer);
    else if (answer !== null && !answer.startsWith('502 ')) expect(answers, told).toContain(answer);
  }
  const carol = runs.get('carol') as Run;
  const heard = () => carol.stdout().match(/^got \S+$/gm) ?? [];
  const answered = requests.filter(([, , , , , answer]) => answer?.startsWith('200 ')).map(([path]) => `got ${path}`);
  const untold = () => (carol.stderr().includes('loses some of what arrives') ? [] : missing(answered, heard()));
  await expect.poll(untold, { timeout: 30_000 }).toEqual([]);
  const loaded = heard().filter((line) => /^got \/(?:other|stolen)\/\d+$/.test(line));
  expect(loaded.length).toBe(new Set(loaded).size);
}, 180_000);

const missing = (all: readonly string[], some: readonly string[]): string[] => {
  const known = new Set(some);
  return all.filter((one) => !known.has(one)).slice(0, 10);
};
