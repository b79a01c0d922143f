// The client's log: JSON lines kept in memory and written to a file when something has failed, so that a run that went
// well leaves nothing behind. Fields are counts, codes and words of ours: no value, no content, no token.

import { lstatSync, mkdirSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { printable } from './printable.ts';

export type LogLevel = 'error' | 'warn' | 'info' | 'debug';
export type LogFields = Readonly<Record<string, string | number | boolean | null>>;

export interface LogOptions {
  env: NodeJS.ProcessEnv;
  /** Gets every line at once: --verbose. */
  echo?: ((line: string) => void) | undefined;
  now?: () => Date;
}

/** Lines before the first failure that are worth having; beyond it the oldest go. */
const MAX_HELD_LINES = 2_000;
const KEPT_FILES = 20;

export class Log {
  readonly #options: LogOptions;
  #held: string[] = [];
  #file: { path: string; fd: number } | null = null;

  constructor(options: LogOptions) {
    this.#options = options;
  }

  error(message: string, fields: LogFields = {}): void {
    this.#add('error', message, fields);
  }

  warn(message: string, fields: LogFields = {}): void {
    this.#add('warn', message, fields);
  }

  info(message: string, fields: LogFields = {}): void {
    this.#add('info', message, fields);
  }

  debug(message: string, fields: LogFields = {}): void {
    this.#add('debug', message, fields);
  }

  /**
   * From here on lines go to a file. Returns its place, or null where none can be written: a log that cannot be kept is no
   * reason to fail. Idempotent.
   */
  keep(): string | null {
    this.#file ??= this.#openFile();
    if (this.#file !== null && this.#held.length > 0) {
      append(this.#file.fd, this.#held.join(''));
      this.#held = [];
    }
    return this.#file?.path ?? null;
  }

  /** A part of the log of another process of ours, as it is. */
  attach(name: string, text: string): void {
    this.#store(`${JSON.stringify({ from: name })}\n${text.endsWith('\n') || text === '' ? text : `${text}\n`}`);
  }

  #add(level: LogLevel, message: string, fields: LogFields): void {
    const time = (this.#options.now?.() ?? new Date()).toISOString();
    const line = `${JSON.stringify({ time, level, message, ...fields })}\n`;
    this.#options.echo?.(printable(line));
    this.#store(line);
  }

  #store(text: string): void {
    if (this.#file !== null) {
      append(this.#file.fd, text);
      return;
    }
    this.#held.push(text);
    if (this.#held.length > MAX_HELD_LINES) this.#held.splice(0, MAX_HELD_LINES / 2);
  }

  #openFile(): { path: string; fd: number } | null {
    const stamp = (this.#options.now?.() ?? new Date()).toISOString().replace(/[:.]/g, '-');
    for (const folder of logFolders(this.#options.env)) {
      const path = join(folder, `exec-${stamp}-${process.pid}.log`);
      try {
        mkdirSync(folder, { recursive: true, mode: 0o700 });
        if (!isOurs(folder)) continue;
        const fd = openSync(path, 'ax', 0o600);
        sweep(folder);
        return { path, fd };
      } catch {
        // The next folder, then.
      }
    }
    return null;
  }
}

function append(fd: number, text: string): void {
  try {
    writeSync(fd, text);
  } catch {
    // A full disk must not end the local process.
  }
}

/** In a folder of somebody else, or one that others may write, a name may be made to lead anywhere. */
function isOurs(folder: string): boolean {
  const { uid, mode } = lstatSync(folder);
  return uid === process.geteuid?.() && (mode & 0o022) === 0;
}

/** XDG Base Directory Specification: state that should persist, but is of no importance to others. */
function logFolders(env: NodeJS.ProcessEnv): string[] {
  const state = env['XDG_STATE_HOME'] || join(env['HOME'] || homedir(), '.local', 'state');
  return [join(state, 'mirrord'), join(tmpdir(), `mirrord-log-${process.getuid?.() ?? 0}`)];
}

/** Names begin with the time: the first in order are the oldest. */
function sweep(folder: string): void {
  const files = readdirSync(folder).filter((name) => /^exec-.*\.log$/.test(name));
  for (const name of files.sort().slice(0, -KEPT_FILES)) rmSync(join(folder, name), { force: true });
}
