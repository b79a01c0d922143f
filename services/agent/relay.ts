// The files of one session: frames between the client's stream and fs-env's, passed on without reading data. Ids are the
// client's own, because every session has a stream of its own to fs-env.

import { type DialOptions, dial } from '#proto/dial.ts';
import { AppError, toErrorDetail } from '#proto/errors.ts';
import { type Frame, makeFrame } from '#proto/frame.ts';
import { ErrorDetail } from '#proto/gen/v1/error.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { AttachTarget } from '#proto/gen/v1/fs_env.ts';
import { TargetFacts } from '#proto/gen/v1/session.ts';
import { decodeHead, type SessionStream } from '#proto/session-stream.ts';

export interface FileRelayOptions {
  /** Of fs-env. */
  address: string;
  token: string;
  /** That it is fs-env and nobody in its place. */
  proof: string;
  attach: AttachTarget;
  client: SessionStream;
  /** Requests in flight; beyond it a request is answered with LIMIT_REACHED. */
  maxRequests: number;
  deadlineMs: number;
  /** fs-env is gone; requests in flight have been answered with ERROR by then. */
  onLost(error: AppError): void;
  /** The last answer has been given. */
  onIdle(): void;
}

/** Above it the answers' credit is held back until the client has read: the sum is bounded by fs-env's credit. */
const CLIENT_BEHIND_BYTES = 256 * 1024;

/** FileRequest.close is field 2 of the `oneof`: the one request without an answer, so the one not to wait for. */
const CLOSE_TAG = (2 << 3) | 2;

export class FileRelay {
  readonly #options: FileRelayOptions;
  readonly #inFlight = new Set<number>();
  #stream: SessionStream | null = null;
  #lost: AppError | null = null;
  #settleFacts: { resolve: (facts: TargetFacts) => void; reject: (error: AppError) => void } | null = null;

  private constructor(options: FileRelayOptions) {
    this.#options = options;
  }

  /** Resolves when fs-env has the target. Rejects with SERVICE_UNAVAILABLE, TARGET_GONE or what fs-env says. */
  static async open(options: FileRelayOptions): Promise<{ relay: FileRelay; facts: TargetFacts }> {
    const relay = new FileRelay(options);
    const facts = new Promise<TargetFacts>((resolve, reject) => {
      relay.#settleFacts = { resolve, reject };
    });
    facts.catch(() => undefined);
    relay.#stream = await dial(relay.#dialOptions());
    const late = setTimeout(() => {
      relay.#stream?.destroy(new AppError('DEADLINE_EXCEEDED', `fs-env took over ${options.deadlineMs} ms`));
    }, options.deadlineMs);
    try {
      return { relay, facts: await facts };
    } finally {
      clearTimeout(late);
    }
  }

  get requestsInFlight(): number {
    return this.#inFlight.size;
  }

  /** FILE_REQUEST and CANCEL of the client. The promise holds the credit of its data until fs-env can take more. */
  forward(frame: Frame): void | Promise<void> {
    if (frame.kind === FrameKind.FRAME_KIND_FILE_REQUEST && !this.#register(frame)) return undefined;
    holdUntilSent(frame);
    this.#stream?.send(frame);
    return this.#backPressure(this.#stream);
  }

  isInFlight(id: number): boolean {
    return this.#inFlight.has(id);
  }

  /** Cut: fs-env releases every handle of a session whose stream ends. */
  close(): void {
    this.#lost ??= new AppError('CANCELLED', 'the session is over');
    this.#inFlight.clear();
    this.#stream?.destroy();
  }

  #dialOptions(): DialOptions {
    const { address, token, proof, attach, deadlineMs } = this.#options;
    return {
      address,
      service: 'FsEnv',
      token,
      proof,
      deadlineMs,
      opening: makeFrame(0, FrameKind.FRAME_KIND_SESSION_OPEN, AttachTarget.encode(attach).finish()),
      onFrame: (frame) => this.#receive(frame),
      onClosed: (error) => this.#closed(error),
    };
  }

  /** False when the request has been answered here. */
  #register(frame: Frame): boolean {
    const { maxRequests } = this.#options;
    if (frame.id === 0 || frame.id % 2 === 0 || this.#inFlight.has(frame.id)) {
      throw new AppError('PROTOCOL_VIOLATION', `request with id ${frame.id}, which is not free for a client`);
    }
    const isAnswered = frame.head[0] !== CLOSE_TAG;
    if (this.#lost !== null) {
      if (isAnswered) this.#answer(frame.id, this.#lost);
      return false;
    }
    if (!isAnswered) return true;
    if (this.#inFlight.size >= maxRequests) {
      this.#answer(frame.id, new AppError('LIMIT_REACHED', `${maxRequests} requests are in flight, the most allowed`));
      return false;
    }
    this.#inFlight.add(frame.id);
    return true;
  }

  #receive(frame: Frame): void | Promise<void> {
    const { client } = this.#options;
    switch (frame.kind) {
      case FrameKind.FRAME_KIND_FILE_REPLY:
      case FrameKind.FRAME_KIND_ERROR:
        // An answer after the relay gave its own must not reach the client twice.
        if (!this.#inFlight.delete(frame.id)) return undefined;
        holdUntilSent(frame);
        client.send(frame);
        if (this.#inFlight.size === 0) this.#options.onIdle();
        return this.#backPressure(client);
      case FrameKind.FRAME_KIND_SESSION_OPENED:
        this.#settleFacts?.resolve(decodeHead(TargetFacts.decode, frame.head));
        this.#settleFacts = null;
        return undefined;
      case FrameKind.FRAME_KIND_SESSION_EVENT:
        client.send(frame);
        return undefined;
      case FrameKind.FRAME_KIND_SESSION_CLOSED:
        return undefined;
      default:
        throw new AppError('PROTOCOL_VIOLATION', `frame of kind ${frame.kind} from fs-env`);
    }
  }

  #backPressure(stream: SessionStream | null): void | Promise<void> {
    return stream !== null && stream.bufferedBytes > CLIENT_BEHIND_BYTES ? stream.drained() : undefined;
  }

  #closed(error: AppError | null): void {
    if (this.#lost !== null) return;
    const reason = error ?? new AppError('SERVICE_UNAVAILABLE', 'fs-env has ended');
    this.#lost = asUnavailable(reason);
    if (this.#settleFacts !== null) {
      this.#settleFacts.reject(reason);
      return;
    }
    for (const id of this.#inFlight) this.#answer(id, this.#lost);
    this.#inFlight.clear();
    this.#options.onLost(this.#lost);
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

/** For the client a service that is lost is unavailable, however it was lost. */
function asUnavailable(cause: AppError): AppError {
  if (cause.code === 'SERVICE_UNAVAILABLE') return cause;
  return new AppError('SERVICE_UNAVAILABLE', `fs-env is lost: ${cause.message}`, { cause });
}
