import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { type RunningTarget, startTarget } from '../fixtures/target.ts';
import { ExecHarness, until } from './exec-harness.ts';

/**
 * At each SIGUSR2 reads a file of the target by a fresh open and another through a descriptor of its start; ends at SIGHUP.
 * Told by signals, because a pipe of the test's would not outlive the client.
 */
const PROGRAM = `
const fs = require('node:fs');
const said = (act) => { try { return act(); } catch (error) { return error.code; } };
const fd = fs.openSync('/srv/shop/big', 'r');
const part = Buffer.alloc(4096);
let turn = 0;
process.on('SIGUSR2', () => {
  turn += 1;
  const open = said(() => fs.readFileSync('/srv/shop/prices', 'utf8').trim());
  const read = said(() => String(fs.readSync(fd, part, 0, 4096, turn * (1 << 20))));
  console.log('turn ' + turn + ': ' + open + ', ' + read + '.');
});
process.on('SIGHUP', () => { console.log('done'); process.exit(); });
setInterval(() => {}, 1000);
console.log('pid ' + process.pid + ' ready');
`;

describe.skipIf(!can.root.yes)(`when a part of a run is killed (${can.root.why})`, () => {
  let target: RunningTarget;
  let harness: ExecHarness;

  beforeAll(async () => {
    target = await startTarget({
      files: { '/srv/shop/prices': 'tea 3.2\n', '/srv/shop/big': Buffer.alloc(64 << 20, 1) },
    });
  });

  beforeEach(() => {
    harness = new ExecHarness();
    writeFileSync(path.join(harness.folder, 'program.cjs'), PROGRAM);
  });

  afterEach(async () => {
    try {
      await harness.leavesNothing();
    } finally {
      harness.close();
    }
  });

  afterAll(async () => {
    await target.stop();
  });

  async function start() {
    const words = ['exec', '-t', `pid/${target.pid}`, '--progress', 'off', '--', 'node', 'program.cjs'];
    const run = harness.start(words);
    await run.said('ready');
    const pid = Number(/pid (\d+)/.exec(run.stdout())?.[1]);
    let turn = 0;
    const ask = async () => {
      turn += 1;
      process.kill(pid, 'SIGUSR2');
      const answer = new RegExp(`turn ${turn}: (.*)\\.\n`);
      await until(`turn ${turn} is answered`, () => answer.test(run.stdout()));
      return answer.exec(run.stdout())?.[1];
    };
    /** What was on its way when the part was killed may still arrive, whole. */
    const askUntil = async (expected: RegExp) => {
      const endMs = performance.now() + 10_000;
      for (;;) {
        const answer = await ask();
        if (answer !== undefined && expected.test(answer)) return;
        expect(answer).toMatch(/^(tea 3\.2|E[A-Z]+), (4096|E[A-Z]+)$/);
        expect(performance.now()).toBeLessThan(endMs);
      }
    };
    expect(await ask()).toBe('tea 3.2, 4096');
    return { run, ask, askUntil, end: () => process.kill(pid, 'SIGHUP') };
  }

  test('killed agent: files of the target answer EIO, the local process lives', async () => {
    const { run, askUntil, end } = await start();
    // Not the shell around it, which only removes its folder.
    const agent = harness.processes().find(({ command }) => /^\S*node \S*dist\/agent\.js/.test(command));
    await killed(agent?.pid ?? 0);
    await askUntil(/^EIO, EIO$/);
    end();
    const { code, stderr, stdout } = await run.outcome;
    expect(code).toBe(0);
    expect(stdout).toContain('done');
    // With --progress off, too: silence would look like the target's own fault.
    expect(stderr).toMatch(/^mirrord: the session is lost: .*EIO.*\n$/);
  });

  test('killed client: files of the target answer EIO, the local process lives to its end', async () => {
    const { run, askUntil, end } = await start();
    await killed(run.pid);
    await askUntil(/^EIO, EIO$/);
    end();
    expect((await run.outcome).stdout).toContain('done');
  });

  // The supervisor is two processes: one that answers, and one that watches it.
  test.each(['first', 'last'] as const)(
    'killed supervisor (%s process): the local process gets errors, not a hang, and the client ends',
    async (which) => {
      const { run, askUntil, end } = await start();
      const exited = new Promise((resolve) => run.child.once('exit', (code, signal) => resolve({ code, signal })));
      const supervisors = harness.processes().filter(({ command }) => command.includes('mirrord-supervisor'));
      const pids = supervisors.map(({ pid }) => pid).sort((a, b) => a - b);
      await killed((which === 'first' ? pids[0] : pids.at(-1)) ?? 0);
      await askUntil(/^E[A-Z]+, E[A-Z]+$/);
      end();
      expect(await exited).not.toEqual({ code: null, signal: null });
    },
  );

  test('killed supervisor beside a client that is stopped: errors all the same, and the client ends', async () => {
    const { run, askUntil, end } = await start();
    const exited = new Promise((resolve) => run.child.once('exit', (code, signal) => resolve({ code, signal })));
    const supervisors = harness.processes().filter(({ command }) => command.includes('mirrord-supervisor'));
    run.child.kill('SIGSTOP');
    await killed(supervisors.map(({ pid }) => pid).sort((a, b) => a - b)[1] ?? 0);
    await askUntil(/^E[A-Z]+, E[A-Z]+$/);
    end();
    expect(await exited).not.toEqual({ code: null, signal: null });
  });
});

/** The signal has done its work: the process is gone, or a zombie. */
async function killed(pid: number): Promise<void> {
  process.kill(pid, 'SIGKILL');
  await until(`process ${pid} has ended`, () => {
    try {
      return /\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
    } catch {
      return true;
    }
  });
}
