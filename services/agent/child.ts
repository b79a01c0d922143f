// A process of ours that must not outlive us, however we end, and that is started anew when it ends before us.

import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Logger } from 'pino';
import { AppError } from '#proto/errors.ts';

export interface ChildOptions {
  name: string;
  command: string;
  args: readonly string[];
  /** Options of setpriv(1), beside the death signal. */
  privileges?: readonly string[];
  /** Replaces the environment. */
  env: NodeJS.ProcessEnv;
  logger: Logger;
  /** Each line of its standard error; without it the lines are ours. */
  onLine?: (line: string) => void;
}

const FIRST_RESTART_MS = 100;
const MAX_RESTART_MS = 10_000;
/** After this long the child counts as sound, and the next restart is quick again. */
const SOUND_MS = 30_000;
/** Between SIGTERM and SIGKILL. */
const TERM_GRACE_MS = 3_000;

export class Child {
  readonly #options: ChildOptions;
  #process: ChildProcess | null = null;
  #restart: NodeJS.Timeout | undefined;
  #restartMs = FIRST_RESTART_MS;
  #startedMs = 0;
  #isClosing = false;
  #ended: () => void = () => undefined;

  constructor(options: ChildOptions) {
    this.#options = options;
    this.#start();
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** SIGTERM, then SIGKILL; resolves when it has ended. */
  async close(): Promise<void> {
    this.#isClosing = true;
    clearTimeout(this.#restart);
    const child = this.#process;
    if (child === null) return;
    const ended = new Promise<void>((resolve) => {
      this.#ended = resolve;
    });
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), TERM_GRACE_MS);
    await ended;
    clearTimeout(timer);
  }

  #start(): void {
    const { name, command, args, env, onLine, logger, privileges = [] } = this.#options;
    this.#startedMs = performance.now();
    // The kernel kills it when we die by SIGKILL too (prctl(2) PR_SET_PDEATHSIG); a service of ours also sees the end of
    // its standard input, which covers the moment before setpriv has set it.
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--no-new-privs', ...privileges, '--', command, ...args], {
      env,
      stdio: ['pipe', 'ignore', onLine === undefined ? 'inherit' : 'pipe'],
    });
    this.#process = child;
    child.stdin?.on('error', () => {
      // It reads nothing; its end shows in 'exit'.
    });
    if (child.stderr !== null && onLine !== undefined) createInterface(child.stderr).on('line', onLine);
    child.once('error', (cause) =>
      logger.error({ child: name, err: AppError.from(cause, 'BUG') }, 'cannot start child'),
    );
    child.once('close', (exitCode, signal) => this.#onEnd(exitCode, signal));
  }

  #onEnd(exitCode: number | null, signal: string | null): void {
    const { name, logger } = this.#options;
    this.#process = null;
    this.#ended();
    if (this.#isClosing) return;
    if (performance.now() - this.#startedMs > SOUND_MS) this.#restartMs = FIRST_RESTART_MS;
    logger.warn({ child: name, exitCode, signal, restartMs: this.#restartMs }, 'child ended, starting it anew');
    this.#restart = setTimeout(() => this.#start(), this.#restartMs);
    this.#restartMs = Math.min(this.#restartMs * 2, MAX_RESTART_MS);
  }
}
