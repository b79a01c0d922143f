// The serving end of sessions, gRPC over node's own HTTP/2: admits calls by token before a frame is read, makes the two
// calls of a session one SessionStream, and sees to it that no connection outlives its call.

import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import type { Logger } from 'pino';
import { AppError } from '#proto/errors.ts';
import type { Frame } from '#proto/frame.ts';
import { MessageReader, MessageWriter } from '#proto/grpc-message.ts';
import { CONTENT_TYPE, statusHeaders } from '#proto/grpc-status.ts';
import {
  AUTHORIZATION_KEY,
  DIRECTION_KEY,
  PAIRING_DEADLINE_MS,
  PROOF_KEY,
  type SessionService,
  sessionPath,
} from '#proto/grpc-tuning.ts';
import { LIVENESS_TIMES, type LivenessTimes } from '#proto/liveness.ts';
import { type FrameTransport, type SessionHandlers, SessionStream } from '#proto/session-stream.ts';
import { proofOfKey, verifyToken } from '#proto/token.ts';
import { Connections, MAX_STRANGERS } from './connections.ts';
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
  /** How long a peer may be silent. */
  liveness?: LivenessTimes;
}

export interface SessionServer {
  /** As dial takes it, with the real port. */
  readonly address: string;
  readonly liveSessions: number;
  readonly connections: number;
  /** Cuts what is left. Sessions that should end in order are ended before. */
  close(): void;
}

/** Beside two per session: strangers, and as many that are being closed. */
const SPARE_CONNECTIONS = MAX_STRANGERS * 2;

type Direction = 'up' | 'down';

interface HalfOpen {
  readonly direction: Direction;
  readonly call: Call;
  readonly timer: NodeJS.Timeout;
}

export async function serveSessions(options: ServeOptions): Promise<SessionServer> {
  const connections = new Connections(options.address, (stream, headers) => {
    const call = new Call(stream, connections);
    if (isSessionCall(headers, options.service)) admission.admit(call, headers);
    else call.refuse(new AppError('UNSUPPORTED', `${headers[':method']} ${headers[':path']} is not served here`));
  });
  const admission = new Admission(options);
  const listening = await listen(options.address, (socket) => connections.accept(socket));
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
    },
  };
}

/** `application/grpc`, with or without the name of a codec behind: bytes are bytes. */
function isSessionCall(headers: IncomingHttpHeaders, service: SessionService): boolean {
  const isGrpc = headers['content-type']?.startsWith(CONTENT_TYPE) === true;
  return isGrpc && headers[':method'] === 'POST' && headers[':path'] === sessionPath(service);
}

/** One call of a peer: accepted, then ended with a status; or refused. */
class Call {
  readonly stream: ServerHttp2Stream;
  readonly #connections: Connections;
  #status: AppError | null = null;
  #proof = '';

  constructor(stream: ServerHttp2Stream, connections: Connections) {
    this.stream = stream;
    this.#connections = connections;
  }

  /** It has said who it is; `proof` tells it who we are. */
  admitted(proof: string): void {
    this.#proof = proof;
    this.#connections.admitted(this.stream);
  }

