// A session with the real fs-env server in this process, asked as the agent asks it.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { dial } from '../../proto/dial.ts';
import { type AppError, fromErrorDetail } from '../../proto/errors.ts';
import { makeFrame, NO_BYTES } from '../../proto/frame.ts';
import { ErrorDetail } from '../../proto/gen/v1/error.ts';
import { FrameKind } from '../../proto/gen/v1/frame.ts';
import { AttachTarget, FileReply, FileRequest, type FileStat, type Opened } from '../../proto/gen/v1/fs_env.ts';
import { SessionEvent, TargetFacts } from '../../proto/gen/v1/session.ts';
import { decodeHead, type SessionStream } from '../../proto/session-stream.ts';
import { mintToken, newSessionId, SESSION_KEY_BYTES } from '../../proto/token.ts';
import { openFsEnv } from '../../services/fs-env/server.ts';

export interface Answered {
  reply: FileReply;
  data: Buffer;
}

type Operation = NonNullable<FileRequest['op']>;

export const key = Buffer.alloc(SESSION_KEY_BYTES, 7);

export interface Server {
  readonly address: string;
  readonly liveSessions: number;
  [Symbol.asyncDispose](): Promise<void>;
}

export async function startFsEnv(limits = { fileHandles: 1_024, requests: 256 }): Promise<Server> {
  const folder = await mkdtemp(path.join(tmpdir(), 'mirrord-fs-env-'));
  const server = await openFsEnv({
    address: `unix:${folder}/s`,
    sessionKey: key,
    maxSessions: 16,
    limits,
    logger: pino({ level: 'silent' }),
  });
  return {
    address: server.address,
    get liveSessions() {
      return server.liveSessions;
    },
    [Symbol.asyncDispose]: async () => {
      server.close();
      await rm(folder, { recursive: true });
    },
  };
}

export class Files {
  readonly facts: TargetFacts;
  readonly #stream: SessionStream;
  readonly #state: Shared;
  #nextId = 1;

  private constructor(stream: SessionStream, state: Shared, facts: TargetFacts) {
    this.#stream = stream;
    this.#state = state;
    this.facts = facts;
  }

  static async open(server: Pick<Server, 'address'>, attach: Partial<AttachTarget> & { pid: number }): Promise<Files> {
    const state = new Shared();
    const request = { startTimeTicks: 0n, containerId: '', wantsEnvironment: true, wantsFiles: true, ...attach };
    const stream = await dial({
      address: server.address,
      service: 'FsEnv',
      token: mintToken(key, newSessionId(), 60),
      deadlineMs: 5_000,
      opening: makeFrame(0, FrameKind.FRAME_KIND_SESSION_OPEN, AttachTarget.encode(request).finish()),
      onFrame: (frame) => state.onFrame(frame.id, frame.kind, frame.head, frame.data),
      onClosed: (error) => state.onClosed(error),
    });
    return new Files(stream, state, await state.facts);
  }

  /** Resolves with the next event of the session. */
  get event(): Promise<SessionEvent> {
    return this.#state.event;
  }

  raw(head: Uint8Array, data: Uint8Array = NO_BYTES): Promise<Answered> {
    const id = this.#nextId;
    this.#nextId += 2;
    const answered = this.#state.wait(id);
    this.#stream.send(makeFrame(id, FrameKind.FRAME_KIND_FILE_REQUEST, head, data));
    return answered;
  }

  ask(op: Operation, data: Uint8Array = NO_BYTES): Promise<Answered> {
    return this.raw(FileRequest.encode({ op }).finish(), data);
  }

  /** Without an answer. */
  close(handle: number): void {
    const head = FileRequest.encode({ op: { $case: 'close', value: { handle } } }).finish();
    this.#stream.send(makeFrame(this.#nextId, FrameKind.FRAME_KIND_FILE_REQUEST, head));
    this.#nextId += 2;
  }

  async open(
    at: string | Buffer,
    flags = 0,
    mode = 0,
    inlineBytes = 0,
  ): Promise<Opened & { errno: number; data: Buffer }> {
    const value = { path: Buffer.from(at), flags, mode, inlineBytes };
    const { reply, data } = await this.ask({ $case: 'open', value });
    const opened = reply.result?.$case === 'opened' ? reply.result.value : { handle: 0, stat: undefined };
    return { ...opened, errno: reply.errno, data };
  }

  async stat(at: string, noFollow = false): Promise<{ errno: number; stat: FileStat | null }> {
    const of = { $case: 'path', value: Buffer.from(at) } as const;
    const { reply } = await this.ask({ $case: 'stat', value: { of, noFollow } });
    return { errno: reply.errno, stat: reply.result?.$case === 'stat' ? reply.result.value : null };
  }

  end(): void {
    this.#stream.destroy();
  }

  [Symbol.dispose](): void {
    this.end();
  }
}

class Shared {
  readonly facts: Promise<TargetFacts>;
  readonly event: Promise<SessionEvent>;
  readonly #waiting = new Map<number, PromiseWithReject<Answered>>();
  #settleFacts!: PromiseWithReject<TargetFacts>;
  #tellEvent!: (event: SessionEvent) => void;

  constructor() {
    this.facts = new Promise((resolve, reject) => {
      this.#settleFacts = { resolve, reject };
    });
    this.facts.catch(() => undefined);
    this.event = new Promise((resolve) => {
      this.#tellEvent = resolve;
    });
  }

  wait(id: number): Promise<Answered> {
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  onFrame(id: number, kind: FrameKind, head: Uint8Array, data: Uint8Array): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (kind === FrameKind.FRAME_KIND_SESSION_OPENED) this.#settleFacts.resolve(decodeHead(TargetFacts.decode, head));
    if (kind === FrameKind.FRAME_KIND_SESSION_EVENT) this.#tellEvent(SessionEvent.decode(head));
    if (kind === FrameKind.FRAME_KIND_ERROR) waiting?.reject(fromErrorDetail(ErrorDetail.decode(head)));
    if (kind === FrameKind.FRAME_KIND_FILE_REPLY) {
      waiting?.resolve({ reply: FileReply.decode(head), data: Buffer.from(data) });
    }
  }

  onClosed(error: AppError | null): void {
    const reason = error ?? new Error('closed');
    this.#settleFacts.reject(reason);
    for (const { reject } of this.#waiting.values()) reject(reason);
    this.#waiting.clear();
  }
}

interface PromiseWithReject<T> {
  resolve: (value: T) => void;
  reject: (error: Error) => void;
}
