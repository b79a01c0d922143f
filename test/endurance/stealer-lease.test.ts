// A stealer's hold on its target is a lease: one that stands still loses it, to the next agent or to its own. And a process of
// the target that has the name by which stealers meet is named to whom it keeps out.

import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { Peer } from '../fixtures/network.ts';
import type { Run } from '../integration/exec-harness.ts';
import { PROCESSES, processOf, StealStage, stealing } from './steal-stage.ts';

let stage: StealStage;
let squatter: Peer | null = null;

beforeAll(async () => {
  stage = await StealStage.open();
});
afterAll(() => stage?.close());
afterEach(async () => {
  await squatter?.stop();
  squatter = null;
  await stage.leave();
});

/** What takes deadlines of ours takes its time on a busy machine. */
const says = (run: Run, text: string) => expect.poll(() => run.stderr(), { timeout: 60_000 }).toContain(text);

test('a stealer that is stopped while it holds the target is ended, by its own agent, and the next one gets in', async () => {
  const alice = await stage.start('alice', stealing('alice'));
  process.kill(processOf(alice, PROCESSES.stealer), 'SIGSTOP');
  const bob = stage.begin('bob', stealing('bob'));
  await says(bob, 'stealing port 8080');
  await expect.poll(() => stage.as('bob'), { timeout: 60_000 }).toBe('local bob\n');
  expect(await stage.as('carol')).toContain('hello');
  await expect.poll(() => stage.as('alice'), { timeout: 60_000 }).toBe('local alice\n');
}, 180_000);

test('stopped together with its agent, it loses the target to the next one, which says so', async () => {
  const alice = await stage.start('alice', stealing('alice'));
  const agent = processOf(alice, PROCESSES.agent);
  const stopped = processOf(alice, PROCESSES.stealer);
  for (const pid of [agent, stopped]) process.kill(pid, 'SIGSTOP');
  const bob = stage.begin('bob', stealing('bob'));
  await says(bob, `process ${stopped} (node), the stealer that held the target, has not answered for 7 s`);
  await says(bob, '(it is stopped): it was ended, and its sessions come here');
  await expect.poll(() => stage.as('bob'), { timeout: 60_000 }).toBe('local bob\n');
  expect(await stage.as('carol')).toContain('hello');
  process.kill(agent, 'SIGCONT');
  alice.child.kill('SIGTERM');
  await alice.outcome;
}, 180_000);

test('with nobody else there its own agent notices, and starts it anew: the target answers after a few seconds', async () => {
  const alice = await stage.start('alice', stealing('alice'));
  const stopped = processOf(alice, PROCESSES.stealer);
  const began = performance.now();
  process.kill(stopped, 'SIGSTOP');
  await expect.poll(() => stage.ask('/', '--max-time', '1').catch(String), { timeout: 60_000 }).toContain('hello');
  // 4 s of questions, and what a busy machine takes on top.
  expect(performance.now() - began).toBeLessThan(15_000);
  await says(alice, 'the agent lost its stealer');
  await says(alice, "the agent's stealer is back");
  expect(processOf(alice, PROCESSES.stealer)).not.toBe(stopped);
  expect([await stage.as('alice'), await stage.as('carol')]).toEqual([
    'local alice\n',
    expect.stringContaining('hello'),
  ]);
}, 180_000);

/** Has the name, and no more: it does not listen, or takes nobody in. */
const SQUATTER = `
import signal, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind('\\0mirrord-steal')
if sys.argv[1] == 'listens':
    s.listen(0)
    full = [socket.socket(socket.AF_UNIX) for _ in range(2)]
    for one in full:
        one.setblocking(False)
        one.connect_ex('\\0mirrord-steal')
print('ready', flush=True)
signal.pause()
`;

test.each(['binds', 'listens'])(
  'a process of the target that only %s is named, with what helps, and stealing goes when it has gone',
  async (act) => {
    const { network } = stage;
    squatter = await network.serve(network.target, ['python3', '-c', SQUATTER, act]);
    const alice = stage.begin('alice', stealing('alice'));
    await says(alice, 'port 8080');
    await says(alice, 'the abstract unix socket mirrord-steal) is taken: process ');
    await says(alice, '(python3) has it and takes nobody in');
    await says(alice, 'nothing can be stolen from this target until that process ends or closes the socket');
    expect(await stage.as('alice')).toContain('hello');
  },
  120_000,
);
