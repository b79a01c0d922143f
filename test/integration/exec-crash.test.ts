import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { type RunningTarget, startTarget } from '../fixtures/target.ts';
import { ExecHarness } from './exec-harness.ts';

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
  const read = said(() => String(fs.readSync(fd, part, 0, 4096, turn * (4 << 20))));
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
      await run.said(`turn ${turn}: `);
      await run.said('.\n');
      return new RegExp(`turn ${turn}: (.*)\\.`).exec(run.stdout())?.[1];
    };
    expect(await ask()).toBe('tea 3.2, 4096');
    return { run, ask, end: () => process.kill(pid, 'SIGHUP') };
  }

  test('killed agent: files of the target answer EIO, the local process lives', async () => {
    const { run, ask, end } = await start();
    process.kill(harness.process('dist/agent.js'), 'SIGKILL');
    expect(await ask()).toBe('EIO, EIO');
    end();
    const { code, stderr, stdout } = await run.outcome;
    expect(code).toBe(0);
    expect(stdout).toContain('done');
    // With --progress off, too: silence would look like the target's own fault.
    expect(stderr).toMatch(/^mirrord: the session is lost: .*EIO.*\n$/);
  });

  test('killed client: files of the target answer EIO, the local process lives to its end', async () => {
    const { run, ask, end } = await start();
    const exited = new Promise((resolve) => run.child.once('exit', resolve));
    process.kill(run.pid, 'SIGKILL');
    await exited;
    expect(await ask()).toBe('EIO, EIO');
    end();
    expect((await run.outcome).stdout).toContain('done');
  });

  // The supervisor is two processes: one that answers, and one that watches it.
  test.each(['first', 'last'] as const)(
    'killed supervisor (%s process): the local process gets errors, not a hang, and the client ends',
    async (which) => {
      const { run, ask, end } = await start();
      const exited = new Promise((resolve) => run.child.once('exit', (code, signal) => resolve({ code, signal })));
      const supervisors = harness.processes().filter(({ command }) => command.includes('mirrord-supervisor'));
      const pids = supervisors.map(({ pid }) => pid).sort((a, b) => a - b);
      process.kill((which === 'first' ? pids[0] : pids.at(-1)) ?? 0, 'SIGKILL');
      const answer = await ask();
      expect(answer).toMatch(/^E[A-Z]+, E[A-Z]+$/);
      end();
      expect(await exited).not.toEqual({ code: null, signal: null });
    },
  );
});
