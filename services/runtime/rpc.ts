// The serving end of sessions over grpc-js: admits calls by token before a frame is read, makes the two calls of a session
// one SessionStream, and sees to it that no connection outlives its call.

import { Metadata, Server, type ServerDuplexStream } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { AppError, GRPC_STATUS, toErrorDetail } from '#proto/errors.ts';
import { ErrorDetail } from '#proto/gen/v1/error.ts';
import {
  AUTHORIZATION_KEY,
  DIRECTION_KEY,
  ERROR_KEY,
  type IncomingBatch,
  type OutgoingBatch,
  PAIRING_DEADLINE_MS,
  type SessionService,
  serverOptions,
  sessionMethod,
  windowBytes,
} from '#proto/grpc-tuning.ts';
import { type FrameTransport, type SessionHandlers, SessionStream } from '#proto/session-stream.ts';
import { verifyToken } from '#proto/token.ts';
import { Connections } from './connections.ts';
import { listen } from './listen.ts';

export interface IncomingSession {
  /** As the token says. One live session has it at a time. */
  readonly sessionId: string;
  readonly stream: SessionStream;
}

export interface ServeOptions {
  /** `unix:/path` (made with mode 0600) or `host:port`. */
  address: string;
  service: SessionService;
  /** Of the session tokens (proto/token.ts). */
  key: Uint8Array;
  /** Live and half-open together; beyond it calls are refused with LIMIT_REACHED. */
  maxSessions: number;
  logger: Logger;
  /** Called when both calls of a session are there. A throw refuses them. The first frame must come within 10 s. */
  onSession(session: IncomingSession): SessionHandlers;
  /** How the dialling peer is called in messages. */
  peer?: string;
  pairingDeadlineMs?: number;
}

export interface SessionServer {
  /** As dial takes it, with the real port. */
  readonly address: string;
  readonly liveSessions: number;
  readonly connections: number;
  /** Cuts what is left. Sessions that should end in order are ended before. */
  close(): void;
}

/** Beside two per session: room for calls that are about to be refused. */
const SPARE_CONNECTIONS = 64;

type Call = ServerDuplexStream<IncomingBatch, OutgoingBatch>;
type Direction = 'up' | 'down';

interface HalfOpen {
  readonly direction: Direction;
  readonly call: Call;
  readonly timer: NodeJS.Timeout;
}

export async function serveSessions(options: ServeOptions): Promise<SessionServer> {
  const server = new Server(serverOptions());
  const connections = new Connections(server, windowBytes(options.address));
  const admission = new Admission(options, connections);
  server.addService({ session: sessionMethod(options.service) }, { session: (call: Call) => admission.admit(call) });
  const listening = await listen(options.address, (socket) => connections.injector.injectConnection(socket));
  listening.server.maxConnections = options.maxSessions * 2 + SPARE_CONNECTIONS;
  return {
    address: listening.address,
    get liveSessions() {
      return admission.liveSessions;
    },
    get connections() {
      return connections.size;
    },
    close: () => {
      listening.close();
      admission.close();
      connections.close();
      server.forceShutdown();
    },
  };
}

/** Who may come in, and which two calls belong together. */
class Admission {
  readonly #options: ServeOptions;
  readonly #connections: Connections;
  readonly #halfOpen = new Map<string, HalfOpen>();
  readonly #live = new Map<string, SessionStream>();

  constructor(options: ServeOptions, connections: Connections) {
    this.#options = options;
    this.#connections = connections;
  }

  get liveSessions(): number {
    return this.#live.size;
  }

  admit(call: Call): void {
    call.on('error', () => {
      // A cut call is told by 'cancelled'; without a listener the error would end the process.
    });
    try {
      const { sessionId, direction } = this.#authenticate(call.metadata);
      this.#pair(sessionId, direction, call);
    } catch (thrown) {
      const error = AppError.from(thrown, 'BUG');
      this.#options.logger.debug({ code: error.code, cause: error.message }, 'call refused');
      this.#refuse(call, error);
    }
  }

