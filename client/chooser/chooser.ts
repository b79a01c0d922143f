// The chooser on a terminal: drawn on stderr, read from the terminal itself and not from stdin, which is the local process's
// and must stay as it is. The terminal is left as it was found, whatever happens.

import { openSync } from 'node:fs';
import { ReadStream } from 'node:tty';
import { AppError } from '#proto/errors.ts';
import { printable } from '../printable.ts';
import {
  addChoices,
  type Choice,
  type ChooserState,
  type Key,
  MAX_CHOICES,
  press,
  readKeys,
  startChooser,
  viewOf,
} from './chooser-state.ts';

export interface ChooserOptions {
  readonly title: string;
  /** Pages of choices as they come; asked for until there are enough. */
  readonly pages: AsyncIterable<readonly Choice[]>;
  readonly write: (text: string) => void;
  readonly signal: AbortSignal;
}

/** After which an Esc that nothing follows is the key itself. */
const ESCAPE_MS = 100;
const HIDE_CURSOR = '\x1b[?25l';
const SHOW_CURSOR = '\x1b[?25h';
const CLEAR_BELOW = '\x1b[J';

/** The text chosen; null when the user leaves. Throws UNSUPPORTED where there is no terminal to ask on. */
export async function choose(options: ChooserOptions): Promise<string | null> {
  const input = openTerminal();
  const chooser = new Chooser(options, input);
  try {
    return await chooser.run();
  } finally {
    chooser.restore();
  }
}

function openTerminal(): ReadStream {
  try {
    return new ReadStream(openSync('/dev/tty', 'r+'));
  } catch (cause) {
    throw new AppError('UNSUPPORTED', 'there is no terminal to choose a target on', {
      cause,
      data: { move: 'user', exitCode: 2, advice: 'name a target: --target deployment/NAME; `mirrord ls` lists them.' },
    });
  }
}

class Chooser {
  readonly #options: ChooserOptions;
  readonly #input: ReadStream;
  #state: ChooserState;
  #drawnLines = 0;
  #rest = '';
  #escape: NodeJS.Timeout | null = null;

  constructor(options: ChooserOptions, input: ReadStream) {
    this.#options = options;
    this.#input = input;
    this.#state = startChooser(options.title);
  }

  run(): Promise<string | null> {
    return new Promise((resolve, reject) => {
      this.#input.setRawMode(true);
      this.#options.write(HIDE_CURSOR);
      this.#draw();
      const handle = (keys: readonly Key[]) => {
        for (const key of keys) {
          const step = press(this.#state, key, this.#size().rows);
          if (step.kind === 'chosen') return resolve(step.text);
          if (step.kind === 'cancelled') return resolve(null);
          this.#state = step.state;
        }
        this.#draw();
      };
      this.#input.setEncoding('utf8');
      this.#input.on('data', (text: string) => handle(this.#keysOf(text, handle)));
      this.#input.once('end', () => resolve(null)).once('error', reject);
      process.on('SIGWINCH', this.#onResize);
      const { signal } = this.#options;
      signal.addEventListener('abort', () => resolve(null), { once: true });
      if (signal.aborted) resolve(null);
      this.#fill().catch(reject);
    });
  }

  async #fill(): Promise<void> {
    for await (const page of this.#options.pages) {
      this.#state = addChoices(
        this.#state,
        page.map(({ text, note }) => ({ text: printable(text), note: printable(note) })),
      );
      if (this.#input.destroyed) return;
      this.#draw();
      if (this.#state.choices.length >= MAX_CHOICES) break;
    }
    this.#state = { ...this.#state, isComplete: true };
    if (!this.#input.destroyed) this.#draw();
  }

  #keysOf(text: string, handle: (keys: readonly Key[]) => void): Key[] {
    if (this.#escape !== null) clearTimeout(this.#escape);
    const { keys, rest } = readKeys(this.#rest + text);
    this.#rest = rest;
    this.#escape = rest === '' ? null : setTimeout(() => handle([{ kind: 'cancel' }]), ESCAPE_MS);
    return keys;
  }

  readonly #onResize = () => this.#draw();

  #size(): { rows: number; columns: number } {
    // Of the terminal that is read; a ReadStream has no size of its own.
    // Some say 0.
    const [columns, rows] = process.stderr.isTTY ? process.stderr.getWindowSize() : [];
    return { rows: rows || 24, columns: columns || 80 };
  }

  #draw(): void {
    const { rows, columns } = this.#size();
    const lines = viewOf(this.#state, rows, columns);
    this.#options.write(`${this.#back()}${lines.join('\r\n')}`);
    this.#drawnLines = lines.length;
  }

  /** To the first line of what was drawn, all of which goes. */
  #back(): string {
    const up = this.#drawnLines > 1 ? `\x1b[${this.#drawnLines - 1}A` : '';
    return `\r${up}${CLEAR_BELOW}`;
  }

  restore(): void {
    if (this.#escape !== null) clearTimeout(this.#escape);
    process.off('SIGWINCH', this.#onResize);
    this.#input.setRawMode(false);
    this.#input.destroy();
    this.#options.write(`${this.#back()}${SHOW_CURSOR}`);
  }
}
