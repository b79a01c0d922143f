import { expect, test } from 'vitest';
import { Progress, type ProgressMode, parseProgressMode } from './progress.ts';

async function told(mode: ProgressMode, isTty: boolean, act: (progress: Progress) => Promise<void>): Promise<string> {
  let text = '';
  let nowMs = 0;
  const progress = new Progress({
    mode,
    isTty,
    write: (part) => {
      text += part;
    },
    now: () => {
      nowMs += 250;
      return nowMs;
    },
  });
  await act(progress);
  return text;
}

async function journey(progress: Progress): Promise<void> {
  await progress.step(
    'looking',
    async () => 7,
    (found) => `found ${found}`,
  );
  progress.warn('careful');
  progress.ready();
}

test('away from a terminal every step is one line with its time', async () => {
  expect(await told('standard', false, journey)).toBe('✓ found 7 (0.25 s)\nwarning: careful\nReady!\n');
});

test('simple lines carry no marks', async () => {
  expect(await told('simple', true, journey)).toBe('found 7 (0.25 s)\nwarning: careful\nReady!\n');
});

test('on a terminal the step under way is shown and replaced by its result', async () => {
  const text = await told('standard', true, journey);
  expect(text).toBe('  looking …\r\x1b[K✓ found 7 (0.25 s)\nwarning: careful\nReady!\n');
});

test('a warning in the midst of a step does not destroy its line', async () => {
  const text = await told('standard', true, async (progress) => {
    await progress.step('looking', async () => progress.warn('careful'));
  });
  expect(text).toBe('  looking …\r\x1b[Kwarning: careful\n  looking …\r\x1b[K✓ looking (0.25 s)\n');
});

test('a step that fails says so and passes the failure on', async () => {
  const fails = (progress: Progress) =>
    expect(progress.step('looking', () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  expect(await told('standard', false, fails)).toBe('✗ looking (0.25 s)\n');
  expect(await told('simple', false, fails)).toBe('looking failed (0.25 s)\n');
});

test('editors get one JSON object a line', async () => {
  const lines = (await told('json', true, journey)).trimEnd().split('\n');
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    { type: 'NewTask', name: 'mirrord exec' },
    { type: 'NewTask', name: 'looking', parent: 'mirrord exec' },
    { type: 'FinishedTask', name: 'looking', success: true, message: 'found 7' },
    { type: 'Warning', message: 'careful' },
    { type: 'FinishedTask', name: 'mirrord exec', success: true, message: 'Ready!' },
  ]);
});

test('off is silent', async () => {
  expect(await told('off', true, journey)).toBe('');
});

test('the modes have the names users know, and others are refused with theirs', () => {
  expect(parseProgressMode('std', '--progress')).toBe('standard');
  expect(parseProgressMode('dumb', '--progress')).toBe('simple');
  expect(() => parseProgressMode('loud', 'MIRRORD_PROGRESS_MODE')).toThrow(/MIRRORD_PROGRESS_MODE is "loud"/);
  expect(() => parseProgressMode('toString', '--progress')).toThrow();
});

test('a name of the target’s cannot command the terminal', async () => {
  const text = await told('standard', false, async (progress) =>
    progress.warn('variable A\u001b[2J\u009bB is left out'),
  );
  expect(text).toBe('warning: variable A\\u001b[2J\\u009bB is left out\n');
});