  close(): void {
    for (const { timer } of this.#halfOpen.values()) clearTimeout(timer);
    this.#halfOpen.clear();
    for (const stream of this.#live.values()) {
      stream.destroy(new AppError('CANCELLED', 'the server is shutting down'));
    }
  }

  #authenticate(metadata: Metadata): { sessionId: string; direction: Direction } {
    const [authorization] = metadata.get(AUTHORIZATION_KEY);
    const bearer = /^Bearer (\S+)$/.exec(String(authorization ?? ''));
    const { sessionId } = verifyToken(this.#options.key, bearer?.[1] ?? '');
    const [direction] = metadata.get(DIRECTION_KEY);
    if (direction !== 'up' && direction !== 'down') {
      throw new AppError('PROTOCOL_VIOLATION', `metadata ${DIRECTION_KEY} must be up or down`);
    }
    return { sessionId, direction };
  }

  #pair(sessionId: string, direction: Direction, call: Call): void {
    if (this.#live.has(sessionId)) throw new AppError('NOT_PERMITTED', `session ${sessionId} is already open`);
    const waiting = this.#halfOpen.get(sessionId);
    if (waiting === undefined) {
      this.#awaitOther(sessionId, direction, call);
      return;
    }
    if (waiting.direction === direction) {
      throw new AppError('NOT_PERMITTED', `session ${sessionId} already has its ${direction} call`);
    }
    this.#halfOpen.delete(sessionId);
    clearTimeout(waiting.timer);
    if (direction === 'up') this.#begin(sessionId, call, waiting.call);
    else this.#begin(sessionId, waiting.call, call);
  }

  #awaitOther(sessionId: string, direction: Direction, call: Call): void {
    const { maxSessions, pairingDeadlineMs = PAIRING_DEADLINE_MS } = this.#options;
    if (this.#live.size + this.#halfOpen.size >= maxSessions) {
      throw new AppError('LIMIT_REACHED', `${maxSessions} sessions are open, the most that are allowed`);
    }
    const timer = setTimeout(() => {
      this.#halfOpen.delete(sessionId);
      const other = direction === 'up' ? 'down' : 'up';
      this.#refuse(call, new AppError('DEADLINE_EXCEEDED', `no ${other} call within ${pairingDeadlineMs} ms`));
    }, pairingDeadlineMs);
    this.#halfOpen.set(sessionId, { direction, call, timer });
    call.once('cancelled', () => {
      if (this.#halfOpen.get(sessionId)?.call !== call) return;
      this.#halfOpen.delete(sessionId);
      clearTimeout(timer);
    });
  }

  #begin(sessionId: string, up: Call, down: Call): void {
    const { peer = 'client', pairingDeadlineMs = PAIRING_DEADLINE_MS } = this.#options;
    let handlers: SessionHandlers | null = null;
    const transport = new ServedTransport(up, down, (call, error) => this.#refuse(call, error));
    const stream = new SessionStream({
      transport,
      peer,
      lostCode: 'CANCELLED',
      onFrame: (frame) => {
        clearTimeout(firstFrameTimer);
        return handlers?.onFrame(frame);
      },
      onClosed: (error) => {
        clearTimeout(firstFrameTimer);
        this.#live.delete(sessionId);
        handlers?.onClosed(error);
      },
    });
    const firstFrameTimer = setTimeout(() => {
      stream.fail(new AppError('DEADLINE_EXCEEDED', `no frame within ${pairingDeadlineMs} ms`));
    }, pairingDeadlineMs);
    this.#live.set(sessionId, stream);
    try {
      handlers = this.#options.onSession({ sessionId, stream });
    } catch (thrown) {
      stream.destroy(AppError.from(thrown, 'BUG'));
      return;
    }
    transport.start(stream);
  }

  /** Ends a call with an error: the status for any gRPC tool, the ErrorDetail for our own. */
  #refuse(call: Call, error: AppError): void {
    const metadata = new Metadata();
    metadata.set(ERROR_KEY, Buffer.from(ErrorDetail.encode(toErrorDetail(error)).finish()));
    call.emit('error', { code: GRPC_STATUS[error.row.status], details: error.message, metadata });
    this.#connections.cut(call.metadata);
  }
}

/** The two calls of one session as the carrier of its frames. */
class ServedTransport implements FrameTransport {
  readonly #up: Call;
  readonly #down: Call;
  readonly #refuse: (call: Call, error: AppError) => void;

  constructor(up: Call, down: Call, refuse: (call: Call, error: AppError) => void) {
    this.#up = up;
    this.#down = down;
    this.#refuse = refuse;
  }

  start(stream: SessionStream): void {
    for (const call of [this.#up, this.#down]) {
      call.once('cancelled', () => stream.transportEnded(null));
      call.sendMetadata(new Metadata());
    }
    this.#up.on('data', (batch: Buffer) => stream.receive(batch));
    this.#up.once('end', () => stream.peerEnded());
    this.#down.on('drain', () => stream.transportDrained());
    this.#down.once('finish', () => stream.transportEnded(null));
    this.#down.resume();
  }

  write(batch: OutgoingBatch): boolean {
    return this.#down.write(batch);
  }

  end(): void {
    this.#down.end();
    this.#up.end();
  }

  destroy(error: AppError | null): void {
    const reason = error ?? new AppError('CANCELLED', 'the session was cut');
    for (const call of [this.#up, this.#down]) this.#refuse(call, reason);
  }
}
