// One session of the agent with fs-env: attaching -> ready -> closed, or gone in between when the target ends. Everything
// of it (root, handles) is released when it closes, however it closes.
//
// Buffers: requests wait in a queue of `maxRequests`, beyond which they are answered with LIMIT_REACHED; the data of writes
// is bounded by the stream's credit, given back when the write is done; answers are produced only while little waits to be
// sent.

import type { Logger } from 'pino';
import { AppError, toErrorDetail } from '#proto/errors.ts';
import { type Frame, makeFrame } from '#proto/frame.ts';
import { ErrorDetail } from '#proto/gen/v1/error.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { AttachTarget, FileRequest } from '#proto/gen/v1/fs_env.ts';
import { SessionEvent, TargetFacts } from '#proto/gen/v1/session.ts';
import { decodeHead, type SessionHandlers, type SessionStream } from '#proto/session-stream.ts';
import { type FileWorld, performOperation } from './files.ts';
import { Handles } from './handles.ts';
import { type Answer, native, type Target } from './native/index.ts';
import { Slots } from './slots.ts';
import { attachTarget } from './target.ts';

export interface SessionLimits {
  readonly fileHandles: number;
  readonly requests: number;
}

/** As many sessions as there are by default may hang, each with all of these, and leave room for others (native/pool.cc). */
const MAX_RUNNING = 8;
/** Answers wait to be sent: above it no operation begins. */
const BEHIND_BYTES = 1024 * 1024;

type State = 'new' | 'attaching' | 'ready' | 'gone' | 'closed';

export class FileSession implements SessionHandlers {
  readonly #stream: SessionStream;
  readonly #limits: SessionLimits;
  readonly #logger: Logger;
  readonly #handles: Handles;
  readonly #slots = new Slots(MAX_RUNNING);
  #state: State = 'new';
  #target: Target | null = null;
  #wantsFiles = false;
  #requests = 0;
  #isClosing = false;

  constructor(stream: SessionStream, limits: SessionLimits, logger: Logger) {
    this.#stream = stream;
    this.#limits = limits;
    this.#logger = logger;
    this.#handles = new Handles(limits.fileHandles);
  }

  get openHandles(): number {
    return this.#handles.size;
  }

  onFrame(frame: Frame): void | Promise<void> {
    switch (frame.kind) {
      case FrameKind.FRAME_KIND_SESSION_OPEN:
        if (this.#state !== 'new') throw new AppError('PROTOCOL_VIOLATION', 'the session is opened a second time');
        this.#state = 'attaching';
        void this.#attach(decodeHead(AttachTarget.decode, frame.head));
        return undefined;
      case FrameKind.FRAME_KIND_FILE_REQUEST:
        return this.#request(frame);
      case FrameKind.FRAME_KIND_SESSION_CLOSE:
        this.#isClosing = true;
        this.#sayGoodbyeWhenIdle();
        return undefined;
      case FrameKind.FRAME_KIND_CANCEL:
        // What is in the kernel cannot be called back; the answer comes and frees the id.
        return undefined;
      default:
        this.#refuse(frame.id, new AppError('UNSUPPORTED', `frames of kind ${frame.kind} are not understood here`));
        return undefined;
    }
  }

  onClosed(error: AppError | null): void {
    this.#state = 'closed';
    this.#release();
    this.#logger.info({ code: error?.code }, 'session closed');
  }

  async #attach(request: AttachTarget): Promise<void> {
    try {
      const { target, facts } = await attachTarget(request);
      this.#target = target;
      if (this.#state === 'closed') {
        this.#release();
        return;
      }
      this.#state = 'ready';
      this.#wantsFiles = request.wantsFiles;
      this.#logger.info({ target: request.pid }, 'session opened');
      const head = TargetFacts.encode(facts).finish();
      this.#stream.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_OPENED, head));
      await this.#watch(target, request.pid);
    } catch (thrown) {
      const error = AppError.from(thrown, 'BUG');
      this.#logger.info({ target: request.pid, code: error.code }, 'target refused');
      this.#stream.fail(error);
    }
  }

  async #watch(target: Target, pid: number): Promise<void> {
    const hasEnded = await native.waitForEnd(target);
    if (!hasEnded || this.#state !== 'ready') return;
    this.#state = 'gone';
    this.#logger.info({ target: pid }, 'target ended');
    const head = SessionEvent.encode({ event: { $case: 'targetEnded', value: { pid } } }).finish();
    this.#stream.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_EVENT, head));
    this.#release();
  }

  #request(frame: Frame): void | Promise<void> {
    const refusal = this.#refusalOf();
    if (refusal !== null) {
      this.#refuse(frame.id, refusal);
      return undefined;
    }
    try {
      const { op } = decodeHead(FileRequest.decode, frame.head);
      if (op === undefined) throw new AppError('PROTOCOL_VIOLATION', 'a file request without an operation');
      const world: FileWorld = { target: this.#target as Target, handles: this.#handles };
      const answer = performOperation(world, op, frame.data, (call) => this.#run(call));
      return answer === null ? undefined : this.#answer(frame.id, answer);
    } catch (thrown) {
      this.#refuse(frame.id, AppError.from(thrown, 'BUG'));
      return undefined;
    }
  }

  #refusalOf(): AppError | null {
    if (this.#state === 'gone') return new AppError('TARGET_GONE', 'the target has ended');
    if (this.#state !== 'ready') throw new AppError('PROTOCOL_VIOLATION', 'a request before the session is open');
    if (!this.#wantsFiles) return new AppError('UNSUPPORTED', 'this session was opened without files');
    if (this.#requests < this.#limits.requests) return null;
    return new AppError('LIMIT_REACHED', `${this.#limits.requests} requests are in flight, the most allowed`);
  }

  async #run(call: () => Promise<Answer>): Promise<Answer> {
    await this.#slots.enter();
    try {
      if (this.#stream.bufferedBytes > BEHIND_BYTES) await this.#stream.drained();
      if (this.#state !== 'ready') throw new AppError('TARGET_GONE', 'the target has ended');
      return await call();
    } finally {
      this.#slots.leave();
    }
  }

  async #answer(id: number, answer: Promise<Answer>): Promise<void> {
    this.#requests += 1;
    try {
      const { head, data } = await answer;
      this.#stream.send(makeFrame(id, FrameKind.FRAME_KIND_FILE_REPLY, head, data));
    } catch (thrown) {
      this.#refuse(id, AppError.from(thrown, 'BUG'));
    } finally {
      this.#requests -= 1;
      this.#sayGoodbyeWhenIdle();
    }
  }

  #refuse(id: number, error: AppError): void {
    if (error.code === 'BUG') this.#logger.error({ err: error }, 'request failed');
    const head = ErrorDetail.encode(toErrorDetail(error)).finish();
    this.#stream.send(makeFrame(id, FrameKind.FRAME_KIND_ERROR, head));
  }

  #sayGoodbyeWhenIdle(): void {
    if (!this.#isClosing || this.#requests > 0 || this.#state === 'closed') return;
    this.#stream.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_CLOSED));
    this.#stream.end();
  }

  #release(): void {
    this.#handles.closeAll();
    if (this.#target !== null) native.closeTarget(this.#target);
    this.#target = null;
  }
}
