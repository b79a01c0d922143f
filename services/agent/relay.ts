// The files of one session: frames between the client's stream and fs-env's, passed on without reading data. Ids are the
// client's own, because every session has a stream of its own to fs-env.
//
// An fs-env that is killed comes back, and with it what the session has open: requests wait, files are opened again by their names,
// and what can be asked twice is. Only what cannot be told apart from another file, and what nobody knows the fate of, fails.

import { setTimeout as sleep } from 'node:timers/promises';
import { dial } from '#proto/dial.ts';
import { AppError, toErrorDetail } from '#proto/errors.ts';
import { dataBytes, type Frame, makeFrame } from '#proto/frame.ts';
import { ErrorDetail } from '#proto/gen/v1/error.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { AttachTarget, FileRequest } from '#proto/gen/v1/fs_env.ts';
import { TargetFacts } from '#proto/gen/v1/session.ts';
import { decodeHead, type SessionStream } from '#proto/session-stream.ts';
import { isClose, isOpen, OpenedFiles } from './opened-files.ts';

export interface FileRelayOptions {
  /** Where fs-env serves. Rejects with SERVICE_UNAVAILABLE. */
  find(): Promise<string>;
  /** For a stream to it, and what it answers that with. */
  mintToken(): { token: string; proof: string };
  attach: AttachTarget;
  client: SessionStream;
  /** Requests in flight; beyond it a request is answered with LIMIT_REACHED. */
  maxRequests: number;
  deadlineMs: number;
  /** fs-env is gone for good; requests in flight have been answered with ERROR by then. */
  onLost(error: AppError): void;
  /** It was gone and serves again; `lost`: open files that could not be opened again, by their paths. */
  onBack(lost: readonly Uint8Array[]): void;
  /** The last answer has been given. */
  onIdle(): void;
}

/** Above it the answers' credit is held back until the client has read: the sum is bounded by fs-env's credit. */
const CLIENT_BEHIND_BYTES = 256 * 1024;

/** The node takes a second or two to start a container anew, the first time; a client waits 30 s for an answer. */
const COME_BACK_MS = 20_000;
const LOOK_AGAIN_MS = 50;
/** Asked to be opened again at one time: half of what fs-env has threads for. */
const AT_ONCE = 4;

interface Asked {
  readonly request: Frame;
  readonly endHold: (() => void) | undefined;
  /** Once is enough: it may be what kills fs-env. */
  wasRepeated: boolean;
}

/** A stream to one fs-env, and our own requests on it: their ids are even. */
interface Line {
  readonly stream: SessionStream;
  readonly own: Map<number, (reply: Uint8Array | null) => void>;
}

export class FileRelay {
  readonly #options: FileRelayOptions;
  readonly #inFlight = new Map<number, Asked>();
  readonly #files = new OpenedFiles();
  #line: Line | null = null;
  #lost: AppError | null = null;
  /** While it comes back. */
  #return: Promise<void> | null = null;
  #lastOwnId = 0;

  private constructor(options: FileRelayOptions) {
    this.#options = options;
  }

  /** Resolves when fs-env has the target. Rejects with SERVICE_UNAVAILABLE, TARGET_GONE or what fs-env says. */
  static async open(options: FileRelayOptions): Promise<{ relay: FileRelay; facts: TargetFacts }> {
    const relay = new FileRelay(options);
    const { line, facts } = await relay.#attach();
    relay.#line = line;
    return { relay, facts };
  }

  get requestsInFlight(): number {
    return this.#inFlight.size;
  }

