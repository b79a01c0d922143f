// Answers the supervisor's questions about paths: decides where each leads and asks the target, this machine (a mapped
// path) or nobody. Questions about what is open are handles.ts'.

import { ERRNO } from '#proto/errno.ts';
import { RuleVerdict, WIRE_LOCAL, WireKind } from '#proto/wire.ts';
import {
  replyDecide,
  replyOpenedHandle,
  replyOpenedInline,
  replyOpenedMapped,
  replyReadLink,
  replyResult,
  replyStat,
  replyStatFs,
} from '#proto/wire-client.ts';
import type { FileOperation, FileSession } from '../session.ts';
import { HandleQuestions } from './handles.ts';
import type { KernelAnswers } from './kernel-answers.ts';
import type { Question } from './link.ts';
import { answerMapped, answerMappedPair } from './mapped.ts';
import { OpenFiles } from './open-files.ts';
import { commonPlace, isWriteAccess, isWriteOpen, type PathRules, placeOf } from './paths.ts';
import { ReadAheadBudget } from './read-ahead.ts';
import { expectOpened, expectStat, expectStatFs } from './replies.ts';
import { attributesOf } from './set-attributes.ts';
import { StatCache } from './stat-cache.ts';

type PairQuestion = Extract<Question, { from: Buffer }>;
type HandleQuestion = Extract<Question, { handle: number }>;
export type PathQuestion = Exclude<Question, PairQuestion | HandleQuestion>;

export interface FilesOptions {
  session: FileSession;
  rules: PathRules;
  /** Small read-only files come whole with their open up to this size; 0: never. At most 256 KiB. */
  inlineBytes: number;
  /** Where reads are answered when the supervisor asks for it; closed with us. */
  kernel?: KernelAnswers | null;
}

const O_DIRECTORY = 0o200000;
const AT_SYMLINK_NOFOLLOW = 0x100;

export class Files {
  readonly #session: FileSession;
  readonly #rules: PathRules;
  readonly #inlineBytes: number;
  readonly #openFiles = new OpenFiles(new ReadAheadBudget());
  readonly #stats = new StatCache();
  readonly #handles: HandleQuestions;
  readonly kernel: KernelAnswers | null;

  constructor(options: FilesOptions) {
    this.#session = options.session;
    this.#rules = options.rules;
    this.#inlineBytes = options.inlineBytes;
    this.#handles = new HandleQuestions(options.session, this.#openFiles, this.#stats, options.kernel ?? null);
    this.kernel = options.kernel ?? null;
  }

  get openFiles(): number {
    return this.#openFiles.size;
  }

