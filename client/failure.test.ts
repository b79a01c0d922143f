import { expect, test } from 'vitest';
import { AppError, type AppErrorCode, ERRORS } from '#proto/errors.ts';
import { describeFailure } from './failure.ts';

test.each(Object.keys(ERRORS) as AppErrorCode[])('%s says what happened and whose move it is', (code) => {
  const { text, exitCode } = describeFailure(new AppError(code, 'the fact'), null);
  expect(text).toMatch(/^mirrord: the fact\n {2}whose move: \S/);
  expect(exitCode).toBe(ERRORS[code].exitCode);
  expect(text.endsWith('\n')).toBe(true);
});

test.each([
  ['CONFIG_INVALID', 2],
  ['TARGET_NOT_FOUND', 2],
  ['NOT_PERMITTED', 3],
  ['LIMIT_REACHED', 4],
  ['AGENT_LOST', 5],
  ['BUG', 70],
] as const)('%s ends the command with %i', (code, exitCode) => {
  expect(describeFailure(new AppError(code, 'x'), null).exitCode).toBe(exitCode);
});

test('the place of the log is told where the log says more', () => {
  expect(describeFailure(new AppError('AGENT_LOST', 'x'), '/l.log').text).toContain('log: /l.log');
  expect(describeFailure(new AppError('CONFIG_INVALID', 'x'), '/l.log').text).not.toContain('/l.log');
});

test('what was asked wrongly leads to the help of the command that was asked', () => {
  const error = new AppError('CONFIG_INVALID', 'x');
  expect(describeFailure(error, null, 'session').text).toContain('`mirrord session --help` lists the flags.');
  expect(describeFailure(error, null).text).toContain('`mirrord --help` lists the commands.');
});

test('an error may bring its own advice and exit code', () => {
  const error = new AppError('CONFIG_INVALID', 'x: command not found', {
    data: { exitCode: 127, advice: 'look here.' },
  });
  expect(describeFailure(error, null)).toEqual({
    text: 'mirrord: x: command not found\n  whose move: yours\n  what to do: look here.\n',
    exitCode: 127,
  });
});

test('what others say cannot command the terminal', () => {
  const { text } = describeFailure(new AppError('NOT_PERMITTED', 'no \u001b]0;title\u0007 \u009b2J\rhere'), null);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it is about
  expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
  expect(text).toContain('\\u001b]0;title');
});
