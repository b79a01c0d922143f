import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { AppError } from '#proto/errors.ts';
import { createLogger } from './logger.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'logger-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

function logged(
  write: (logger: ReturnType<typeof createLogger>) => void,
  logLevel: 'info' | 'silent' = 'info',
): string {
  const logFile = path.join(directory, 'log');
  write(createLogger('agent', { logLevel, logFile }));
  expect(statSync(logFile).mode & 0o777).toBe(0o600);
  return readFileSync(logFile, 'utf8');
}

test('a record is a line of JSON with the service and the fields', () => {
  const record = JSON.parse(logged((logger) => logger.info({ session: 's-1' }, 'session opened')));
  expect(record).toMatchObject({ service: 'agent', session: 's-1', msg: 'session opened', pid: process.pid });
});

test('levels below the one set are not written', () => {
  expect(logged((logger) => logger.debug('x'))).toBe('');
  expect(logged((logger) => logger.fatal('x'), 'silent')).toBe('');
});

test('what stands under the name of a secret is not written', () => {
  const text = logged((logger) =>
    logger.info({
      token: 'S3CRET',
      authorization: 'S3CRET',
      frame: { data: 'S3CRET', head: 'S3CRET' },
      env: { A: 'S3CRET' },
    }),
  );
  expect(text).not.toContain('S3CRET');
  expect(text).toContain('[redacted]');
});

test('of an error its code, message and stack are written, and nothing that hangs on it', () => {
  const error = new AppError('BUG', 'what happened', { data: { value: 'S3CRET' }, cause: { value: 'S3CRET' } });
  const text = logged((logger) => logger.error({ err: error }, 'failed'));
  expect(JSON.parse(text).err).toMatchObject({ type: 'AppError', code: 'BUG', message: 'what happened' });
  expect(text).not.toContain('S3CRET');
});
