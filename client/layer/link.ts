// The client's end of the socketpair to the supervisor: frames in and out, one answer for every request, and no more held
// in memory than its limits, in either direction. What a request means is the handlers' matter.

import type { Duplex } from 'node:stream';
import { AppError } from '#proto/errors.ts';
import { WIRE_VERSION, WireDecoder, WireError, type WireFrame, WireKind } from '#proto/wire.ts';
import { decodeRequest, replyResult, type Setup, setupFrame, type WireRequest } from '#proto/wire-client.ts';
import { isIncomingKind } from '#proto/wire-incoming.ts';
import { isNetKind } from '#proto/wire-net.ts';

export type Question = Exclude<
  WireRequest,
  {
    kind:
      | typeof WireKind.HELLO
      | typeof WireKind.STARTED
      | typeof WireKind.LOG
      | typeof WireKind.CANCEL
      | typeof WireKind.FAILED
      | typeof WireKind.ENDED
      | typeof WireKind.RELEASE;
  }
>;

export interface LinkHandlers {
  onHello(capabilities: number, lines: string[]): Setup;
  onStarted(pid: number): void;
  /** The local process could not be started: -errno, and what was tried. */
  onFailed(result: number, what: string): void;
  /** The local process has ended, `status` as of waitpid(2), and so many processes that it left go on. */
  onEnded(status: number, left: number): void;
  onLog(level: number, text: string): void;
  /** The reply's pieces, made with the replies of wire-client.ts. What it throws or rejects with becomes an errno. */
  answer(id: bigint, question: Question, signal: AbortSignal): Promise<Buffer[]> | Buffer[];
  release(handle: number): void;
  /** Frames of wire-net.ts, and CANCEL of what they asked. Answered by `send`, each as its kind wants; throws WireError. */
  receiveNet?(frame: WireFrame): void;
  /** Frames of wire-incoming.ts, likewise. */
  receiveIncoming?(frame: WireFrame): void;
  /** Once. null: the supervisor closed between two frames, or ended with answers unread. */
  onClosed(error: AppError | null): void;
}

/** Requests being answered at once; the threads of a large program. Beyond it the supervisor waits. */
const MAX_QUESTIONS = 1024;
/** Bytes of writes being carried and of answers not yet taken by the supervisor. Beyond it the supervisor waits. */
const MAX_HELD_BYTES = 8 * 1024 * 1024;

const NEVER = new AbortController().signal;

export class LayerLink {
  readonly #socket: Duplex;
  readonly #handlers: LinkHandlers;
  readonly #decoder = new WireDecoder();
  /** null: a question about an open file other than READ, which is answered whether anybody waits or not. */
  readonly #open = new Map<bigint, AbortController | null>();
  #drainWaiters: (() => void)[] = [];
  #heldBytes = 0;
  #isCorked = false;
  #isClosed = false;
  #hasSaidHello = false;

