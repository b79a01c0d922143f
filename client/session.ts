// The client's side of a session: opens it, matches answers with requests and sees to it that every request is answered
// once, by its answer, by its deadline or by the end of the session. Knows nothing of the local process.

import type { DialOptions, Renewal } from '#proto/dial.ts';
import { ERRNO } from '#proto/errno.ts';
import { AppError, fromErrorDetail } from '#proto/errors.ts';
import { type Frame, makeFrame, NO_BYTES } from '#proto/frame.ts';
import { ErrorDetail } from '#proto/gen/v1/error.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { FileReply, type FileRequest } from '#proto/gen/v1/fs_env.ts';
import { type DirectDoor, type Limits, SessionEvent, SessionOpened, type TargetFacts } from '#proto/gen/v1/session.ts';
import { decodeHead, type SessionStream } from '#proto/session-stream.ts';
import type { BulkOrder } from '#proto/sockets/bulk-order.ts';
import { type FileAnswer, ReceivedAnswer } from './file-answer.ts';
import { cancelled, describe, encodeOpening, encodeRequest } from './session-requests.ts';
import type { LocalTarget } from './target.ts';
import { type PromiseWithResolvers, withResolvers } from './with-resolvers.ts';

export type FileOperation = NonNullable<FileRequest['op']>;

export type { FileAnswer };

/** What the layer's files need of a session; a scripted one stands in for it in tests. */
export interface FileSession {
  readonly limits: Limits;
  /** Rejects with AGENT_LOST once the session is over, DEADLINE_EXCEEDED, CANCELLED or what the agent says. */
  request(operation: FileOperation, options?: RequestOptions): Promise<FileAnswer>;
  /** For what has no answer: Close. */
  tell(operation: FileOperation): void;
  /** Resolves when the uplink can take more. */
  drained(): Promise<void>;
}

/** What is told of one connection of the target's network. */
export interface ConnectionReceiver {
  /** CONNECTED, DATA, HALF_CLOSE, RESET, CREDIT or ERROR of its id; the data's credit as in SessionHandlers.onFrame. */
  receive(frame: Frame): void | Promise<void>;
  /** The session is over. */
  lost(error: AppError): void;
}

/** What connections need of a session; a scripted one stands in for it in tests. */
export interface NetworkSession {
  /** Why the session is over, or null while it lives. */
  readonly lost: AppError | null;
  /** Bytes that wait for the agent: who has more to send awaits `drained()` first. */
  readonly bufferedBytes: number;
  /** An id whose frames go to the receiver until it is closed. */
  openConnection(receiver: ConnectionReceiver): number;
  /** The id is free: frames of it that are still on their way are dropped. */
  closeConnection(id: number): void;
  send(frame: Frame): void;
  /** As SessionStream has it; without it bulk is read and sent. */
  carry?(order: BulkOrder): boolean;
  drained(): Promise<void>;
}

export interface RequestOptions {
  data?: Uint8Array;
  signal?: AbortSignal | undefined;
  /** For what may wait as long as it likes, as a pipe does for its writer. */
  hasNoDeadline?: boolean;
}

export interface SessionOptions {
  dial: (options: DialOptions) => Promise<SessionStream>;
  address: string;
  token: string;
  /** Of the agent; without it whoever answers is taken for it. */
  proof?: string;
  target: LocalTarget;
  wantsEnvironment: boolean;
  wantsFiles: boolean;
  /** Connections are made in the target's network. */
  wantsNetwork?: boolean;
  /** Connections that arrive at the target are asked for; their frames go to `arrivals` of the session. */
  wantsIncoming?: boolean;
  deadlineMs: number;
  /** Without it the first break of the connection ends the session. */
  renewal?: Renewal;
  connect?: DialOptions['connect'];
  /** For every file request; `FILE_DEADLINE_MS` where nothing else is said. */
  requestDeadlineMs?: number;
  /** Requests and connections are numbered above it: after those of the session whose place it takes. Odd. */
  lastId?: number;
  onEvent: (event: NonNullable<SessionEvent['event']>) => void;
  /** A request was given up at its deadline; the text says what was waited for. */
  onOverdue?: (what: string) => void;
  /** The session ended and we had not asked for it. Every request has failed by then. */
  onLost: (error: AppError) => void;
}

