import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { type RunningTarget, startTarget } from '../fixtures/target.ts';
import { ExecHarness, until } from './exec-harness.ts';

/** Reads a pipe of the target; SIGINT is told and the read goes on, SIGTERM ends the wait. */
const READER = `
import os, signal, sys
signal.signal(signal.SIGINT, lambda *_: print('interrupted', flush=True))
def end(*_): raise SystemExit('gave up')
signal.signal(signal.SIGTERM, end)
fd = os.open('/srv/shop/pipe', os.O_RDONLY)
print('reading', flush=True)
while data := os.read(fd, 100): print('got', data.decode().strip(), flush=True)
print('end')
`;

describe.skipIf(!can.root.yes)(`pipes of the target (${can.root.why})`, () => {
  let target: RunningTarget;
  let harness: ExecHarness;
  let pipe: string;
  let words: string[];

  beforeAll(async () => {
    target = await startTarget({ files: { '/srv/shop/prices': 'tea 3.2\n' } });
    pipe = path.join(target.root, 'srv/shop/pipe');
    execFileSync('mkfifo', ['-m', '666', pipe]);
    words = ['exec', '-t', `pid/${target.pid}`, '--progress', 'off'];
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

  /** Resolves with the writing end once somebody has opened the reading end, or the other way round. */
  async function openOther(flags: number): Promise<number> {
    let fd = -1;
    await until('the other end is open', () => {
      try {
        fd = openSync(pipe, flags | constants.O_NONBLOCK);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENXIO') throw error;
      }
      return fd >= 0;
    });
    return fd;
  }

  test('a read waits for the first writer, for each of its bytes, and ends with it', async () => {
    const run = harness.start([...words, '--', '/usr/bin/python3', '-c', READER]);
    await run.said('reading');
    const fd = await openOther(constants.O_WRONLY);
    writeSync(fd, 'tea\n');
    await run.said('got tea');
    writeSync(fd, 'milk\n');
    await run.said('got milk');
    closeSync(fd);
    expect((await run.outcome).stdout).toBe('reading\ngot tea\ngot milk\nend\n');
  });

  test('a wait that a signal interrupts loses no byte', async () => {
    const run = harness.start([...words, '--', '/usr/bin/python3', '-c', READER]);
    await run.said('reading');
    const fd = await openOther(constants.O_WRONLY);
    run.child.kill('SIGINT');
    await run.said('interrupted');
    writeSync(fd, 'tea\n');
    await run.said('got tea');
    closeSync(fd);
    expect((await run.outcome).stdout).toBe('reading\ninterrupted\ngot tea\nend\n');
  });

  test('a wait that a signal ends lets the program go', async () => {
    const run = harness.start([...words, '--', '/usr/bin/python3', '-c', READER]);
    await run.said('reading');
    run.child.kill('SIGTERM');
    expect(await run.outcome).toMatchObject({ code: 1, stderr: 'gave up\n' });
  });

  test('a writer waits for room', async () => {
    const reader = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
    const command = 'head -c 300000 /dev/zero >/srv/shop/pipe && echo written';
    const run = harness.start([...words, '--fs-mode', 'write', '--', 'sh', '-c', command]);
    const buffer = Buffer.alloc(65_536);
    let bytes = 0;
    await until('all bytes have come', () => {
      try {
        bytes += readSync(reader, buffer);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      }
      return bytes === 300_000;
    });
    closeSync(reader);
    expect(await run.outcome).toMatchObject({ code: 0, stdout: 'written\n' });
  });
});