  /** FILE_REQUEST and CANCEL of the client. The promise holds the credit of its data until fs-env can take more. */
  forward(frame: Frame): void | Promise<void> {
    if (frame.kind === FrameKind.FRAME_KIND_FILE_REQUEST && !this.#register(frame)) return undefined;
    // All that is in flight is asked when it is back.
    if (this.#return !== null || this.#line === null) return this.#return ?? undefined;
    const { stream } = this.#line;
    if (this.#files.haveMoved && frame.kind === FrameKind.FRAME_KIND_FILE_REQUEST) this.#sendRenumbered(frame, stream);
    else {
      holdUntilSent(frame);
      stream.send(frame);
    }
    return this.#backPressure(stream);
  }

  isInFlight(id: number): boolean {
    return this.#inFlight.has(id);
  }

  /** Cut: fs-env releases every handle of a session whose stream ends. */
  close(): void {
    this.#lost ??= new AppError('CANCELLED', 'the session is over');
    for (const id of [...this.#inFlight.keys()]) this.#settle(id);
    this.#line?.stream.destroy();
  }

  /** Resolves with a stream on which fs-env has the target. */
  async #attach(): Promise<{ line: Line; facts: TargetFacts }> {
    const { attach, deadlineMs } = this.#options;
    let settle: { resolve: (facts: TargetFacts) => void; reject: (error: AppError) => void } | null = null;
    const facts = new Promise<TargetFacts>((resolve, reject) => {
      settle = { resolve, reject };
    });
    facts.catch(() => undefined);
    const own: Line['own'] = new Map();
    const stream = await dial({
      address: await this.#options.find(),
      service: 'FsEnv',
      ...this.#options.mintToken(),
      deadlineMs,
      opening: makeFrame(0, FrameKind.FRAME_KIND_SESSION_OPEN, AttachTarget.encode(attach).finish()),
      onFrame: (frame) => {
        if (frame.kind !== FrameKind.FRAME_KIND_SESSION_OPENED) return this.#receive(frame, own);
        settle?.resolve(decodeHead(TargetFacts.decode, frame.head));
        return undefined;
      },
      onClosed: (error) => {
        settle?.reject(error ?? new AppError('SERVICE_UNAVAILABLE', 'fs-env has ended'));
        this.#closed(own, error);
      },
    });
    const late = setTimeout(() => {
      stream.destroy(new AppError('DEADLINE_EXCEEDED', `fs-env took over ${deadlineMs} ms`));
    }, deadlineMs);
    try {
      return { line: { stream, own }, facts: await facts };
    } finally {
      clearTimeout(late);
    }
  }

  /** False when there is nothing to be sent: the request has been answered here, or need not be. */
  #register(frame: Frame): boolean {
    const { maxRequests } = this.#options;
    if (frame.id === 0 || frame.id % 2 === 0 || this.#inFlight.has(frame.id)) {
      throw new AppError('PROTOCOL_VIOLATION', `request with id ${frame.id}, which is not free for a client`);
    }
    if (isClose(frame.head)) return this.#registerClose(frame);
    if (this.#lost !== null) {
      this.#answer(frame.id, this.#lost);
      return false;
    }
    if (this.#inFlight.size >= maxRequests) {
      this.#answer(frame.id, new AppError('LIMIT_REACHED', `${maxRequests} requests are in flight, the most allowed`));
      return false;
    }
    const hasData = dataBytes(frame) > 0;
    // What is written stays where it was received until it has been answered for.
    const request = hasData ? frame : makeFrame(frame.id, frame.kind, Buffer.from(frame.head));
    this.#inFlight.set(frame.id, {
      request,
      endHold: hasData ? frame.lease?.hold() : undefined,
      wasRepeated: false,
    });
    return true;
  }

  #registerClose(frame: Frame): boolean {
    if (this.#lost !== null) return false;
    const request = Buffer.from(frame.head);
    const line = this.#return === null ? this.#line : null;
    const head = this.#files.haveMoved ? this.#files.renumbered(request) : request;
    this.#files.closed(request);
    if (line !== null && head !== null) line.stream.send(makeFrame(frame.id, frame.kind, head));
    return false;
  }

  #sendRenumbered(frame: Frame, stream: SessionStream): void {
    const head = this.#files.renumbered(frame.head);
    if (head === null) {
      this.#settle(frame.id);
      this.#answer(frame.id, new AppError('SERVICE_UNAVAILABLE', 'the file was open at an fs-env that is gone'));
      return;
    }
    const renumbered = makeFrame(frame.id, frame.kind, Buffer.from(head), frame.data);
    if (dataBytes(frame) > 0) {
      const endHold = frame.lease?.hold();
      if (endHold !== undefined) renumbered.release = endHold;
    }
    stream.send(renumbered);
  }

  #receive(frame: Frame, own: Line['own']): void | Promise<void> {
    const { client } = this.#options;
    switch (frame.kind) {
      case FrameKind.FRAME_KIND_FILE_REPLY:
      case FrameKind.FRAME_KIND_ERROR: {
        if (frame.id % 2 === 0) {
          own.get(frame.id)?.(frame.kind === FrameKind.FRAME_KIND_FILE_REPLY ? frame.head : null);
          return undefined;
        }
        // An answer after the relay gave its own must not reach the client twice.
        const asked = this.#settle(frame.id);
        if (asked === undefined) return undefined;
        const isOpened = frame.kind === FrameKind.FRAME_KIND_FILE_REPLY && isOpen(asked.request.head);
        const head = isOpened ? this.#files.opened(asked.request.head, frame.head) : frame.head;
        holdUntilSent(frame);
        if (head !== frame.head) frame.head = head;
        client.send(frame);
        if (this.#inFlight.size === 0) this.#options.onIdle();
        return this.#backPressure(client);
      }
      case FrameKind.FRAME_KIND_SESSION_EVENT:
        client.send(frame);
        return undefined;
      case FrameKind.FRAME_KIND_SESSION_CLOSED:
        return undefined;
      default:
        throw new AppError('PROTOCOL_VIOLATION', `frame of kind ${frame.kind} from fs-env`);
    }
  }