  /** Rejects with the AppError of the session; what the target's kernel says is an answer. */
  answer(id: bigint, question: Question, signal: AbortSignal): Promise<Buffer[]> | Buffer[] {
    if ('handle' in question) {
      if (question.kind === WireKind.FSETATTR && !this.#mayChange(question.handle))
        return replyResult(id, -ERRNO.EROFS);
      return this.#handles.answer(id, question, signal);
    }
    if ('from' in question) return this.#answerPair(id, question);
    return this.#answerPath(id, question, signal);
  }

  release(handle: number): void {
    if (this.#openFiles.remove(handle) !== null) this.#session.tell({ $case: 'close', value: { handle } });
  }

  close(): void {
    this.kernel?.close();
  }

  /** chmod and utimens of a descriptor need no permission to write, but the rules' leave. */
  #mayChange(handle: number): boolean {
    const file = this.#openFiles.get(handle);
    return file === null || placeOf(this.#rules, file.path, true).kind === 'remote';
  }

  #answerPath(id: bigint, question: PathQuestion, signal: AbortSignal): Promise<Buffer[]> | Buffer[] {
    const place = placeOf(this.#rules, question.path, isWrite(question));
    if (question.kind === WireKind.DECIDE) return answerDecide(id, place);
    if (place.kind === 'error') return replyResult(id, -place.errno);
    if (place.kind === 'remote') return this.#ask(id, question, place.path, signal);
    if (!place.isMapped) return replyResult(id, WIRE_LOCAL);
    return question.kind === WireKind.OPEN ? replyOpenedMapped(id, place.path) : answerMapped(id, question, place.path);
  }

  #answerPair(id: bigint, question: PairQuestion): Promise<Buffer[]> | Buffer[] {
    const from = placeOf(this.#rules, question.from, question.kind === WireKind.RENAME);
    const to = placeOf(this.#rules, question.to, true);
    const common = commonPlace(from, to);
    if (typeof common === 'object') return replyResult(id, -common.errno);
    if (from.kind === 'error' || to.kind === 'error') return replyResult(id, -ERRNO.ENOENT);
    if (common === 'remote') return this.#changePair(id, question, from.path, to.path);
    const isMapped = (from.kind === 'local' && from.isMapped) || (to.kind === 'local' && to.isMapped);
    return isMapped ? answerMappedPair(id, question, from.path, to.path) : replyResult(id, WIRE_LOCAL);
  }

  async #changePair(id: bigint, question: PairQuestion, from: Buffer, to: Buffer): Promise<Buffer[]> {
    const { flags } = question;
    const value = { from, to, flags };
    const operation: FileOperation =
      question.kind === WireKind.RENAME ? { $case: 'rename', value } : { $case: 'link', value };
    // A renamed directory takes the names below it along.
    const { reply } = await this.#changing(operation, () => this.#stats.forgetAll());
    return replyResult(id, -reply.errno);
  }

  #ask(id: bigint, question: PathQuestion, path: Buffer, signal: AbortSignal): Promise<Buffer[]> | Buffer[] {
    switch (question.kind) {
      case WireKind.OPEN:
        return this.#open(id, question, path, signal);
      case WireKind.STAT:
        return this.#stat(id, question, path, signal);
      case WireKind.ACCESS:
        return this.#result(
          id,
          { $case: 'access', value: { path, mode: question.mode, flags: question.flags } },
          signal,
        );
      case WireKind.READLINK:
        return this.#readLink(id, path, signal);
      case WireKind.STATFS:
        return this.#statFs(id, path, signal);
      case WireKind.MKDIR:
        return this.#change(id, { $case: 'makeDir', value: { path, mode: question.mode } });
      case WireKind.RMDIR:
        return this.#change(id, { $case: 'removeDir', value: { path } });
      case WireKind.UNLINK:
        return this.#change(id, { $case: 'unlink', value: { path } });
      case WireKind.SYMLINK:
        return this.#change(id, { $case: 'symlink', value: { target: question.target, path } });
      case WireKind.SETATTR:
        return this.#setAttributes(id, question, path);
      default:
        return replyResult(id, -ERRNO.ENOSYS);
    }
  }

