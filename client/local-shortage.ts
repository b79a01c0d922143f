// What this machine lacks or forbids before anything runs: for its user to change, and no fault of ours.

import { statfsSync } from 'node:fs';
import { AppError, type AppErrorCode } from '#proto/errors.ts';

const FOLDER = 'set TMPDIR to a folder that is there and that you may write to.';
const ROOM = 'make room there, or set TMPDIR to a folder that has some.';
type Advice = Readonly<Record<string, readonly [AppErrorCode, string]>>;

const OF_FOLDERS: Advice = {
  ENOENT: ['CONFIG_INVALID', FOLDER],
  ENOTDIR: ['CONFIG_INVALID', FOLDER],
  EROFS: ['CONFIG_INVALID', FOLDER],
  EACCES: ['CONFIG_INVALID', FOLDER],
};
const OF_ALL: Advice = {
  ENOSPC: ['LIMIT_REACHED', ROOM],
  EDQUOT: ['LIMIT_REACHED', ROOM],
  EMFILE: ['LIMIT_REACHED', 'raise the limit of open files of this shell: ulimit -n 1024.'],
  ENFILE: ['LIMIT_REACHED', 'this machine has no open file left: end programs, or raise fs.file-max (sysctl).'],
  EAGAIN: ['LIMIT_REACHED', 'raise the limit of processes of this shell (ulimit -u), or end some.'],
  ENOMEM: [
    'LIMIT_REACHED',
    'this machine, or the cgroup of this shell, has no memory left: end programs, or raise the limit.',
  ],
};

/** What an agent's services write before they are ready: sockets, a log, the configuration of nats-server. */
const LEAST_ROOM_BYTES = 256 * 1024;

/** @param what could not be done. @param inFolder it was to be in the folder for what is temporary */
export function shortage(what: string, cause: unknown, { inFolder }: Readonly<{ inFolder: boolean }>): AppError {
  const advice: Advice = inFolder ? { ...OF_FOLDERS, ...OF_ALL } : OF_ALL;
  const { code, message } = Object(cause) as { code?: unknown; message?: unknown };
  const known = typeof code === 'string' && Object.hasOwn(advice, code) ? advice[code] : undefined;
  const text = `${what}: ${message}`;
  if (known === undefined) return new AppError('BUG', text, { cause });
  return new AppError(known[0], text, { cause, data: { advice: known[1] } });
}

/** Why what was started in a folder has ended before it could say so: null where there was room. */
export function withoutRoom(folder: string, cause: AppError, leastBytes = LEAST_ROOM_BYTES): AppError | null {
  const { bavail, bsize } = statfsSync(folder);
  const left = bavail * bsize;
  if (left >= leastBytes) return null;
  return new AppError('LIMIT_REACHED', `${cause.message}: only ${left} bytes are left in ${folder}`, {
    cause,
    data: { advice: ROOM },
  });
}