  /** The request is answered, or will be by us. */
  #settle(id: number): Asked | undefined {
    const asked = this.#inFlight.get(id);
    this.#inFlight.delete(id);
    asked?.endHold?.();
    return asked;
  }

  #backPressure(stream: SessionStream | null): void | Promise<void> {
    return stream !== null && stream.bufferedBytes > CLIENT_BEHIND_BYTES ? stream.drained() : undefined;
  }

  #closed(own: Line['own'], error: AppError | null): void {
    for (const settle of own.values()) settle(null);
    if (this.#lost !== null || this.#line?.own !== own) return;
    this.#line = null;
    const reason = error ?? new AppError('SERVICE_UNAVAILABLE', 'fs-env has ended');
    if (isFinal(reason) || !this.#options.attach.wantsFiles) {
      this.#giveUp(reason);
      return;
    }
    for (const [id, asked] of [...this.#inFlight]) {
      if (!asked.wasRepeated && this.#files.isRepeatable(asked.request.head)) asked.wasRepeated = true;
      else {
        this.#settle(id);
        this.#answer(id, asUnavailable(reason));
      }
    }
    this.#return = this.#comeBack().then(
      () => {
        this.#return = null;
      },
      (thrown: unknown) => {
        this.#return = null;
        if (this.#lost === null) this.#giveUp(AppError.from(thrown, 'BUG'));
      },
    );
  }

  /** Rejects when fs-env is not there in time, or the target has ended. */
  async #comeBack(): Promise<void> {
    const deadlineMs = performance.now() + COME_BACK_MS;
    for (;;) {
      const files = this.#files.moving();
      try {
        const { line } = await this.#attach();
        if (this.#lost !== null) {
          line.stream.destroy();
          return;
        }
        const lost: Uint8Array[] = [];
        const open = async () => {
          for (let file = files.shift(); file !== undefined; file = files.shift()) {
            if (!(await this.#openAgain(file.number, file.request, line))) lost.push(file.path);
          }
        };
        await Promise.all(Array.from({ length: AT_ONCE }, open));
        if (line.stream.isClosed) throw new AppError('SERVICE_UNAVAILABLE', 'fs-env has ended again');
        this.#line = line;
        this.#options.onBack(lost);
        for (const { request } of [...this.#inFlight.values()]) this.#sendRenumbered(request, line.stream);
        return;
      } catch (thrown) {
        const error = AppError.from(thrown, 'BUG');
        if (this.#lost !== null || isFinal(error) || performance.now() > deadlineMs) throw error;
        await sleep(LOOK_AGAIN_MS);
      }
    }
  }

  /** False for a file that is not what it was. */
  async #openAgain(number: number, request: Uint8Array | null, { stream, own }: Line): Promise<boolean> {
    if (request === null) return false;
    this.#lastOwnId += 2;
    const id = this.#lastOwnId;
    const answer = new Promise<Uint8Array | null>((resolve) => {
      own.set(id, (reply) => {
        own.delete(id);
        resolve(reply === null ? null : Buffer.from(reply));
      });
    });
    if (stream.isClosed) return false;
    stream.send(makeFrame(id, FrameKind.FRAME_KIND_FILE_REQUEST, request));
    const reply = await answer;
    if (reply === null) return false;
    const { isSame, unwanted } = this.#files.found(number, reply);
    if (unwanted !== null && !stream.isClosed) {
      const head = FileRequest.encode({ op: { $case: 'close', value: { handle: unwanted } } }).finish();
      stream.send(makeFrame(id, FrameKind.FRAME_KIND_FILE_REQUEST, head));
    }
    return isSame;
  }

  #giveUp(reason: AppError): void {
    const lost = asUnavailable(reason);
    this.#lost = lost;
    for (const id of [...this.#inFlight.keys()]) {
      this.#settle(id);
      this.#answer(id, lost);
    }
    this.#options.onLost(lost);
  }

  #answer(id: number, error: AppError): void {
    const head = ErrorDetail.encode(toErrorDetail(error)).finish();
    this.#options.client.send(makeFrame(id, FrameKind.FRAME_KIND_ERROR, head));
  }
}

/** Its memory is given back when the other end has it; dropped, it is the collector's. */
function holdUntilSent(frame: Frame): void {
  const endHold = frame.lease?.hold();
  if (endHold === undefined) return;
  frame.release = endHold;
  frame.isUsedUp = true;
}

/** Another fs-env would say the same. */
function isFinal({ code }: AppError): boolean {
  return code === 'TARGET_GONE' || code === 'PROTOCOL_VIOLATION' || code === 'BUG' || code === 'NOT_PERMITTED';
}

/** For the client a service that is lost is unavailable, however it was lost. */
function asUnavailable(cause: AppError): AppError {
  if (cause.code === 'SERVICE_UNAVAILABLE') return cause;
  return new AppError('SERVICE_UNAVAILABLE', `fs-env is lost: ${cause.message}`, { cause });
}
