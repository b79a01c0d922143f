import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { SYSTEM_PATH, Whole } from '../fixtures/whole.ts';
import { until } from './exec-harness.ts';

/** Ten times less than usual, and still more than a busy machine lets a client wait. */
const LOST_AFTER_MS = 2_000;
/** Reads a file of the target for each line it is given. */
const PROGRAM = 'echo running; while read -r word; do echo "$word $(cat /etc/hostname) read"; done; echo over';

describe.skipIf(!can.root.yes)(`job control (${can.root.why})`, () => {
  let whole: Whole;
  let work: string;
  let children: ChildProcess[] = [];

  beforeAll(async () => {
    whole = await Whole.start({
      variables: {},
      agentVariables: { MIRRORD_CLIENT_LOST_AFTER_MS: String(LOST_AFTER_MS), MIRRORD_LOG_LEVEL: 'info' },
    });
    work = whole.makeWork('root');
    writeFileSync(path.join(work, 'program.sh'), PROGRAM);
    execFileSync('mkfifo', [path.join(work, 'fifo')]);
    mkdirSync(path.join(whole.target.root, 'etc'), { recursive: true });
    writeFileSync(path.join(whole.target.root, 'etc/hostname'), 'shop-7f\n');
  });

  afterEach(async () => {
    for (const child of children) {
      child.stdin?.end();
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGKILL');
        await once(child, 'exit');
      }
    }
    children = [];
  });

  afterAll(async () => {
    await whole.close();
  });

  function start(file: string, words: readonly string[]) {
    const child = spawn(file, words, {
      cwd: work,
      env: {
        PATH: SYSTEM_PATH,
        HOME: work,
        PS1: 'prompt: ',
        MIRRORD_AGENT_ADDRESS: whole.address,
        MIRRORD_AGENT_KEY_FILE: path.join(whole.base, 'key'),
      },
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
    });
    children.push(child);
    let screen = '';
    for (const output of [child.stdout, child.stderr]) {
      output.setEncoding('utf8').on('data', (text: string) => {
        screen += text;
      });
    }
    const shows = async (wanted: string | RegExp) => {
      await until(
        () => `it shows ${wanted}: ${screen}`,
        () => screen.match(wanted) !== null,
      );
      return screen.match(wanted)?.[1];
    };
    return { child, shows, type: (text: string) => child.stdin.write(text) };
  }

  function exec(): [string, string[]] {
    const words = ['exec', '-t', `pid/${whole.target.pid}`, '--progress', 'off', '--', 'sh', 'program.sh'];
    return [path.join(whole.installed, 'bin/mirrord'), words];
  }

  const agentLog = () => readFileSync(path.join(whole.base, 'agent.log'), 'utf8');

  test('stopped by Ctrl-Z for longer than a client may be silent, it reads the target’s files after fg', async () => {
    const [file, words] = exec();
    const shell = start('script', ['-qec', 'bash --norc --noprofile -i', '/dev/null']);
    await shell.shows('prompt: ');
    shell.type(`${file} ${words.join(' ')}\n`);
    await shell.shows('running');
    shell.type('one\n');
    await shell.shows('one shop-7f read');
    shell.type('\x1a');
    await shell.shows('Stopped');
    // The clock: a client that is stopped later, and without a word.
    const mute = start(...exec());
    await mute.shows('running');
    mute.child.kill('SIGSTOP');
    await until('the agent gives up the client that said nothing', () => agentLog().includes('silent for too long'));
    shell.type('fg\n');
    await shell.shows('program.sh');
    shell.type('two\n');
    await shell.shows('two shop-7f read');
    shell.type('\x04');
    await shell.shows('over');
    expect(agentLog().match(/silent for too long/g)).toHaveLength(1);
  });

  test('stopped by a signal to the client alone, the local process is stopped and goes on with it', async () => {
    const [file, words] = exec();
    const shell = start('script', ['-qec', 'bash --norc --noprofile -i', '/dev/null']);
    await shell.shows('prompt: ');
    // In the background the terminal has no part in it.
    shell.type(`${file} ${words.join(' ')} <fifo & echo "client $!."\n`);
    const client = Number(await shell.shows(/client (\d+)\./));
    shell.type('exec 5>fifo\n');
    await shell.shows('running');
    process.kill(client, 'SIGTSTP');
    const states = () => [stateOf(client), stateOf(localOf(client))].join('');
    await until(
      () => `both are stopped: ${states()}`,
      () => states() === 'TT',
    );
    process.kill(client, 'SIGCONT');
    await until(
      () => `both go on: ${states()}`,
      () => !states().includes('T'),
    );
    shell.type('echo one >&5; exec 5>&-\n');
    await shell.shows('one shop-7f read');
    await shell.shows('over');
  });
});

/** Client, keeper, worker, local process: each the first child of the one before. */
function localOf(client: number): number {
  const childOf = (pid: number) => Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ')[0]);
  return childOf(childOf(childOf(client)));
}

function stateOf(pid: number): string {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  return stat.slice(stat.lastIndexOf(')') + 2)[0] ?? '';
}