/** A request that waits longer is answered with EIO: longer than any slow disk, shorter than any patience. */
const FILE_DEADLINE_MS = 30_000;
/** Requests beyond what the agent grants wait here; the layer's link bounds how many there can be. */
const CHECK_DEADLINES_EVERY_MS = 1_000;
/** For the agent's word that it knows of our stop: who presses Ctrl-Z waits for it. */
const SUSPEND_DEADLINE_MS = 1_000;
const CLOSE_DEADLINE_MS = 2_000;
const LAST_ID = 0xffff_fffe;

interface Pending {
  readonly id: number;
  readonly operation: FileOperation;
  /** By the clock of our own running time; infinite where there is no deadline. */
  readonly deadlineMs: number;
  /** null once the asker has its error and only the id waits for its answer. */
  settle: { resolve: (answer: FileAnswer) => void; reject: (error: AppError) => void } | null;
}

export class Session implements FileSession, NetworkSession {
  readonly sessionId: string;
  readonly agentVersion: string;
  readonly facts: TargetFacts;
  readonly limits: Limits;
  /** Another way to the agent, where it has one. */
  readonly direct: DirectDoor | undefined;
  readonly #stream: SessionStream;
  readonly #deadlineMs: number;
  readonly #pending = new Map<number, Pending>();
  readonly #waiting: (() => void)[] = [];
  readonly #connections = new Map<number, ConnectionReceiver>();
  /** Takes the frames of ids that the agent has given. */
  arrivals: ((frame: Frame) => void | Promise<void>) | null = null;
  readonly #timer: NodeJS.Timeout;
  readonly #onLost: (error: AppError) => void;
  readonly #onEvent: SessionOptions['onEvent'];
  readonly #onOverdue: (what: string) => void;
  readonly #wantsNetwork: boolean;
  /** Time in which we ran and had a connection: that of a stopped process or a sleeping machine is nobody's delay. */
  #runningMs = 0;
  #lastId = 1;
  readonly #requestsByKind: Record<string, number> = {};
  #lost: AppError | null = null;
  #closed: PromiseWithResolvers<void> | null = null;

  /** Rejects with what the agent says (TARGET_NOT_FOUND ...), DEADLINE_EXCEEDED, or AGENT_LOST when nobody answers. */
  static async open(options: SessionOptions): Promise<Session> {
    const opening = makeFrame(0, FrameKind.FRAME_KIND_SESSION_OPEN, encodeOpening(options));
    const answer = withResolvers<SessionOpened>();
    answer.promise.catch(() => {});
    let session: Session | null = null;
    const stream = await options.dial({
      address: options.address,
      service: 'Gateway',
      token: options.token,
      ...(options.proof === undefined ? {} : { proof: options.proof }),
      ...(options.connect === undefined ? {} : { connect: options.connect }),
      ...(options.renewal === undefined ? {} : { renewal: options.renewal }),
      deadlineMs: options.deadlineMs,
      opening,
      onFrame: (frame) => {
        if (session !== null) return session.#receive(frame);
        if (frame.id === 0 && frame.kind === FrameKind.FRAME_KIND_SESSION_OPENED) {
          const opened = decodeHead(SessionOpened.decode, frame.head);
          // Frames that come in the same batch find the session.
          session = new Session(stream, opened, options);
          answer.resolve(opened);
        }
        return undefined;
      },
      onClosed: (error) => {
        const reason = error ?? new AppError('AGENT_LOST', 'the agent closed the session while it was being opened');
        if (session !== null) session.#ended(error);
        else answer.reject(reason);
      },
    });
    const timer = setTimeout(() => {
      const error = new AppError('DEADLINE_EXCEEDED', `the agent did not open the session in ${options.deadlineMs} ms`);
      answer.reject(error);
      stream.destroy(error);
    }, options.deadlineMs);
    try {
      await answer.promise;
    } finally {
      clearTimeout(timer);
    }
    return session as unknown as Session;
  }

