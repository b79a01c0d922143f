import { expect, test } from 'vitest';
import {
  addChoices,
  type ChooserState,
  fitting,
  MAX_CHOICES,
  press,
  readKeys,
  startChooser,
  viewOf,
} from './chooser-state.ts';

const choices = (count: number) => Array.from({ length: count }, (_, at) => ({ text: `pod/web-${at}`, note: 'ready' }));
const listing = (count: number) => ({ ...addChoices(startChooser('Which?'), choices(count)), isComplete: true });

function type(state: ChooserState, input: string, rows = 24) {
  let current = state;
  for (const key of readKeys(input).keys) {
    const step = press(current, key, rows);
    if (step.kind !== 'state') return step;
    current = step.state;
  }
  return { kind: 'state', state: current } as const;
}

test('what is typed narrows the list, word by word, and Enter takes the first that fits', () => {
  const state = addChoices(listing(30), [{ text: 'deployment/Web-shop', note: '' }]);
  expect(type(state, 'shop web\r')).toEqual({ kind: 'chosen', text: 'deployment/Web-shop' });
  expect(type(state, 'xx\u007f\u007fweb-7\r')).toEqual({ kind: 'chosen', text: 'pod/web-7' });
  expect(type(state, 'xx\u0015\r')).toEqual({ kind: 'chosen', text: 'pod/web-0' });
});

test.each([
  ['\x1b[B\x1b[B', 2],
  ['\x1bOB\x1bOA', 0],
  ['\x1b[6~', 15],
  ['\x1b[6~\x1b[6~\x1b[6~', 39],
  ['\x1b[6~\x1b[5~', 0],
  ['\x1b[F', 39],
  ['\x1b[4~\x1b[H', 0],
  ['\u000e\u000e\u0010', 1],
  ['\x1b[1;5C\x1b[B', 1],
])('%j moves to %i, and never beyond the ends', (keys, at) => {
  expect(type(listing(40), `${keys}\r`)).toEqual({ kind: 'chosen', text: `pod/web-${at}` });
});

test.each(['\u0003', '\u0004', '\x1bx'])('%j leaves', (keys) => {
  expect(type(listing(3), keys)).toEqual({ kind: 'cancelled' });
});

test('Enter on an empty list waits for the list', () => {
  expect(type(startChooser('Which?'), '\r').kind).toBe('state');
});

test('a sequence that came in pieces is put together; an Esc alone is told apart by its caller', () => {
  for (const part of ['\x1b', '\x1b[', '\x1b[5', '\x1bO']) expect(readKeys(`a${part}`)).toMatchObject({ rest: part });
  expect(readKeys('\x1b[5~').keys).toEqual([{ kind: 'page-up' }]);
});

test('the view fits the terminal, marks what is chosen and tells the page', () => {
  const moved = type(listing(40), '\x1b[6~\x1b[B', 10);
  const lines = viewOf(moved.kind === 'state' ? moved.state : startChooser(''), 10, 60);
  expect(lines.length).toBe(9);
  for (const line of lines) expect([...line].length).toBeLessThan(60);
  expect(lines.filter((line) => line.startsWith('>'))).toEqual([expect.stringContaining('pod/web-7 ')]);
  expect(lines.at(-1)).toContain('40, page 2 of 7');
  expect(viewOf(startChooser('Which?'), 24, 80).at(-1)).toBe('asking the cluster …');
});

test('a list without end is cut', () => {
  const state = addChoices(addChoices(startChooser(''), choices(MAX_CHOICES)), choices(5));
  expect(fitting(state).length).toBe(MAX_CHOICES);
});
