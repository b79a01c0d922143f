// The one logger of a process: pino, JSON lines on stderr or in a file. Secrets are kept out by not passing them; the
// redaction here is the net under that.

import { type Logger, type LoggerOptions, pino } from 'pino';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Names under which a secret could stand, at the top of a record or one level below (pino's `redact` paths). */
const SECRET_NAMES = ['token', 'key', 'authorization', 'environment', 'env', 'password', 'head', 'data', 'content'];

export interface LoggerSettings {
  readonly logLevel: LogLevel;
  /** Appended to, made with mode 0600. null: stderr. */
  readonly logFile: string | null;
}

export function createLogger(service: string, settings: LoggerSettings): Logger {
  const options: LoggerOptions = {
    level: settings.logLevel,
    base: { service, pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    redact: { paths: SECRET_NAMES.flatMap((name) => [name, `*.${name}`]), censor: '[redacted]' },
    // An error's own fields may hold what a library put there; only these cross.
    serializers: { err: serializeError, cause: serializeError },
  };
  const destination = pino.destination({
    ...(settings.logFile === null ? { fd: 2 } : { dest: settings.logFile, mode: 0o600 }),
    sync: true,
  });
  return pino(options, destination);
}

function serializeError(value: unknown): unknown {
  if (!(value instanceof Error)) return value;
  const code = 'code' in value ? value.code : undefined;
  return { type: value.name, code, message: value.message, stack: value.stack };
}
