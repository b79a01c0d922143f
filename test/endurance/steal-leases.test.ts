// A place on a stolen port is a lease of 5 s: who stands still loses it, and what he would have answered the target answers.

import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { LEASE_MS } from '../../proto/liveness.ts';
import { PROCESSES, processOf, StealStage, stealing } from './steal-stage.ts';

let stage: StealStage;
const stopped: number[] = [];

beforeAll(async () => {
  stage = await StealStage.open();
});
afterAll(() => stage?.close());
afterEach(async () => {
  goOn();
  await stage.leave();
});

function stop(...pids: number[]): void {
  stopped.push(...pids);
  for (const pid of pids) process.kill(pid, 'SIGSTOP');
}

function goOn(): void {
  for (const pid of stopped.splice(0)) {
    try {
      process.kill(pid, 'SIGCONT');
    } catch (error) {
      // Ended as one that stood still.
      expect(error).toMatchObject({ code: 'ESRCH' });
    }
  }
}

/** What a busy machine takes on top. */
const BUSY_MS = 10_000;

test.each([
  ['its stealer and its agent', ['stealer', 'agent']],
  ['its agent', ['agent']],
] as const)(
  'a joined session of which %s stand still: its request in flight ends, and the next goes to the target, when its lease is over',
  async (_, which) => {
    await stage.start('alice', stealing('alice'));
    const bob = await stage.start('bob', stealing('bob'));
    expect(await stage.as('bob')).toBe('local bob\n');
    const began = performance.now();
    stop(...which.map((name) => processOf(bob, PROCESSES[name])));
    const held = stage.ask('/', '-H', 'x-user: bob', '--max-time', '60', '-w', ' %{http_code}');
    expect(await held).toMatch(/ended\n 502$|hello.* 200$/s);
    const tookMs = performance.now() - began;
    expect(await stage.as('bob')).toContain('hello');
    expect(await stage.as('alice')).toBe('local alice\n');
    expect(tookMs).toBeLessThan(LEASE_MS + BUSY_MS);
    goOn();
    await expect.poll(() => stage.as('bob'), { timeout: 60_000 }).toBe('local bob\n');
  },
  180_000,
);

test('the stealer that holds the target stands still with its agent, and a joined one takes the target by itself', async () => {
  const alice = await stage.start('alice', stealing('alice'));
  await stage.start('bob', stealing('bob'));
  const began = performance.now();
  stop(processOf(alice, PROCESSES.stealer), processOf(alice, PROCESSES.agent));
  await expect
    .poll(() => stage.ask('/', '--max-time', '1', '-H', 'x-user: bob').catch(String), { timeout: 60_000 })
    .toBe('local bob\n');
  const tookMs = performance.now() - began;
  expect(await stage.as('alice')).toContain('hello');
  expect(tookMs).toBeLessThan(2 * LEASE_MS + BUSY_MS);
}, 180_000);

/** Since when a session with this filter is there, as it is said to others. */
const sinceOf = (text: string) => /since (20[0-9T:.-]+Z)/.exec(text)?.[1];

test.each(['SIGKILL', 'SIGTERM'] as const)(
  'the stealer of a session gets a %s: the next one of its agent finds the lease, and the session has its place before who waited for it',
  async (signal) => {
    const alice = await stage.start('alice', stealing('alice'));
    await stage.start('bob', stealing('bob'));
    const carol = stage.begin('carol', stealing('alice', { on_concurrent_steal: 'continue' }));
    await carol.complained('it has no effect while session');
    process.kill(processOf(alice, PROCESSES.stealer), signal);
    await alice.complained("the agent's stealer is back");
    await expect.poll(() => stage.as('alice'), { timeout: 60_000 }).toBe('local alice\n');
    const dave = stage.begin('dave', stealing('alice'));
    await dave.complained('cannot be stolen');
    expect(sinceOf(dave.stderr())).toBe(sinceOf(carol.stderr()));
  },
  180_000,
);