  private constructor(stream: SessionStream, opened: SessionOpened, options: SessionOptions) {
    if (opened.facts === undefined || opened.limits === undefined) {
      throw new AppError('PROTOCOL_VIOLATION', 'the agent opened the session without facts or limits');
    }
    this.#stream = stream;
    this.sessionId = opened.sessionId;
    this.agentVersion = opened.agentVersion;
    this.facts = opened.facts;
    this.limits = opened.limits;
    this.direct = opened.direct;
    this.#lastId = options.lastId ?? 1;
    this.#onLost = options.onLost;
    this.#onEvent = options.onEvent;
    this.#onOverdue = options.onOverdue ?? (() => {});
    this.#wantsNetwork = options.wantsNetwork ?? false;
    this.#deadlineMs = options.requestDeadlineMs ?? FILE_DEADLINE_MS;
    this.#timer = setInterval(() => this.#checkDeadlines(), CHECK_DEADLINES_EVERY_MS);
    this.#timer.unref();
  }

  /** How many of each kind have been sent: the round trips of the session. */
  get requestsByKind(): Readonly<Record<string, number>> {
    return this.#requestsByKind;
  }

  /** The highest number in use, until they begin anew. */
  get lastId(): number {
    return this.#lastId;
  }

  /** Why the session is over, or null while it lives. */
  get lost(): AppError | null {
    return this.#lost;
  }

