// Answers the supervisor's questions about open files: reads with read-ahead, writes in the pieces the session carries,
// listings that fill the stat cache. A handle that is not open is EBADF without asking the target.

import { ERRNO } from '#proto/errno.ts';
import { dataBytes, dataPieces, MAX_DATA_BYTES } from '#proto/frame.ts';
import type { DirectoryEntry } from '#proto/gen/v1/fs_env.ts';
import { encodeFrame, WireKind } from '#proto/wire.ts';
import { replyReadDir, replyResult, replyStat, replyStatFs } from '#proto/wire-client.ts';
import type { FileOperation, FileSession } from '../session.ts';
import type { KernelAnswers } from './kernel-answers.ts';
import type { Question } from './link.ts';
import type { OpenFile, OpenFiles } from './open-files.ts';
import type { Fetched, ReadResult } from './read-ahead.ts';
import { expectDirectory, expectStat, expectStatFs, expectWritten } from './replies.ts';
import { attributesOf } from './set-attributes.ts';
import type { StatCache } from './stat-cache.ts';
import type { StreamReader } from './stream-reader.ts';

export type HandleQuestion = Extract<Question, { handle: number }>;
type Asked<Kind> = Extract<Question, { kind: Kind }>;
type ReadQuestion = Asked<typeof WireKind.READ> | Asked<typeof WireKind.READ_FOR>;

/** Of one ReadDir (fs_env.proto). */
const MAX_ENTRIES = 1_000;
/** Of one READ of the supervisor; FUSE asks for 1 MiB at most (FUSE_MAX_MAX_PAGES of Linux 4.20). */
const MAX_READ_BYTES = 1024 * 1024;

export class HandleQuestions {
  readonly #session: FileSession;
  readonly #openFiles: OpenFiles;
  readonly #stats: StatCache;
  /** Where READ_FOR is answered. */
  readonly #kernel: KernelAnswers | null;

  constructor(session: FileSession, openFiles: OpenFiles, stats: StatCache, kernel: KernelAnswers | null) {
    this.#session = session;
    this.#openFiles = openFiles;
    this.#stats = stats;
    this.#kernel = kernel;
  }

  answer(id: bigint, question: HandleQuestion, signal: AbortSignal): Promise<Buffer[]> | Buffer[] {
    const file = this.#openFiles.get(question.handle);
    if (file === null) return replyResult(id, -ERRNO.EBADF);
    switch (question.kind) {
      case WireKind.READ:
      case WireKind.READ_FOR:
        return file.stream === null
          ? this.#read(id, file, question)
          : this.#readStream(id, file.stream, question, signal);
      case WireKind.WRITE:
        return this.#write(id, file, question);
      case WireKind.FSTAT:
        return this.#stat(id, file);
      case WireKind.FSETATTR:
        return this.#setAttributes(id, file, question);
      case WireKind.FSYNC:
        return this.#sync(id, file, question);
      case WireKind.READDIR:
        return this.#readDir(id, file, question);
      case WireKind.FSTATFS:
        return this.#statFs(id, file);
    }
  }

  async fetch(handle: number, offset: number, length: number, hasNoDeadline = false): Promise<Fetched> {
    const value = { handle, offset: BigInt(offset), length };
    const answer = await this.#session.request({ $case: 'read', value }, { hasNoDeadline });
    return {
      ...{ errno: answer.reply.errno, pieces: dataPieces(answer), bytes: dataBytes(answer) },
      giveBack: () => answer.giveBack?.(),
    };
  }