  async #open(
    id: bigint,
    question: Extract<Question, { kind: typeof WireKind.OPEN }>,
    path: Buffer,
    signal: AbortSignal,
  ): Promise<Buffer[]> {
    const { flags, mode } = question;
    const inlineBytes = isWriteOpen(flags) || (flags & O_DIRECTORY) !== 0 ? 0 : this.#inlineBytes;
    // What the local process may rename, unlink and write while it has it open is known by more than its name.
    const keepOpen = inlineBytes > 0 && placeOf(this.#rules, question.path, true).kind === 'remote';
    const operation: FileOperation = { $case: 'open', value: { path, flags, mode, inlineBytes, keepOpen } };
    const { reply, data } = isWriteOpen(flags)
      ? await this.#changing(operation, () => this.#stats.forgetAll(), signal)
      : await this.#session.request(operation, { signal });
    if (reply.errno !== 0) return replyResult(id, -reply.errno);
    const { handle, stat } = expectOpened(reply);
    if (handle === 0) return replyOpenedInline(id, stat, data);
    const fetch = (offset: number, length: number) => this.#handles.fetch(handle, offset, length);
    const fetchStream = (offset: number, length: number) => this.#handles.fetch(handle, offset, length, true);
    const file = this.#openFiles.add(handle, path, flags, stat, fetch, fetchStream);
    if (isWriteOpen(flags)) this.#openFiles.changed(file.identity);
    if (data.length > 0) file.reader.offer(data);
    return replyOpenedHandle(id, handle, stat);
  }

  async #stat(
    id: bigint,
    question: Extract<Question, { kind: typeof WireKind.STAT }>,
    path: Buffer,
    signal: AbortSignal,
  ): Promise<Buffer[]> {
    const noFollow = (question.flags & AT_SYMLINK_NOFOLLOW) !== 0;
    const known = this.#stats.find(path, !noFollow);
    if (known !== null) return replyStat(id, known);
    const of = { $case: 'path' as const, value: path };
    const { reply } = await this.#session.request({ $case: 'stat', value: { of, noFollow } }, { signal });
    if (reply.errno !== 0) return replyResult(id, -reply.errno);
    const stat = expectStat(reply);
    this.#openFiles.seen(stat);
    return replyStat(id, stat);
  }

  async #readLink(id: bigint, path: Buffer, signal: AbortSignal): Promise<Buffer[]> {
    const { reply, data } = await this.#session.request({ $case: 'readLink', value: { path } }, { signal });
    return reply.errno !== 0 ? replyResult(id, -reply.errno) : replyReadLink(id, data);
  }

  async #statFs(id: bigint, path: Buffer, signal: AbortSignal): Promise<Buffer[]> {
    const of = { $case: 'path' as const, value: path };
    const { reply } = await this.#session.request({ $case: 'statFs', value: { of } }, { signal });
    if (reply.errno !== 0) return replyResult(id, -reply.errno);
    return replyStatFs(id, expectStatFs(reply));
  }

  async #setAttributes(
    id: bigint,
    question: Extract<Question, { kind: typeof WireKind.SETATTR }>,
    path: Buffer,
  ): Promise<Buffer[]> {
    const noFollow = (question.flags & AT_SYMLINK_NOFOLLOW) !== 0;
    const value = { of: { $case: 'path' as const, value: path }, noFollow, ...attributesOf(question.set) };
    // Through a link the name that changes is another one.
    const changed = () => {
      this.#stats.forgetAll();
      this.#openFiles.allChanged();
    };
    const { reply } = await this.#changing({ $case: 'setAttributes', value }, changed);
    return reply.errno !== 0 ? replyResult(id, -reply.errno) : replyStat(id, expectStat(reply));
  }

  async #result(id: bigint, operation: FileOperation, signal: AbortSignal): Promise<Buffer[]> {
    const { reply } = await this.#session.request(operation, { signal });
    return replyResult(id, -reply.errno);
  }

  async #change(id: bigint, operation: FileOperation): Promise<Buffer[]> {
    const { reply } = await this.#changing(operation, () => this.#stats.forgetAll());
    return replyResult(id, -reply.errno);
  }

  /** Forgets before, so that no one is answered with what is about to change, and after, for what was read meanwhile. */
  async #changing(operation: FileOperation, forget: () => void, signal?: AbortSignal) {
    forget();
    try {
      return await this.#session.request(operation, { signal });
    } finally {
      forget();
    }
  }
}

function isWrite(question: PathQuestion): boolean {
  switch (question.kind) {
    case WireKind.OPEN:
      return isWriteOpen(question.flags);
    case WireKind.ACCESS:
      return isWriteAccess(question.mode);
    case WireKind.DECIDE:
      return question.isWrite;
    case WireKind.STAT:
    case WireKind.READLINK:
    case WireKind.STATFS:
      return false;
    default:
      return true;
  }
}

function answerDecide(id: bigint, place: ReturnType<typeof placeOf>): Buffer[] {
  if (place.kind === 'error') return replyDecide(id, RuleVerdict.NOT_FOUND);
  if (place.kind === 'remote') return replyDecide(id, RuleVerdict.REMOTE);
  return place.isMapped ? replyDecide(id, RuleVerdict.MAPPED, place.path) : replyDecide(id, RuleVerdict.LOCAL);
}
