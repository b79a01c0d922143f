// A large file of the target, byte for byte, while memory that was given back is overwritten (proto/receive-blocks.ts): several
// readers at once, in order, jumping, mapped, past the cache and killed; over a connection that breaks, and into its end.

import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { startRelay } from '../fixtures/relay.ts';
import { SYSTEM_PATH, Whole } from '../fixtures/whole.ts';

const FILE = '/srv/large';
const PROGRAM = path.join(import.meta.dirname, '../fixtures/large-readers.py');
const EIO = 5;

const machine = [can.root, can.fuse].find(({ yes }) => !yes) ?? can.root;

describe.skipIf(!machine.yes)(`large files (${machine.why})`, () => {
  let whole: Whole;
  const content = randomBytes(48 * 1024 * 1024 + 4_321);
  const children: ChildProcess[] = [];

  beforeEach(async () => {
    whole = await Whole.start({
      variables: {},
      listen: '127.0.0.1:0',
      agentVariables: { MIRRORD_WIPE_GIVEN_BACK: '1' },
    });
    const file = path.join(whole.target.root, FILE);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, content);
  });

  afterEach(async () => {
    for (const child of children.splice(0)) {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGKILL');
        await once(child, 'exit');
      }
    }
    await whole.close();
  });

  function readers(address: string, rounds: number, variables: Record<string, string> = {}) {
    const work = whole.makeWork('root');
    copyFileSync(PROGRAM, path.join(work, 'readers.py'));
    writeFileSync(path.join(work, 'copy'), content);
    const command = ['python3', 'readers.py', FILE, path.join(work, 'copy'), String(rounds)];
    const flags = ['-t', `pid/${whole.target.pid}`, '--progress', 'off', '--fs-mode', 'read'];
    const child = spawn(path.join(whole.installed, 'bin/mirrord'), ['exec', ...flags, '--', ...command], {
      cwd: work,
      env: {
        PATH: SYSTEM_PATH,
        HOME: work,
        MIRRORD_AGENT_ADDRESS: address,
        MIRRORD_AGENT_KEY_FILE: path.join(whole.base, 'key'),
        MIRRORD_FILE_LOCAL_PATTERN: `^${work}`,
        MIRRORD_WIPE_GIVEN_BACK: '1',
        ...variables,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    children.push(child);
    let said = '';
    const begun = new Promise<void>((resolve) => {
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        resolve();
      });
      child.stderr.pipe(process.stderr);
      child.once('close', () => resolve());
    });
    const ended = once(child, 'close').then(([code]) => ({ code, said: said.replaceAll('begun\n', '').trim() }));
    return { begun, ended };
  }

  test('every reader finds every byte, however many read at once', async () => {
    expect(await readers(whole.address, 3).ended).toEqual({ code: 0, said: 'right' });
  });

  test('every byte is right over a connection that breaks again and again', async () => {
    const relay = await startRelay(whole.address);
    try {
      const kinds = ['cut', 'half-close'] as const;
      relay.harmAfter(
        Array.from({ length: 12 }, (_, at) => ({ kind: kinds[at % 2] ?? 'cut', bytes: 2_000_000 + at * 1_234_567 })),
      );
      expect(await readers(relay.address, 2).ended).toEqual({ code: 0, said: 'right' });
      expect(relay.harmed).toBeGreaterThanOrEqual(4);
    } finally {
      await relay.close();
    }
  });

  test('the kernel reads ahead of root as far as its largest question', async () => {
    const program = [
      'import os',
      `device = os.fstat(os.open('${FILE}', os.O_RDONLY)).st_dev`,
      "file = f'/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb'",
      // A container may have a /sys that is not to be written.
      'print(open(file).read().strip() if os.access(file, os.W_OK) else 1024)',
    ].join('\n');
    expect(await whole.exec(['python3', '-c', program])).toMatchObject({ code: 0, stdout: '1024\n' });
  });

  test('an agent that dies while they read is an error to them, and never a wrong byte', async () => {
    const { begun, ended } = readers(whole.address, 100, { MIRRORD_AGENT_RECONNECT_TIMEOUT: '1' });
    await begun;
    whole.agent.kill('SIGKILL');
    expect(await ended).toEqual({ code: 0, said: `lost ${EIO}` });
  });
});