  request(operation: FileOperation, options: RequestOptions = {}): Promise<FileAnswer> {
    if (this.#lost !== null) return Promise.reject(this.#lost);
    if (options.signal?.aborted) return Promise.reject(cancelled(operation));
    if (this.#pending.size >= this.limits.requests) return this.#requestLater(operation, options);
    return this.#start(operation, options);
  }

  tell(operation: FileOperation): void {
    if (this.#lost !== null) return;
    this.#stream.send(makeFrame(this.#takeId(), FrameKind.FRAME_KIND_FILE_REQUEST, encodeRequest(operation)));
  }

  drained(): Promise<void> {
    return this.#stream.drained();
  }

  get bufferedBytes(): number {
    return this.#stream.bufferedBytes;
  }

  openConnection(receiver: ConnectionReceiver): number {
    const id = this.#takeId();
    this.#connections.set(id, receiver);
    return id;
  }

  closeConnection(id: number): void {
    this.#connections.delete(id);
  }

  send(frame: Frame): void {
    if (this.#lost === null) this.#stream.send(frame);
  }

  carry(order: BulkOrder): boolean {
    return this.#lost === null && this.#stream.carry(order);
  }

  /** Goes on over new connections, because there are better ones; nothing is lost. */
  reconnect(reason: string): void {
    if (this.#lost === null) this.#stream.reconnect(reason);
  }

  /** We are about to be stopped: the agent knows, or a second has passed, when this resolves. */
  async suspend(): Promise<void> {
    if (this.#lost !== null || this.#stream.isClosed) return;
    const late = withResolvers<void>();
    const timer = setTimeout(late.resolve, SUSPEND_DEADLINE_MS);
    await Promise.race([this.#stream.suspend(), late.promise]);
    clearTimeout(timer);
  }

  /** We run again. */
  resume(): void {
    this.#stream.resume();
  }

  /** Says goodbye and waits for the agent's, at most two seconds. Idempotent; pending requests fail. */
  async close(): Promise<void> {
    if (this.#lost !== null || this.#stream.isClosed) return;
    if (this.#closed === null) {
      this.#closed = withResolvers<void>();
      this.#stream.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_CLOSE));
      this.#stream.end();
    }
    const timer = setTimeout(() => this.#stream.destroy(), CLOSE_DEADLINE_MS);
    await this.#closed.promise;
    clearTimeout(timer);
  }

  async #requestLater(operation: FileOperation, options: RequestOptions): Promise<FileAnswer> {
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this.request(operation, options);
  }

  #start(operation: FileOperation, { data = NO_BYTES, signal, hasNoDeadline }: RequestOptions): Promise<FileAnswer> {
    return new Promise((resolve, reject) => {
      const id = this.#takeId();
      this.#requestsByKind[operation.$case] = (this.#requestsByKind[operation.$case] ?? 0) + 1;
      const deadlineMs = hasNoDeadline ? Number.POSITIVE_INFINITY : this.#runningMs + this.#deadlineMs;
      const pending: Pending = { id, operation, deadlineMs, settle: { resolve, reject } };
      this.#pending.set(id, pending);
      signal?.addEventListener('abort', () => this.#abandon(pending, cancelled(operation)), { once: true });
      this.#stream.send(makeFrame(id, FrameKind.FRAME_KIND_FILE_REQUEST, encodeRequest(operation), data));
    });
  }

  #receive(frame: Frame): void | Promise<void> {
    const connection = this.#connections.get(frame.id);
    if (connection !== undefined) return connection.receive(frame);
    if (frame.id !== 0 && frame.id % 2 === 0) return this.arrivals?.(frame);
    switch (frame.kind) {
      case FrameKind.FRAME_KIND_FILE_REPLY: {
        const pending = this.#take(frame);
        const answer = new ReceivedAnswer(decodeHead(FileReply.decode, frame.head), frame);
        const { settle } = pending;
        pending.settle = null;
        if (settle === null) this.#discard(answer);
        else settle.resolve(answer);
        return undefined;
      }
      case FrameKind.FRAME_KIND_ERROR:
        // Of a datagram socket that was closed here meanwhile.
        if (this.#wantsNetwork && !this.#pending.has(frame.id)) return undefined;
        this.#take(frame).settle?.reject(fromErrorDetail(decodeHead(ErrorDetail.decode, frame.head)));
        return undefined;
      case FrameKind.FRAME_KIND_SESSION_EVENT: {
        const { event } = decodeHead(SessionEvent.decode, frame.head);
        if (event !== undefined) this.#onEvent(event);
        return undefined;
      }
      case FrameKind.FRAME_KIND_SESSION_CLOSED:
        return undefined;
      case FrameKind.FRAME_KIND_CONNECTED:
      case FrameKind.FRAME_KIND_DATA:
      case FrameKind.FRAME_KIND_HALF_CLOSE:
      case FrameKind.FRAME_KIND_RESET:
      case FrameKind.FRAME_KIND_CREDIT:
        // Was on its way when the connection was closed here.
        return undefined;
      default:
        throw new AppError('PROTOCOL_VIOLATION', `frame of kind ${frame.kind} from the agent`);
    }
  }

  #take(frame: Frame): Pending {
    const pending = this.#pending.get(frame.id);
    if (pending === undefined) throw new AppError('PROTOCOL_VIOLATION', `answer to ${frame.id}, which was not asked`);
    this.#pending.delete(frame.id);
    this.#waiting.shift()?.();
    return pending;
  }

  /** The asker went away before the answer came: a handle in it belongs to nobody. */
  #discard(answer: FileAnswer): void {
    const { result } = answer.reply;
    answer.giveBack?.();
    if (result?.$case === 'opened' && result.value.handle !== 0) {
      this.tell({ $case: 'close', value: { handle: result.value.handle } });
    }
  }

  #abandon(pending: Pending, error: AppError): void {
    if (pending.settle === null || !this.#pending.has(pending.id)) return;
    const { reject } = pending.settle;
    pending.settle = null;
    this.#stream.send(makeFrame(pending.id, FrameKind.FRAME_KIND_CANCEL));
    reject(error);
  }

  #checkDeadlines(): void {
    if (this.#stream.isParked) return;
    this.#runningMs += CHECK_DEADLINES_EVERY_MS;
    // In the order in which they began, so that the first young one ends the search.
    for (const pending of this.#pending.values()) {
      if (pending.deadlineMs === Number.POSITIVE_INFINITY || pending.settle === null) continue;
      if (this.#runningMs < pending.deadlineMs) return;
      const what = `no answer to ${describe(pending.operation)} within ${this.#deadlineMs} ms`;
      this.#onOverdue(what);
      this.#abandon(pending, new AppError('DEADLINE_EXCEEDED', what, { errno: ERRNO.EIO }));
    }
  }

  #ended(error: AppError | null): void {
    clearInterval(this.#timer);
    const asked = this.#closed !== null;
    this.#lost = error ?? new AppError('AGENT_LOST', 'the session is closed');
    for (const { settle } of this.#pending.values()) settle?.reject(this.#lost);
    this.#pending.clear();
    for (const resume of this.#waiting.splice(0)) resume();
    const connections = [...this.#connections.values()];
    this.#connections.clear();
    for (const connection of connections) connection.lost(this.#lost);
    this.#closed?.resolve();
    if (!asked) this.#onLost(this.#lost);
  }

  #takeId(): number {
    do {
      this.#lastId = this.#lastId >= LAST_ID - 1 ? 1 : this.#lastId + 2;
    } while (this.#pending.has(this.#lastId) || this.#connections.has(this.#lastId));
    return this.#lastId;
  }
}
