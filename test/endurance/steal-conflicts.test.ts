// Two steal what only one can have, and one mirrors, all at the same time, each with an agent of their own.

import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { Run } from '../integration/exec-harness.ts';
import { StealStage, stealing } from './steal-stage.ts';

let stage: StealStage;

beforeAll(async () => {
  stage = await StealStage.open();
});
afterAll(() => stage?.close());
afterEach(() => stage.leave());

const says = (run: Run, text: RegExp) => expect.poll(() => run.stderr(), { timeout: 60_000 }).toMatch(text);
const HELD = /session \w+ steals requests with header "\(\?i\)\^x-user: \(alice\|bob\)\$" of port 8080 since 20\d\d-/;
const copiesOf = (run: Run) => [...run.stdout().matchAll(/got \/(\d+)/g)].map(([, nth]) => Number(nth));

/** Each request has one answer, and its one copy. */
async function ask(carol: Run, from: number, answers: ReadonlyArray<readonly [string, string]>): Promise<void> {
  for (const [index, [user, answer]] of answers.entries()) {
    expect(await stage.as(user, `/${from + index}`)).toContain(answer);
  }
  const numbers = answers.map((_, index) => from + index);
  await expect.poll(() => copiesOf(carol).filter((nth) => nth >= from), { timeout: 20_000 }).toEqual(numbers);
}

const both = (onConcurrentSteal: string) => stealing('(alice|bob)', { on_concurrent_steal: onConcurrentSteal });

test('two steal and one mirrors: each request has one answer, and its one copy', async () => {
  await stage.start('alice', stealing('alice'));
  await stage.start('bob', stealing('bob'));
  const carol = await stage.start('carol', { mode: 'mirror' });
  const turn = [['alice', 'local alice'] as const, ['bob', 'local bob'] as const, ['dave', 'hello'] as const];
  await ask(carol, 0, [...turn, ...turn, ...turn, ...turn]);
}, 180_000);

test('abort: the second is told who holds what, since when and by which filter, and its listen fails', async () => {
  await stage.start('alice', both('abort'));
  const carol = await stage.start('carol', { mode: 'mirror' });
  const bob = stage.begin('bob', both('abort'));
  const { code, stderr } = await bob.outcome;
  expect(code).toBe(1);
  expect(stderr).toMatch(HELD);
  expect(stderr).toContain('EADDRINUSE');
  await ask(carol, 10, [
    ['alice', 'local alice'],
    ['bob', 'local alice'],
    ['dave', 'hello'],
  ]);
}, 180_000);

test('continue: the second waits, told for whom, and has its turn when the first has gone', async () => {
  const alice = await stage.start('alice', both('abort'));
  const carol = await stage.start('carol', { mode: 'mirror' });
  const bob = await stage.start('bob', both('continue'));
  await says(bob, /it has no effect while session/);
  await says(bob, HELD);
  await ask(carol, 20, [['bob', 'local alice']]);
  alice.child.kill('SIGTERM');
  await alice.outcome;
  await ask(carol, 30, [
    ['alice', 'local bob'],
    ['dave', 'hello'],
  ]);
}, 180_000);

test('override: the second has it at once, and the first is told by whom', async () => {
  const alice = await stage.start('alice', both('abort'));
  const carol = await stage.start('carol', { mode: 'mirror' });
  const bob = await stage.start('bob', both('override'));
  await says(bob, /taken over: session/);
  await says(bob, HELD);
  await says(alice, /port 8080 was taken over: session/);
  await ask(carol, 40, [
    ['alice', 'local bob'],
    ['bob', 'local bob'],
    ['dave', 'hello'],
  ]);
  expect(alice.child.exitCode).toBeNull();
}, 180_000);
