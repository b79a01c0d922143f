// The one table of everything that can go wrong across a border, and the one class that carries it. Status, errno and
// exit code are looked up here and nowhere else; proto/v1/error.proto holds the same names for the wire.

import { ERRNO, type ErrnoName, errnoNumber } from './errno.ts';
import { ErrorCode, type ErrorDetail } from './gen/v1/error.ts';

/** Who can do something about it; decides what the CLI advises. */
export type Move = 'user' | 'target' | 'cluster' | 'admin' | 'us';

/** Names and numbers of gRPC statuses in use (grpc.io "Status codes"). */
export const GRPC_STATUS = {
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  UNAUTHENTICATED: 16,
} as const;

export type GrpcStatusName = keyof typeof GRPC_STATUS;

export interface ErrorRow {
  readonly status: GrpcStatusName;
  /** What the local process sees when the error carries no errno of its own. */
  readonly errno: ErrnoName;
  readonly move: Move;
  /** Of the CLI, when the error ends it. */
  readonly exitCode: number;
}

/** Codes are never used again for something else; the test holds them against error.proto. */
export const ERRORS = {
  TARGET_NOT_FOUND: { status: 'NOT_FOUND', errno: 'ESRCH', move: 'user', exitCode: 2 },
  TARGET_GONE: { status: 'FAILED_PRECONDITION', errno: 'EIO', move: 'target', exitCode: 5 },
  UNAUTHENTICATED: { status: 'UNAUTHENTICATED', errno: 'EACCES', move: 'user', exitCode: 3 },
  NOT_PERMITTED: { status: 'PERMISSION_DENIED', errno: 'EACCES', move: 'admin', exitCode: 3 },
  CONFIG_INVALID: { status: 'INVALID_ARGUMENT', errno: 'EINVAL', move: 'user', exitCode: 2 },
  FILE_FAILED: { status: 'UNKNOWN', errno: 'EIO', move: 'target', exitCode: 1 },
  LIMIT_REACHED: { status: 'RESOURCE_EXHAUSTED', errno: 'EMFILE', move: 'user', exitCode: 4 },
  DEADLINE_EXCEEDED: { status: 'DEADLINE_EXCEEDED', errno: 'ETIMEDOUT', move: 'cluster', exitCode: 5 },
  AGENT_LOST: { status: 'UNAVAILABLE', errno: 'EIO', move: 'cluster', exitCode: 5 },
  SERVICE_UNAVAILABLE: { status: 'UNAVAILABLE', errno: 'EIO', move: 'cluster', exitCode: 5 },
  UNSUPPORTED: { status: 'UNIMPLEMENTED', errno: 'EOPNOTSUPP', move: 'us', exitCode: 4 },
  PROTOCOL_VIOLATION: { status: 'INTERNAL', errno: 'EPROTO', move: 'us', exitCode: 70 },
  BUG: { status: 'INTERNAL', errno: 'EIO', move: 'us', exitCode: 70 },
  CONNECTION_FAILED: { status: 'UNAVAILABLE', errno: 'ECONNRESET', move: 'target', exitCode: 1 },
  CANCELLED: { status: 'CANCELLED', errno: 'ECANCELED', move: 'user', exitCode: 130 },
} as const satisfies Record<string, ErrorRow>;

export type AppErrorCode = keyof typeof ERRORS;

export interface AppErrorOptions {
  cause?: unknown;
  /** Linux x86-64 number of the system call's answer; 0 where none failed. */
  errno?: number;
  /** Facts for the one who handles it; never logged as a whole. */
  data?: Readonly<Record<string, unknown>> | null;
}

export class AppError extends Error {
  override readonly name = 'AppError';
  readonly code: AppErrorCode;
  readonly errno: number;
  readonly data: Readonly<Record<string, unknown>> | null;

  /** `message` is a lower-case fact that names the value and the place, and no secret, payload or file content. */
  constructor(code: AppErrorCode, message: string, options: AppErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.errno = options.errno ?? 0;
    this.data = options.data ?? null;
  }

  /**
   * For each border: an AppError passes as it is, anything else gets `code` and is kept as the cause. The errno of a
   * Node system error (`code: 'ENOENT'`) is kept by number.
   */
  static from(thrown: unknown, code: AppErrorCode): AppError {
    if (thrown instanceof AppError) return thrown;
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    return new AppError(code, message, { cause: thrown, errno: systemErrno(thrown) });
  }

  get row(): ErrorRow {
    return ERRORS[this.code];
  }

  /** errno for the local process: the target kernel's own where a system call failed, else the table's. */
  get localErrno(): number {
    return this.errno === 0 ? ERRNO[this.row.errno] : this.errno;
  }
}

const NAME_BY_NUMBER = new Map<number, AppErrorCode>(
  (Object.keys(ERRORS) as AppErrorCode[]).map((name) => [ErrorCode[`ERROR_CODE_${name}`], name]),
);

export function toErrorDetail(error: AppError): ErrorDetail {
  return { code: ErrorCode[`ERROR_CODE_${error.code}`], errno: error.errno, message: error.message };
}

/** A code of a newer peer that we do not know becomes BUG and keeps its number in the message. */
export function fromErrorDetail(detail: ErrorDetail): AppError {
  const code = NAME_BY_NUMBER.get(detail.code);
  if (code !== undefined) return new AppError(code, detail.message, { errno: detail.errno });
  return new AppError('BUG', `error of unknown code ${detail.code}: ${detail.message}`, { errno: detail.errno });
}

function systemErrno(thrown: unknown): number {
  if (!(thrown instanceof Error) || !('code' in thrown) || typeof thrown.code !== 'string') return 0;
  return errnoNumber(thrown.code);
}
