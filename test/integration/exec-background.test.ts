import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { type RunningTarget, startTarget } from '../fixtures/target.ts';
import { ExecHarness, until } from './exec-harness.ts';

/** Its background process waits for the file `go`, reads a file of the target, and tells in the file `told`. */
const LEAVES_ONE =
  '(while [ ! -e go ]; do sleep 0.02; done; cat /srv/shop/prices >told.new 2>&1; mv told.new told) & exit 3';

describe.skipIf(!can.root.yes)(`processes in the background (${can.root.why})`, () => {
  let target: RunningTarget;
  let harness: ExecHarness;

  beforeAll(async () => {
    target = await startTarget({ files: { '/srv/shop/prices': 'tea 3.2\n' } });
  });

  beforeEach(() => {
    harness = new ExecHarness();
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

  const start = (progress: string) =>
    harness.start(['exec', '-t', `pid/${target.pid}`, '--progress', progress, '--', 'sh', '-c', LEAVES_ONE]);
  const file = (name: string) => path.join(harness.folder, name);
  const told = async () => {
    await until('the background process has told', () => existsSync(file('told')));
    return readFileSync(file('told'), 'utf8');
  };

  test('the user is told once, and the run lasts until they end', async () => {
    const run = start('simple');
    await run.complained('has ended (exit code 3), but left a process in the background');
    writeFileSync(file('go'), '');
    expect(await told()).toBe('tea 3.2\n');
    const { code, stderr } = await run.outcome;
    expect(code).toBe(3);
    expect(stderr.match(/in the background/g)).toHaveLength(1);
  });

  test('without progress nothing is said', async () => {
    const run = start('off');
    writeFileSync(file('go'), '');
    expect(await run.outcome).toMatchObject({ code: 3, stdout: '', stderr: '' });
  });

  test.each(['SIGINT', 'SIGTERM'] as const)('%s ends the waiting: files answer EIO from then on', async (signal) => {
    const run = start('simple');
    await run.complained('in the background');
    const exited = new Promise((resolve) => run.child.once('exit', (code) => resolve(code)));
    // One that comes with the end of the command is the one that ended it, so it is given again.
    const again = setInterval(() => run.child.kill(signal), 2);
    expect(await exited).toBe(3);
    clearInterval(again);
    writeFileSync(file('go'), '');
    expect(await told()).toContain('Input/output error');
  });
});