  async #read(id: bigint, file: OpenFile, question: ReadQuestion): Promise<Buffer[]> {
    const length = Math.min(question.length, MAX_READ_BYTES);
    // Offsets beyond what a double can count are those of /proc/PID/mem: never read in order.
    if (question.offset > BigInt(Number.MAX_SAFE_INTEGER - length)) return this.#readFar(id, file, question);
    return this.#replyRead(id, question, await file.reader.read(Number(question.offset), length));
  }

  async #readStream(id: bigint, stream: StreamReader, question: ReadQuestion, signal: AbortSignal): Promise<Buffer[]> {
    return this.#replyRead(id, question, await stream.read(question.length, signal));
  }

  #replyRead(id: bigint, question: ReadQuestion, { errno, chunks, bytes, giveBack }: ReadResult): Buffer[] {
    if (errno !== 0) return replyResult(id, -errno);
    const isGiven =
      question.kind === WireKind.READ_FOR && bytes > 0 && this.#kernel?.give(question.unique, bytes, chunks) === true;
    if (!isGiven) return replyChunks(id, bytes, chunks);
    // The kernel has its copy.
    giveBack?.();
    return replyResult(id, bytes);
  }

  async #readFar(id: bigint, file: OpenFile, question: ReadQuestion): Promise<Buffer[]> {
    const length = Math.min(question.length, MAX_DATA_BYTES);
    const value = { handle: file.handle, offset: question.offset, length };
    const { reply, data } = await this.#session.request({ $case: 'read', value });
    return reply.errno !== 0 ? replyResult(id, -reply.errno) : replyChunks(id, data.length, [data]);
  }

  async #write(id: bigint, file: OpenFile, question: Asked<typeof WireKind.WRITE>): Promise<Buffer[]> {
    this.#fileChanged(file);
    let written = 0;
    let errno = 0;
    try {
      while (written < question.data.length || question.data.length === 0) {
        const data = question.data.subarray(written, written + MAX_DATA_BYTES);
        const value = { handle: file.handle, offset: question.offset + BigInt(written) };
        await this.#session.drained();
        const hasNoDeadline = file.stream !== null;
        const { reply } = await this.#session.request({ $case: 'write', value }, { data, hasNoDeadline });
        errno = reply.errno;
        if (errno !== 0) break;
        const bytes = expectWritten(reply);
        written += bytes;
        if (bytes < data.length || question.data.length === 0) break;
      }
    } finally {
      this.#fileChanged(file);
    }
    return replyResult(id, written > 0 || errno === 0 ? written : -errno);
  }

  async #stat(id: bigint, file: OpenFile): Promise<Buffer[]> {
    const of = { $case: 'handle' as const, value: file.handle };
    const { reply } = await this.#session.request({ $case: 'stat', value: { of, noFollow: false } });
    if (reply.errno !== 0) return replyResult(id, -reply.errno);
    const stat = expectStat(reply);
    this.#openFiles.seen(stat);
    return replyStat(id, stat);
  }

  async #setAttributes(id: bigint, file: OpenFile, question: Asked<typeof WireKind.FSETATTR>): Promise<Buffer[]> {
    const of = { $case: 'handle' as const, value: file.handle };
    const operation: FileOperation = {
      $case: 'setAttributes',
      value: { of, noFollow: false, ...attributesOf(question.set) },
    };
    this.#fileChanged(file);
    try {
      const { reply } = await this.#session.request(operation);
      return reply.errno !== 0 ? replyResult(id, -reply.errno) : replyStat(id, expectStat(reply));
    } finally {
      this.#fileChanged(file);
    }
  }

  async #sync(id: bigint, file: OpenFile, question: Asked<typeof WireKind.FSYNC>): Promise<Buffer[]> {
    const value = { handle: file.handle, dataOnly: question.isDataOnly };
    const { reply } = await this.#session.request({ $case: 'sync', value });
    return replyResult(id, -reply.errno);
  }

  async #readDir(id: bigint, file: OpenFile, question: Asked<typeof WireKind.READDIR>): Promise<Buffer[]> {
    const changes = this.#stats.changes;
    const entries = Math.max(1, Math.min(question.entries, MAX_ENTRIES));
    const value = { handle: file.handle, cookie: question.cookie, entries };
    const { reply } = await this.#session.request({ $case: 'readDir', value });
    if (reply.errno !== 0) return replyResult(id, -reply.errno);
    const page = expectDirectory(reply);
    this.#stats.fill(file.path, page.entries, changes);
    return replyReadDir(id, { ...page, entries: page.entries.map(named) });
  }

  async #statFs(id: bigint, file: OpenFile): Promise<Buffer[]> {
    const of = { $case: 'handle' as const, value: file.handle };
    const { reply } = await this.#session.request({ $case: 'statFs', value: { of } });
    return reply.errno !== 0 ? replyResult(id, -reply.errno) : replyStatFs(id, expectStatFs(reply));
  }

  /** The file may have other names and other handles: all that is known of it is void. */
  #fileChanged(file: OpenFile): void {
    this.#stats.forgetAll();
    this.#openFiles.changed(file.identity);
  }
}

/** Inode and type come with the stat where there is one; a listing without an inode is an empty one to glibc. */
function named(entry: DirectoryEntry): DirectoryEntry {
  const { stat } = entry;
  return stat === undefined ? entry : { ...entry, inode: stat.inode, type: (stat.mode >> 12) & 0o17 };
}

/** As replyRead, without joining the pieces of a read first. */
function replyChunks(id: bigint, result: number, chunks: Uint8Array[]): Buffer[] {
  const head = Buffer.allocUnsafe(4);
  head.writeInt32LE(result, 0);
  return encodeFrame(WireKind.REPLY, id, head, ...chunks);
}
