import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { type RunningTarget, startTarget } from '../fixtures/target.ts';
import { ExecHarness } from './exec-harness.ts';

/** For each line of its input: reads a file of the target by a fresh open and through a descriptor of its start. */
const PROGRAM = `
const fs = require('node:fs');
const said = (act) => { try { return act(); } catch (error) { return error.code; } };
const fd = fs.openSync('/srv/shop/big', 'r');
const part = Buffer.alloc(4096);
let at = 0;
console.log('ready');
require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
  at += 512 * 4096;
  const open = said(() => fs.readFileSync('/srv/shop/prices', 'utf8').trim());
  const read = said(() => String(fs.readSync(fd, part, 0, 4096, at)));
  console.log(line + ': ' + open + ', ' + read);
}).on('close', () => console.log('done'));
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
    const ask = async (line: string) => {
      run.child.stdin?.write(`${line}\n`);
      await run.said(`${line}: `);
      return run
        .stdout()
        .split('\n')
        .find((said) => said.startsWith(`${line}: `));
    };
    await run.said('ready');
    expect(await ask('before')).toBe('before: tea 3.2, 4096');
    return { run, ask };
  }

  test('killed agent: files of the target answer EIO, the local process lives', async () => {
    const { run, ask } = await start();
    process.kill(harness.process('dist/agent.js'), 'SIGKILL');
    const after = await ask('after');
    expect(after).toBe('after: EIO, EIO');
    run.child.stdin?.end();
    const { code, stderr, stdout } = await run.outcome;
    expect(code).toBe(0);
    expect(stdout).toContain('done');
    expect(stderr).toBe('');
  });

  test('killed client: files of the target answer EIO, the local process lives to its end', async () => {
    const { run, ask } = await start();
    const exited = new Promise((resolve) => run.child.once('exit', resolve));
    process.kill(run.pid, 'SIGKILL');
    await exited;
    expect(await ask('after')).toBe('after: EIO, EIO');
    run.child.stdin?.end();
    expect((await run.outcome).stdout).toContain('done');
  });

  test('killed supervisor: the local process gets errors, not a hang, and the client says so', async () => {
    const { run } = await start();
    process.kill(harness.process('mirrord-supervisor'), 'SIGKILL');
    run.child.stdin?.end();
    const { signal, code } = await run.outcome;
    expect([signal, code]).not.toEqual([null, 0]);
  });
});
