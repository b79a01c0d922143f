// Calls on a path that feature.fs.mapping leads elsewhere on this machine. The supervisor can only let a call go on as it
// was made, so the client makes it in its place: same user, same machine, same kernel's answer.

import { type BigIntStats, promises as fs } from 'node:fs';
import { ERRNO, errnoNumber } from '#proto/errno.ts';
import { WireKind } from '#proto/wire.ts';
import type { WireStat } from '#proto/wire-body.ts';
import { replyReadLink, replyResult, replyStat, replyStatFs } from '#proto/wire-client.ts';
import type { PathQuestion } from './files.ts';
import type { Question } from './link.ts';
import { type Attributes, attributesOf } from './set-attributes.ts';

type PairQuestion = Extract<Question, { from: Buffer }>;
type MappedQuestion = Exclude<PathQuestion, { kind: typeof WireKind.OPEN | typeof WireKind.DECIDE }>;

const AT_SYMLINK_NOFOLLOW = 0x100;

export function answerMapped(id: bigint, question: MappedQuestion, path: Buffer): Promise<Buffer[]> {
  return orErrno(id, () => act(id, question, path));
}

export function answerMappedPair(id: bigint, question: PairQuestion, from: Buffer, to: Buffer): Promise<Buffer[]> {
  return orErrno(id, async () => {
    // Node has no renameat2: a flag that must not be ignored is refused.
    if (question.flags !== 0) return replyResult(id, -ERRNO.EINVAL);
    await (question.kind === WireKind.RENAME ? fs.rename(from, to) : fs.link(from, to));
    return replyResult(id, 0);
  });
}

async function act(id: bigint, question: MappedQuestion, path: Buffer): Promise<Buffer[]> {
  switch (question.kind) {
    case WireKind.STAT:
      return replyStat(id, await statOf(path, (question.flags & AT_SYMLINK_NOFOLLOW) !== 0));
    case WireKind.ACCESS:
      await fs.access(path, question.mode);
      return replyResult(id, 0);
    case WireKind.READLINK:
      return replyReadLink(id, await fs.readlink(path, { encoding: 'buffer' }));
    case WireKind.STATFS:
      return replyStatFs(id, await statFsOf(path));
    case WireKind.SETATTR: {
      const noFollow = (question.flags & AT_SYMLINK_NOFOLLOW) !== 0;
      await setAttributes(path, noFollow, attributesOf(question.set));
      return replyStat(id, await statOf(path, noFollow));
    }
    default:
      await change(question, path);
      return replyResult(id, 0);
  }
}

async function change(question: MappedQuestion, path: Buffer): Promise<void> {
  if (question.kind === WireKind.MKDIR) await fs.mkdir(path, question.mode);
  else if (question.kind === WireKind.RMDIR) await fs.rmdir(path);
  else if (question.kind === WireKind.UNLINK) await fs.unlink(path);
  else if (question.kind === WireKind.SYMLINK) await fs.symlink(question.target, path);
}

async function statOf(path: Buffer, noFollow: boolean): Promise<WireStat> {
  const stat: BigIntStats = await (noFollow ? fs.lstat : fs.stat)(path, { bigint: true });
  return {
    device: stat.dev,
    inode: stat.ino,
    mode: Number(stat.mode),
    links: Number(stat.nlink),
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    specialDevice: stat.rdev,
    size: stat.size,
    blockSize: Number(stat.blksize),
    blocks: stat.blocks,
    accessedNs: stat.atimeNs,
    modifiedNs: stat.mtimeNs,
    changedNs: stat.ctimeNs,
    bornNs: stat.birthtimeNs,
  };
}

async function statFsOf(path: Buffer) {
  const { type, bsize, blocks, bfree, bavail, files, ffree } = await fs.statfs(path, { bigint: true });
  const size = { type, blockSize: bsize, blocks, blocksFree: bfree, blocksAvailable: bavail, files, filesFree: ffree };
  // Node does not tell the rest; these are what every Linux file system of today says.
  return { ...size, id: 0n, nameLength: 255, fragmentSize: bsize, flags: 0n };
}

async function setAttributes(path: Buffer, noFollow: boolean, attributes: Attributes): Promise<void> {
  const { mode, uid, gid, size, accessed, modified } = attributes;
  if (mode !== undefined) await fs.chmod(path, mode);
  if (uid !== undefined || gid !== undefined) {
    const current = await (noFollow ? fs.lstat : fs.stat)(path);
    await (noFollow ? fs.lchown : fs.chown)(path, uid ?? current.uid, gid ?? current.gid);
  }
  if (size !== undefined) await fs.truncate(path, Number(size));
  if (accessed === undefined && modified === undefined) return;
  const current = await (noFollow ? fs.lstat : fs.stat)(path);
  const times = [secondsOf(accessed, current.atimeMs), secondsOf(modified, current.mtimeMs)] as const;
  await (noFollow ? fs.lutimes : fs.utimes)(path, ...times);
}

function secondsOf(time: Attributes['accessed'], currentMs: number): number {
  if (time?.when === undefined) return currentMs / 1000;
  return time.when.$case === 'now' ? Date.now() / 1000 : Number(time.when.value) / 1e9;
}

async function orErrno(id: bigint, act: () => Promise<Buffer[]>): Promise<Buffer[]> {
  try {
    return await act();
  } catch (error) {
    const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
    return replyResult(id, -(errnoNumber(code) || ERRNO.EIO));
  }
}