  accept(): void {
    if (this.stream.destroyed) return;
    this.stream.once('wantTrailers', () => this.stream.sendTrailers(statusHeaders(this.#status)));
    const headers = { ':status': 200, 'content-type': CONTENT_TYPE, [PROOF_KEY]: this.#proof };
    this.stream.respond(headers, { waitForTrailers: true });
  }

  end(): void {
    this.stream.end();
  }

  /** Ends the call with an error, and its connection soon after. */
  refuse(error: AppError): void {
    this.#connections.cut(this.stream);
    if (this.stream.destroyed) return;
    this.#status = error;
    if (this.stream.headersSent) {
      this.stream.end();
      return;
    }
    const headers = { ':status': 200, 'content-type': CONTENT_TYPE, ...statusHeaders(error) };
    this.stream.respond(headers, { endStream: true });
    this.stream.resume();
  }
}

/** Who may come in, and which two calls belong together. */
class Admission {
  readonly #options: ServeOptions;
  readonly #halfOpen = new Map<string, HalfOpen>();
  readonly #live = new Map<string, SessionStream>();

  constructor(options: ServeOptions) {
    this.#options = options;
  }

  get liveSessions(): number {
    return this.#live.size;
  }

  admit(call: Call, headers: IncomingHttpHeaders): void {
    try {
      const { sessionId, direction, proof } = this.#authenticate(headers);
      call.admitted(proof);
      this.#pair(sessionId, direction, call);
    } catch (thrown) {
      const error = AppError.from(thrown, 'BUG');
      this.#options.logger.debug({ code: error.code, cause: error.message }, 'call refused');
      call.refuse(error);
    }
  }

  close(): void {
    for (const { timer } of this.#halfOpen.values()) clearTimeout(timer);
    this.#halfOpen.clear();
    for (const stream of this.#live.values()) {
      stream.destroy(new AppError('CANCELLED', 'the server is shutting down'));
    }
  }

  #authenticate(headers: IncomingHttpHeaders): { sessionId: string; direction: Direction; proof: string } {
    const { key } = this.#options;
    const [, token = ''] = /^Bearer (\S+)$/.exec(headers[AUTHORIZATION_KEY] ?? '') ?? [];
    const { sessionId } = verifyToken(key, token);
    const direction = headers[DIRECTION_KEY];
    if (direction !== 'up' && direction !== 'down') {
      throw new AppError('PROTOCOL_VIOLATION', `metadata ${DIRECTION_KEY} must be up or down`);
    }
    return { sessionId, direction, proof: proofOfKey(key, token) };
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
      call.refuse(new AppError('DEADLINE_EXCEEDED', `no ${other} call within ${pairingDeadlineMs} ms`));
    }, pairingDeadlineMs);
    this.#halfOpen.set(sessionId, { direction, call, timer });
    call.stream.once('close', () => {
      if (this.#halfOpen.get(sessionId)?.call !== call) return;
      this.#halfOpen.delete(sessionId);
      clearTimeout(timer);
    });
  }

  #begin(sessionId: string, up: Call, down: Call): void {
    const { peer = 'client', pairingDeadlineMs = PAIRING_DEADLINE_MS, liveness = LIVENESS_TIMES } = this.#options;
    let handlers: SessionHandlers | null = null;
    const transport = new ServedTransport(up, down);
    const stream = new SessionStream({
      transport,
      peer,
      lostCode: 'CANCELLED',
      liveness,
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
}

/** The two calls of one session as the carrier of its frames. */
class ServedTransport implements FrameTransport {
  readonly #up: Call;
  readonly #down: Call;
  readonly #writer: MessageWriter;
  #stream: SessionStream | null = null;

  constructor(up: Call, down: Call) {
    this.#up = up;
    this.#down = down;
    this.#writer = new MessageWriter(down.stream, () => this.#stream?.transportDrained());
  }

  start(stream: SessionStream): void {
    this.#stream = stream;
    for (const call of [this.#up, this.#down]) {
      call.stream.once('close', () => stream.transportEnded(null));
      call.accept();
    }
    const reader = new MessageReader((batch) => stream.receive(batch));
    this.#up.stream.on('data', (chunk: Buffer) => {
      try {
        reader.push(chunk);
      } catch (error) {
        stream.fail(AppError.from(error, 'BUG'));
      }
    });
    this.#up.stream.once('end', () => {
      stream.peerEnded();
      // A peer that hangs up without a word may leave its calls and connections open for ever.
      if (stream.isClosed) this.destroy(null);
    });
    this.#down.stream.resume();
  }

  write(batch: readonly Frame[]): boolean {
    return this.#writer.write(batch);
  }

  end(): void {
    this.#down.end();
    this.#up.end();
  }

  destroy(error: AppError | null): void {
    const reason = error ?? new AppError('CANCELLED', 'the session was cut');
    for (const call of [this.#up, this.#down]) call.refuse(reason);
  }
}
