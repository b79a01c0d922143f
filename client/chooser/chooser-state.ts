// A list to choose from: what is typed narrows it, arrows and pages move in it. Pure; chooser.ts brings the terminal.

export interface Choice {
  /** What is chosen, and what the filter looks at. */
  readonly text: string;
  /** Shown behind it. */
  readonly note: string;
}

export interface ChooserState {
  readonly title: string;
  readonly choices: readonly Choice[];
  /** No more will come. */
  readonly isComplete: boolean;
  readonly filter: string;
  /** Index among those that fit. */
  readonly at: number;
}

export type Key =
  | { readonly kind: 'text'; readonly text: string }
  | {
      readonly kind:
        | 'backspace'
        | 'clear'
        | 'up'
        | 'down'
        | 'page-up'
        | 'page-down'
        | 'home'
        | 'end'
        | 'enter'
        | 'cancel';
    };

export type Step =
  | { readonly kind: 'state'; readonly state: ChooserState }
  | { readonly kind: 'chosen'; readonly text: string }
  | { readonly kind: 'cancelled' };

/** More than anybody pages through; a filter still sees only these. */
export const MAX_CHOICES = 20_000;
/** Title, filter and the line below the list. */
const FRAME_LINES = 3;
const MAX_LINES = 15;

export function startChooser(title: string): ChooserState {
  return { title, choices: [], isComplete: false, filter: '', at: 0 };
}

export function addChoices(state: ChooserState, choices: readonly Choice[]): ChooserState {
  return { ...state, choices: [...state.choices, ...choices].slice(0, MAX_CHOICES) };
}

/** Every word of the filter, anywhere, in either case. */
export function fitting({ choices, filter }: ChooserState): readonly Choice[] {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return choices;
  return choices.filter(({ text }) => {
    const lower = text.toLowerCase();
    return words.every((word) => lower.includes(word));
  });
}

function listLines(rows: number): number {
  return Math.max(1, Math.min(MAX_LINES, rows - FRAME_LINES - 1));
}

export function press(state: ChooserState, key: Key, rows: number): Step {
  const found = fitting(state);
  const last = Math.max(0, found.length - 1);
  const page = listLines(rows);
  const to = (at: number): Step => ({ kind: 'state', state: { ...state, at: Math.min(last, Math.max(0, at)) } });
  const narrowed = (filter: string): Step => ({ kind: 'state', state: { ...state, filter, at: 0 } });
  switch (key.kind) {
    case 'text':
      return narrowed(state.filter + key.text);
    case 'backspace':
      return narrowed([...state.filter].slice(0, -1).join(''));
    case 'clear':
      return narrowed('');
    case 'up':
      return to(state.at - 1);
    case 'down':
      return to(state.at + 1);
    case 'page-up':
      return to(state.at - page);
    case 'page-down':
      return to(state.at + page);
    case 'home':
      return to(0);
    case 'end':
      return to(last);
    case 'cancel':
      return { kind: 'cancelled' };
    case 'enter': {
      const chosen = found[state.at];
      return chosen === undefined ? { kind: 'state', state } : { kind: 'chosen', text: chosen.text };
    }
  }
}

/** Lines for the terminal, none wider than it; the selected one is marked. */
export function viewOf(state: ChooserState, rows: number, columns: number): string[] {
  const found = fitting(state);
  const page = listLines(rows);
  const top = Math.floor(state.at / page) * page;
  const list = found.slice(top, top + page).map(({ text, note }, index) => {
    const mark = top + index === state.at ? '>' : ' ';
    return `${mark} ${text.padEnd(40)} ${note}`;
  });
  const of = state.isComplete ? `${found.length}` : `${found.length} so far`;
  const pages = Math.max(1, Math.ceil(found.length / page));
  const foot =
    found.length === 0
      ? state.isComplete
        ? 'nothing fits; Esc leaves'
        : 'asking the cluster …'
      : `${of}, page ${Math.floor(state.at / page) + 1} of ${pages}; type to filter, ↑ ↓ PgUp PgDn, Enter chooses, Esc leaves`;
  const width = Math.max(10, columns - 1);
  return [state.title, `filter: ${state.filter}`, ...list, foot].map((line) => [...line].slice(0, width).join(''));
}

const SEQUENCES: Readonly<Record<string, Exclude<Key['kind'], 'text'>>> = {
  '[A': 'up',
  OA: 'up',
  '[B': 'down',
  OB: 'down',
  '[5~': 'page-up',
  '[6~': 'page-down',
  '[H': 'home',
  '[1~': 'home',
  OH: 'home',
  '[F': 'end',
  '[4~': 'end',
  OF: 'end',
};
const CONTROLS: Readonly<Record<string, Exclude<Key['kind'], 'text'>>> = {
  '\r': 'enter',
  '\n': 'enter',
  '\u007f': 'backspace',
  '\b': 'backspace',
  '\u0003': 'cancel',
  '\u0004': 'cancel',
  '\u0015': 'clear',
  '\u0010': 'up',
  '\u000e': 'down',
};

/**
 * What a terminal sends to keys (ECMA-48 and xterm). `rest` is an escape sequence that has not come whole: an Esc alone, when
 * nothing follows it.
 */
export function readKeys(input: string): { keys: Key[]; rest: string } {
  const keys: Key[] = [];
  for (let at = 0; at < input.length; ) {
    const char = input[at] ?? '';
    if (char === '\u001b') {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: an escape sequence begins with one
      const match = /^\u001b(\[[0-9;?]*[ -/]*[@-~]|O[A-Za-z])/.exec(input.slice(at));
      if (match === null && /^(\[[0-9;?]*|O?)$/.test(input.slice(at + 1))) return { keys, rest: input.slice(at) };
      const kind = match === null ? 'cancel' : SEQUENCES[match[1] ?? ''];
      if (kind !== undefined) keys.push({ kind });
      at += match?.[0].length ?? 1;
      continue;
    }
    const control = CONTROLS[char];
    if (control !== undefined) keys.push({ kind: control });
    else if (char >= ' ') keys.push({ kind: 'text', text: char });
    at += 1;
  }
  return { keys, rest: '' };
}
