// fs-env is killed while a program has files of its target open: which of them go on, and what is said of those that cannot.

import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { childrenOf } from '../fixtures/children.ts';
import { SYSTEM_PATH, Whole } from '../fixtures/whole.ts';

const FOLDER = '/srv/open';
const MIB = 1024 * 1024;
const machine = [can.root, can.fuse].find(({ yes }) => !yes) ?? can.root;

describe.skipIf(!machine.yes)(`an fs-env that is killed (${machine.why})`, () => {
  let whole: Whole;
  let folder: string;
  const content = randomBytes(100 * MIB);
  const running: ChildProcess[] = [];

  beforeEach(async () => {
    whole = await Whole.start({ variables: {} });
    folder = path.join(whole.target.root, FOLDER);
    mkdirSync(path.join(folder, 'listed'), { recursive: true });
    writeFileSync(path.join(folder, 'large'), content);
    for (const name of ['replaced', 'removed', 'other']) writeFileSync(path.join(folder, name), randomBytes(MIB));
    for (const name of ['appended', 'listed/one', 'listed/two']) writeFileSync(path.join(folder, name), '');
  });

  afterEach(async () => {
    for (const child of running.splice(0)) {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGKILL');
        await once(child, 'exit');
      }
    }
    await whole.close();
  });

  function start() {
    const work = whole.makeWork('root');
    copyFileSync(path.join(import.meta.dirname, '../fixtures/reads-on.py'), path.join(work, 'reads-on.py'));
    const words = ['exec', '-t', `pid/${whole.target.pid}`, '--fs-mode', 'write', '--'];
    const child = spawn(path.join(whole.installed, 'bin/mirrord'), [...words, 'python3', 'reads-on.py', FOLDER], {
      cwd: work,
      env: {
        PATH: SYSTEM_PATH,
        HOME: work,
        MIRRORD_AGENT_ADDRESS: whole.address,
        MIRRORD_AGENT_KEY_FILE: path.join(whole.base, 'key'),
        MIRRORD_FILE_LOCAL_PATTERN: `^${work}`,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    running.push(child);
    const said = { out: '', err: '' };
    const open = new Promise<void>((resolve) => {
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        said.out += text;
        if (said.out.startsWith('open\n')) resolve();
      });
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said.err += text;
    });
    return { open, ended: once(child, 'close').then(([code]) => ({ code, ...said })) };
  }

  test('a file that is read goes on to its last byte, what is written too, and a file that is another is EIO', async () => {
    const { open, ended } = start();
    await open;
    const killed = childrenOf(whole.agent.pid as number).get('fs-env') as number;
    // Their names are other files' when they are looked for again, or nobody's.
    renameSync(path.join(folder, 'other'), path.join(folder, 'replaced'));
    rmSync(path.join(folder, 'removed'));
    process.kill(killed, 'SIGKILL');
    const { code, out, err } = await ended;
    const found = new Map(
      out
        .split('\n')
        .slice(1)
        .map((line) => [line.split(' ')[0], line.slice(line.indexOf(' ') + 1)]),
    );
    expect(code).toBe(0);
    expect(childrenOf(whole.agent.pid as number).get('fs-env')).not.toBe(killed);
    expect(found.get('large')).toBe(createHash('sha256').update(content).digest('hex'));
    expect([found.get('written'), readFileSync(path.join(folder, 'written'), 'utf8')]).toEqual(['5', 'before after']);
    expect([found.get('appended'), found.get('fresh')]).toEqual(['5', 'before after']);
    expect(found.get('listed')).toBe("['one', 'two']");
    expect([found.get('replaced'), found.get('removed')]).toEqual(['EIO', 'EIO']);
    expect(err).toMatch(/open files that are not what they were answer EIO: \/srv\/open\/re\S+, \/srv\/open\/re/);
  });
});
