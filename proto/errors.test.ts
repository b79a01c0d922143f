import { describe, expect, test } from 'vitest';
import { ERRNO } from './errno.ts';
import { AppError, type AppErrorCode, ERRORS, fromErrorDetail, GRPC_STATUS, toErrorDetail } from './errors.ts';
import { ErrorCode } from './gen/v1/error.ts';

const codes = Object.keys(ERRORS) as AppErrorCode[];

describe('the table', () => {
  test('has a row for every code of error.proto, and no other', () => {
    const names = Object.keys(ErrorCode)
      .filter((name) => name !== 'UNRECOGNIZED' && name !== 'ERROR_CODE_UNSPECIFIED')
      .map((name) => name.replace(/^ERROR_CODE_/, ''));
    expect(codes.toSorted()).toEqual(names.toSorted());
  });

  test.each(codes)('%s has a status, an errno and an exit code that exist', (code) => {
    const { status, errno, exitCode } = ERRORS[code];
    expect(GRPC_STATUS[status]).toBeGreaterThan(0);
    expect(ERRNO[errno]).toBeGreaterThan(0);
    expect(exitCode).toBeGreaterThan(0);
    expect(exitCode).toBeLessThan(256);
  });
});

describe('an error on the wire', () => {
  test.each(codes)('%s comes back as it went', (code) => {
    const error = new AppError(code, 'what happened', { errno: ERRNO.EROFS });
    const back = fromErrorDetail(toErrorDetail(error));
    expect([back.code, back.message, back.errno]).toEqual([code, 'what happened', ERRNO.EROFS]);
  });

  test('a code of a newer peer is a bug that keeps its number', () => {
    const back = fromErrorDetail({ code: 999 as ErrorCode, errno: 0, message: 'new' });
    expect([back.code, back.message]).toEqual(['BUG', 'error of unknown code 999: new']);
  });
});

describe('AppError.from', () => {
  test('passes an AppError as it is', () => {
    const error = new AppError('TARGET_GONE', 'gone');
    expect(AppError.from(error, 'BUG')).toBe(error);
  });

  test('keeps what was thrown as the cause, and the errno of a system error by number', () => {
    const thrown = Object.assign(new Error('nope'), { code: 'EACCES', errno: -13 });
    const error = AppError.from(thrown, 'FILE_FAILED');
    expect([error.code, error.message, error.errno, error.cause]).toEqual(['FILE_FAILED', 'nope', 13, thrown]);
  });

  test('takes anything that can be thrown', () => {
    expect(AppError.from('text', 'BUG').message).toBe('text');
    expect(AppError.from(undefined, 'BUG').message).toBe('undefined');
  });
});

test('the local process sees the errno of the target, else the one of the table', () => {
  expect(new AppError('FILE_FAILED', 'x', { errno: ERRNO.EDQUOT }).localErrno).toBe(ERRNO.EDQUOT);
  expect(new AppError('AGENT_LOST', 'x').localErrno).toBe(ERRNO.EIO);
});
