// `mirrord exec` as a user calls it, with the agent of its own, in folders that belong to one test: what it leaves behind
// can be told from what others do on the machine.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Outcome } from '../fixtures/run.ts';

const mirrord = path.join(import.meta.dirname, '../../bin/mirrord');

/** A run under way. */
export interface Run {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly outcome: Promise<Outcome>;
  /** Resolves when stdout holds the text. */
  said(text: string): Promise<void>;
  /** Resolves when stderr holds the text. */
  complained(text: string): Promise<void>;
  /** All of stdout so far. */
  stdout(): string;
  stderr(): string;
}

export interface Start {
  variables?: Readonly<Record<string, string>>;
  onTerminal?: boolean;
  /** What starts mirrord: a program and its arguments. */
  under?: readonly string[];
}

export class ExecHarness {
  readonly folder = mkdtempSync(path.join(tmpdir(), 'mirrord-exec-test-'));
  readonly #runs: Run[] = [];

  get variables(): Record<string, string> {
    return {
      PATH: process.env['PATH'] ?? '',
      HOME: this.folder,
      XDG_RUNTIME_DIR: this.folder,
      XDG_STATE_HOME: path.join(this.folder, 'state'),
      ...(process.env['MIRRORD_SUPERVISOR_FILE'] === undefined
        ? {}
        : { MIRRORD_SUPERVISOR_FILE: process.env['MIRRORD_SUPERVISOR_FILE'] }),
    };
  }

  /** On a terminal of its own, what is written to stdin is typed there, and stdout shows the screen. */
  start(words: readonly string[], { variables = {}, onTerminal = false, under = [] }: Start = {}): Run {
    const command = [...under, mirrord, ...words];
    const [file = '', ...rest] = onTerminal ? ['script', '-qec', command.map(quoted).join(' '), '/dev/null'] : command;
    const child = spawn(file, rest, {
      cwd: this.folder,
      env: { ...this.variables, ...variables },
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    const outcome = new Promise<Outcome>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
    });
    const holds = (read: () => string) => (text: string) =>
      until(`the output holds ${JSON.stringify(text)}`, () => {
        if (read().includes(text)) return true;
        if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}: ${stdout}${stderr}`);
        return false;
      });
    const run: Run = {
      child,
      pid: child.pid ?? 0,
      outcome,
      said: holds(() => stdout),
      complained: holds(() => stderr),
      stdout: () => stdout,
      stderr: () => stderr,
    };
    this.#runs.push(run);
    return run;
  }

  run(words: readonly string[], options: Start = {}): Promise<Outcome> {
    const run = this.start(words, options);
    run.child.stdin?.end();
    return run.outcome;
  }

  /** Processes that have one of our folders in their environment: all that a run starts has. */
  processes(): { pid: number; command: string }[] {
    return readdirSync('/proc')
      .filter((name) => /^[0-9]+$/.test(name))
      .map(Number)
      .filter((pid) => this.#isOurs(pid))
      .map((pid) => ({ pid, command: read(`/proc/${pid}/cmdline`).split('\0').join(' ').trim() }))
      .filter(({ command }) => command !== '');
  }

  process(word: string): number {
    const found = this.processes().find(({ command }) => command.includes(word));
    if (found === undefined) throw new Error(`no process ${word} in ${JSON.stringify(this.processes())}`);
    return found.pid;
  }

  /** Nothing of any run is there any more: no process, no runtime folder, no mount. */
  async leavesNothing(): Promise<void> {
    await until(
      () => `these are gone: ${JSON.stringify(this.processes())}`,
      () => this.processes().length === 0,
    );
    const isOurs = (name: string) => name.startsWith('mirrord-run-');
    await until(
      () => `the folder holds nothing of a run: ${readdirSync(this.folder)}`,
      () => !readdirSync(this.folder).some(isOurs),
    );
    const isFuse = /^\S+ \S+ fuse\S* /;
    const mounts = read('/proc/self/mounts')
      .split('\n')
      .filter((line) => isFuse.test(line) && line.includes('mirrord'));
    if (mounts.length > 0) throw new Error(`a mount is left: ${mounts}`);
  }

  /** Every process of every run, together: some end by themselves as soon as another has. */
  killAll(): void {
    for (const { pid } of this.processes()) if (this.#isOurs(pid)) kill(pid);
  }

  /** Looked at right before a signal: a number whose process has ended may be a stranger's. */
  #isOurs(pid: number): boolean {
    return read(`/proc/${pid}/environ`).includes(this.folder);
  }

  close(): void {
    this.killAll();
    // By the child and not by its number, which is another's once it has ended, by a signal too.
    for (const { child } of this.#runs) child.kill('SIGKILL');
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Looks again until it is so; the kernel reports the end of strangers' children to nobody. */
export async function until(what: string | (() => string), isTrue: () => boolean, deadlineMs = 15_000): Promise<void> {
  const endMs = performance.now() + deadlineMs;
  while (!isTrue()) {
    if (performance.now() > endMs)
      throw new Error(`not within ${deadlineMs} ms: ${typeof what === 'string' ? what : what()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** As one word of a shell. */
function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}
