// The human's view of the steps before the local process starts: one line each, on stderr, with the time it took. Silent
// from `ready` on, but for warnings: the terminal belongs to the local process then.

import { AppError } from '#proto/errors.ts';
import { printable } from './printable.ts';

/** standard: step lines, on a terminal with the one under way; simple: plain lines; json: for editors; off: failures only. */
export type ProgressMode = 'standard' | 'simple' | 'json' | 'off';

const MODES: Readonly<Record<string, ProgressMode>> = {
  std: 'standard',
  standard: 'standard',
  simple: 'simple',
  dumb: 'simple',
  json: 'json',
  off: 'off',
};

/** `source` is the flag or variable that brought the text, for the error. */
export function parseProgressMode(text: string, source: string): ProgressMode {
  const mode = MODES[text];
  if (mode !== undefined && Object.hasOwn(MODES, text)) return mode;
  throw new AppError(
    'CONFIG_INVALID',
    `${source} is ${JSON.stringify(text)}; it must be standard, simple, json or off`,
  );
}

export interface ProgressOptions {
  mode: ProgressMode;
  isTty: boolean;
  write: (text: string) => void;
  now?: () => number;
}

const PARENT = 'mirrord exec';
const CLEAR_LINE = '\r\x1b[K';

export class Progress {
  readonly #mode: ProgressMode;
  readonly #isTty: boolean;
  readonly #write: (text: string) => void;
  readonly #now: () => number;
  /** The step whose line on the terminal is not finished. */
  #shown: string | null = null;

  constructor({ mode, isTty, write, now = () => performance.now() }: ProgressOptions) {
    this.#mode = mode;
    this.#isTty = isTty;
    this.#write = write;
    this.#now = now;
    if (mode === 'json') this.#json({ type: 'NewTask', name: PARENT });
  }

  /** Runs a step. `done` may say more than the step's name once its result is known. */
  async step<T>(name: string, act: () => Promise<T>, done: (result: T) => string = () => name): Promise<T> {
    const startedMs = this.#now();
    this.#begin(name);
    try {
      const result = await act();
      this.#finish(name, true, done(result), this.#now() - startedMs);
      return result;
    } catch (error) {
      this.#finish(name, false, name, this.#now() - startedMs);
      throw error;
    }
  }

  warn(message: string): void {
    if (this.#mode === 'json') this.#json({ type: 'Warning', message });
    else if (this.#mode !== 'off') this.#line(`warning: ${message}`);
  }

  /** Something that worked does so no more. Told in every mode: who wants no progress wants to know this. */
  failure(message: string): void {
    if (this.#mode === 'json') this.#json({ type: 'Warning', message });
    else this.#line(`mirrord: ${message}`);
  }

  info(message: string): void {
    if (this.#mode === 'json') this.#json({ type: 'Info', message });
    else if (this.#mode !== 'off') this.#line(message);
  }

  /** The last line before the local process has the terminal; programs wait for it. */
  ready(): void {
    if (this.#mode === 'json') this.#json({ type: 'FinishedTask', name: PARENT, success: true, message: 'Ready!' });
    else if (this.#mode !== 'off') this.#line('Ready!');
  }

  #begin(name: string): void {
    if (this.#mode === 'json') this.#json({ type: 'NewTask', name, parent: PARENT });
    if (this.#mode !== 'standard' || !this.#isTty) return;
    this.#shown = name;
    this.#write(`  ${name} …`);
  }

  #finish(name: string, success: boolean, message: string, tookMs: number): void {
    if (this.#mode === 'off') return;
    if (this.#mode === 'json') {
      this.#json({ type: 'FinishedTask', name, success, message });
      return;
    }
    const mark = this.#mode === 'simple' ? '' : success ? '✓ ' : '✗ ';
    const took = `(${(tookMs / 1000).toFixed(2)} s)`;
    this.#shown = this.#shown === null ? null : '';
    this.#line(`${mark}${message}${success || mark !== '' ? '' : ' failed'} ${took}`);
    this.#shown = null;
  }

  #line(words: string): void {
    const text = printable(words);
    const name = this.#shown;
    if (name === null) this.#write(`${text}\n`);
    else this.#write(name === '' ? `${CLEAR_LINE}${text}\n` : `${CLEAR_LINE}${text}\n  ${name} …`);
  }

  #json(message: Record<string, unknown>): void {
    this.#write(`${JSON.stringify(message)}\n`);
  }
}
