// What fs-env's answer to one kind of request must hold. An answer of another shape is the agent's fault and says so.

import { AppError } from '#proto/errors.ts';
import type { DirectoryPage, FileReply, FileStat, FileSystemStat } from '#proto/gen/v1/fs_env.ts';

export function expectOpened(reply: FileReply): { handle: number; stat: FileStat } {
  const value = reply.result?.$case === 'opened' ? reply.result.value : null;
  if (value?.stat === undefined) throw misfit('open', reply);
  return { handle: value.handle, stat: value.stat };
}

export function expectStat(reply: FileReply): FileStat {
  if (reply.result?.$case !== 'stat') throw misfit('stat', reply);
  return reply.result.value;
}

export function expectStatFs(reply: FileReply): FileSystemStat {
  if (reply.result?.$case !== 'statFs') throw misfit('stat_fs', reply);
  return reply.result.value;
}

export function expectDirectory(reply: FileReply): DirectoryPage {
  if (reply.result?.$case !== 'directory') throw misfit('read_dir', reply);
  return reply.result.value;
}

export function expectWritten(reply: FileReply): number {
  if (reply.result?.$case !== 'written') throw misfit('write', reply);
  return reply.result.value.bytes;
}

function misfit(asked: string, reply: FileReply): AppError {
  return new AppError('PROTOCOL_VIOLATION', `answer ${reply.result?.$case ?? 'without content'} to ${asked}`);
}
