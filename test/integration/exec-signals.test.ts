import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { type RunningTarget, startTarget } from '../fixtures/target.ts';
import { ExecHarness, until } from './exec-harness.ts';

/** Says each signal it gets, and goes on; ends with its input. */
const TRAPS = 'for s in TERM INT HUP USR1; do trap "echo got-$s" $s; done; echo ready';
const WAITS = `${TRAPS}; while read -r line; do :; done; echo done`;

describe.skipIf(!can.root.yes)(`signals of a run (${can.root.why})`, () => {
  let target: RunningTarget;
  let harness: ExecHarness;
  let words: string[];

  beforeAll(async () => {
    target = await startTarget({ env: { NAME: 'x' } });
  });

  beforeEach(() => {
    harness = new ExecHarness();
    words = ['exec', '-t', `pid/${target.pid}`, '--progress', 'off', '--'];
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

  test.each(['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR1'] as const)(
    '%s to the client alone reaches the local process once, which decides',
    async (signal) => {
      const run = harness.start([...words, 'bash', '-c', WAITS]);
      await run.said('ready');
      run.child.kill(signal);
      await run.said(`got-${signal.slice(3)}`);
      run.child.stdin?.end();
      const { code, stdout } = await run.outcome;
      expect(stdout).toBe(`ready\ngot-${signal.slice(3)}\ndone\n`);
      expect(code).toBe(0);
    },
  );

  test('a local process that dies of the signal takes the client with it the same way', async () => {
    const run = harness.start([...words, 'sh', '-c', 'echo ready; exec sleep 100']);
    await run.said('ready');
    run.child.kill('SIGTERM');
    expect(await run.outcome).toMatchObject({ code: null, signal: 'SIGTERM' });
  });

  test('Ctrl-C on a terminal reaches the local process once', async () => {
    const run = harness.start([...words, 'bash', '-c', WAITS], { onTerminal: true });
    await run.said('ready');
    run.child.stdin?.write('\x03');
    await run.said('got-INT');
    run.child.stdin?.write('\x04');
    const { stdout } = await run.outcome;
    expect(stdout.match(/got-INT/g)).toHaveLength(1);
    expect(stdout).toContain('done');
  });

  test('interrupted before the local process runs, it dies of the signal and leaves nothing', async () => {
    const run = harness.start([...words, 'sh', '-c', 'echo never']);
    await until('the agent is being started', () =>
      harness.processes().some(({ command }) => command.includes('agent.js')),
    );
    run.child.kill('SIGTERM');
    const { signal, stdout } = await run.outcome;
    expect([signal, stdout]).toEqual(['SIGTERM', '']);
  });
});