  constructor(socket: Duplex, handlers: LinkHandlers) {
    this.#socket = socket;
    this.#handlers = handlers;
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('drain', () => {
      this.#wakeDrainWaiters();
      this.#balance();
    });
    socket.on('end', () => this.#ended());
    socket.on('close', () => this.#close(null));
    socket.on('error', (error) => this.#close(isItsEnd(error) ? null : AppError.from(error, 'BUG')));
  }

  /** Questions that wait for an answer. */
  get openQuestions(): number {
    return this.#open.size;
  }

  /** Bytes that the supervisor has not taken yet. */
  get waitingBytes(): number {
    return this.#socket.writableLength;
  }

  /** Replies and frames about connections. Whoever sends on its own accord looks at `waitingBytes`. */
  send(pieces: Buffer[]): void {
    this.#write(pieces);
  }

  /** Resolves when the supervisor has taken what was sent, or the link is closed. */
  drained(): Promise<void> {
    if (this.#isClosed || !this.#socket.writableNeedDrain) return Promise.resolve();
    return new Promise((resolve) => this.#drainWaiters.push(resolve));
  }

  close(): void {
    this.#close(null);
  }

  #receive(chunk: Buffer): void {
    if (this.#isClosed) return;
    try {
      for (const frame of this.#decoder.push(chunk)) this.#receiveFrame(frame);
    } catch (error) {
      this.#close(error instanceof WireError ? violation(error) : AppError.from(error, 'BUG'));
      return;
    }
    this.#balance();
  }

  #receiveFrame(frame: WireFrame): void {
    if (isIncomingKind(frame.kind)) {
      this.#handlers.receiveIncoming?.(frame);
      return;
    }
    if (isNetKind(frame.kind) || (frame.kind === WireKind.CANCEL && !this.#open.has(frame.id))) {
      this.#handlers.receiveNet?.(frame);
      return;
    }
    const request = decodeRequest(frame.kind, frame.body);
    switch (request.kind) {
      case WireKind.HELLO:
        this.#greet(request);
        return;
      case WireKind.STARTED:
        this.#handlers.onStarted(request.pid);
        return;
      case WireKind.FAILED:
        this.#handlers.onFailed(request.result, request.what);
        return;
      case WireKind.ENDED:
        this.#handlers.onEnded(request.status, request.left);
        return;
      case WireKind.LOG:
        this.#handlers.onLog(request.level, request.text);
        return;
      case WireKind.CANCEL:
        this.#open.get(frame.id)?.abort();
        return;
      case WireKind.RELEASE:
        this.#handlers.release(request.handle);
        return;
      default:
        this.#answer(frame, request);
    }
  }

  #greet(hello: { version: number; capabilities: number; lines: string[] }): void {
    if (hello.version !== WIRE_VERSION) {
      const versions = `the supervisor speaks version ${hello.version}, the client ${WIRE_VERSION}`;
      throw new AppError('PROTOCOL_VIOLATION', `${versions}: they are not of one build`);
    }
    if (this.#hasSaidHello) throw new AppError('PROTOCOL_VIOLATION', 'the supervisor said hello twice');
    this.#hasSaidHello = true;
    this.#write(setupFrame(this.#handlers.onHello(hello.capabilities, hello.lines)));
  }

  #answer(frame: WireFrame, question: Question): void {
    if (this.#open.has(frame.id)) throw new AppError('PROTOCOL_VIOLATION', `request ${frame.id} was asked twice`);
    const mayBeGivenUp = !('handle' in question) || question.kind === WireKind.READ;
    const controller = mayBeGivenUp ? new AbortController() : null;
    this.#open.set(frame.id, controller);
    this.#heldBytes += frame.body.length;
    void this.#settle(frame, question, controller?.signal ?? NEVER);
  }

  async #settle(frame: WireFrame, question: Question, signal: AbortSignal): Promise<void> {
    let reply: Buffer[];
    try {
      reply = await this.#handlers.answer(frame.id, question, signal);
    } catch (error) {
      reply = replyResult(frame.id, -AppError.from(error, 'BUG').localErrno);
    }
    this.#open.delete(frame.id);
    this.#heldBytes -= frame.body.length;
    this.#write(reply);
    this.#balance();
  }

  /** Pieces of one turn of the loop leave in one system call. */
  #write(pieces: Buffer[]): void {
    if (this.#isClosed) return;
    if (!this.#isCorked) {
      this.#isCorked = true;
      this.#socket.cork();
      process.nextTick(() => {
        this.#isCorked = false;
        this.#socket.uncork();
      });
    }
    for (const piece of pieces) this.#socket.write(piece);
  }

  #balance(): void {
    if (this.#isClosed) return;
    const isFull = this.#open.size >= MAX_QUESTIONS || this.#heldBytes + this.#socket.writableLength >= MAX_HELD_BYTES;
    if (isFull && !this.#socket.isPaused()) this.#socket.pause();
    else if (!isFull && this.#socket.isPaused()) this.#socket.resume();
  }

  #wakeDrainWaiters(): void {
    const waiters = this.#drainWaiters;
    this.#drainWaiters = [];
    for (const resolve of waiters) resolve();
  }

  #ended(): void {
    this.#close(this.#decoder.isAtBoundary ? null : new AppError('PROTOCOL_VIOLATION', 'the supervisor was cut off'));
  }

  #close(error: AppError | null): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const controller of this.#open.values()) controller?.abort();
    this.#socket.destroy();
    this.#wakeDrainWaiters();
    this.#handlers.onClosed(error);
  }
}

/** It has ended before it read our last answers, which nobody waited for any more: its exit says whether that was a fault. */
function isItsEnd(error: Error): boolean {
  return 'code' in error && (error.code === 'EPIPE' || error.code === 'ECONNRESET');
}

function violation(cause: WireError): AppError {
  return new AppError('PROTOCOL_VIOLATION', `the supervisor broke the protocol: ${cause.message}`, { cause });
}
