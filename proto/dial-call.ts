// One call of the dialling end on a connection of its own: what it is asked with, how it is answered, and what its end means.

import http2 from 'node:http2';
import net from 'node:net';
import type { Duplex } from 'node:stream';
import { CallConnection } from './call-connection.ts';
import { AppError, type AppErrorCode, GRPC_STATUS } from './errors.ts';
import { CONTENT_TYPE, errorOfStatus, type GrpcStatus, readStatus } from './grpc-status.ts';
import {
  AUTHORIZATION_KEY,
  DIRECTION_KEY,
  http2Settings,
  PROOF_KEY,
  SESSION_MEMORY_MB,
  type SessionService,
  sessionPath,
  windowBytes,
} from './grpc-tuning.ts';
import { VERSION } from './version.ts';

export interface Peer {
  readonly name: string;
  readonly lostCode: AppErrorCode;
  readonly address: string;
}

export interface CallOptions {
  /** `unix:/path` or `host:port`. */
  readonly address: string;
  readonly service: SessionService;
  readonly token: string;
  /** What a peer that knows the key answers the token with (token.ts, proofOfKey). Without it nobody is asked for one. */
  readonly proof?: string;
}

/** What the end of a call means. */
export interface Verdict {
  /** null: ended in order. */
  readonly error: AppError | null;
  /** Another try would hear the same. */
  readonly isFinal: boolean;
}

/** Of the first call on a connection (RFC 9113 section 5.1.1). */
export const CALL_ID = 1;

/** One call on a connection of its own. */
export class Call {
  readonly stream: http2.ClientHttp2Stream;
  /** Its DATA. */
  readonly connection: CallConnection;
  readonly #connection: http2.ClientHttp2Session;
  readonly #peer: Peer;
  readonly #proof: string | undefined;
  readonly #onAccepted: (headers: http2.IncomingHttpHeaders) => void;
  readonly #onEnded: (verdict: Verdict) => void;
  #fault: Error | null = null;
  #status: GrpcStatus | null = null;
  #isAccepted = false;
  #isImpostor = false;
  #hasEnded = false;

  constructor(given: {
    options: CallOptions;
    peer: Peer;
    direction: 'up' | 'down';
    headers: http2.OutgoingHttpHeaders;
    socket: Duplex;
    onAccepted: (headers: http2.IncomingHttpHeaders) => void;
    onEnded: (verdict: Verdict) => void;
  }) {
    const { options, peer, direction } = given;
    this.#peer = peer;
    this.#proof = options.proof;
    this.#onAccepted = given.onAccepted;
    this.#onEnded = given.onEnded;
    this.connection = new CallConnection(given.socket, options.address, 'client');
    this.#connection = openConnection(options.address, this.connection.duplex);
    this.#connection.on('error', (error) => this.#failed(error));
    this.stream = this.#connection.request(
      {
        ':method': 'POST',
        ':path': sessionPath(options.service),
        'content-type': CONTENT_TYPE,
        te: 'trailers',
        'user-agent': `mirrord/${VERSION}`,
        [AUTHORIZATION_KEY]: `Bearer ${options.token}`,
        [DIRECTION_KEY]: direction,
        ...given.headers,
      },
      { endStream: direction === 'down' },
    );
    this.stream.on('error', (error) => this.#failed(error));
    this.stream.once('response', (headers) => this.#answered(headers));
    this.stream.once('trailers', (trailers) => this.#setStatus(readStatus(trailers)));
    // A call ends only when it has been read to its end.
    this.stream.once('end', () => this.#ended());
    this.stream.once('close', () => this.#ended());
  }

  cut(): void {
    this.#connection.destroy();
  }

  #answered(headers: http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader): void {
    const status = readStatus(headers);
    if (status !== null) {
      this.#setStatus(status);
      this.#ended();
    } else if (headers[':status'] !== 200) {
      this.#failed(new Error(`HTTP status ${headers[':status']}, which no gRPC server gives`));
      this.#ended();
    } else if (this.#proof !== undefined && headers[PROOF_KEY] !== this.#proof) {
      this.#isImpostor = true;
      this.#ended();
    } else {
      this.#isAccepted = true;
      this.#onAccepted(headers);
    }
  }

  #setStatus(status: GrpcStatus | null): void {
    this.#status ??= status;
    // What the peer ends a call with an error for is not in its last messages.
    if (this.#status !== null && this.#status.code !== 0) this.#ended();
  }

  #failed(error: Error): void {
    this.#fault ??= error;
  }

  #ended(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#onEnded(this.#verdict());
  }

  /** The peer's own word in the trailers, else what the status says, else what the connection did. */
  #verdict(): Verdict {
    const { name, address, lostCode } = this.#peer;
    if (this.#isImpostor) {
      const who = `who answers for the ${name} at ${address} does not know the session key`;
      return { error: new AppError('UNAUTHENTICATED', who), isFinal: true };
    }
    if (this.#status === null) {
      const reason = this.#fault === null ? 'the call was cut' : reasonOf(this.#fault);
      const what = this.#isAccepted ? 'lost' : 'cannot reach';
      const error = new AppError(lostCode, `${what} the ${name} at ${address}: ${reason}`, {
        cause: this.#fault ?? undefined,
      });
      return { error, isFinal: false };
    }
    if (this.#status.code === 0) return { error: null, isFinal: true };
    try {
      const own = errorOfStatus(this.#status);
      // That the other call did not come in time is no word about the session.
      if (own !== null) return { error: own, isFinal: own.code !== 'DEADLINE_EXCEEDED' };
    } catch (error) {
      return { error: AppError.from(error, 'PROTOCOL_VIOLATION'), isFinal: true };
    }
    return verdictOfStatus(this.#status, this.#peer);
  }
}

/** Of somebody on the way who speaks gRPC and knows nothing of us. */
function verdictOfStatus({ code, message }: GrpcStatus, { name, address, lostCode }: Peer): Verdict {
  const reason = `${name} at ${address}: ${message}`;
  switch (code) {
    case GRPC_STATUS.UNAUTHENTICATED:
      return { error: new AppError('UNAUTHENTICATED', `refused by the ${reason}`), isFinal: true };
    case GRPC_STATUS.UNIMPLEMENTED:
      return { error: new AppError('UNSUPPORTED', `not served by the ${reason}`), isFinal: true };
    case GRPC_STATUS.RESOURCE_EXHAUSTED:
      return { error: new AppError('LIMIT_REACHED', `refused by the ${reason}`), isFinal: false };
    case GRPC_STATUS.UNAVAILABLE:
      return { error: new AppError(lostCode, `cannot reach the ${reason}`), isFinal: false };
    default:
      return { error: new AppError(lostCode, `lost the ${reason}`), isFinal: false };
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nobody listens there',
  ENOENT: 'there is no such socket',
  EACCES: 'this user may not open the socket',
  ECONNRESET: 'the connection was cut',
  EPIPE: 'the connection was cut',
};

/** What the system said: node's http2 tells of the stream that was cancelled by it. */
function reasonOf(error: Error): string {
  const cause = error.cause instanceof Error ? error.cause : error;
  return REASONS[(cause as NodeJS.ErrnoException).code ?? ''] ?? cause.message;
}

function openConnection(address: string, socket: Duplex): http2.ClientHttp2Session {
  const connection = http2.connect('http://localhost', {
    createConnection: () => socket,
    settings: http2Settings(address),
    maxSessionMemory: SESSION_MEMORY_MB,
  });
  connection.once('connect', () => {
    // Told in a later turn: it may be over by then.
    if (!connection.destroyed) connection.setLocalWindowSize(windowBytes(address));
  });
  return connection;
}

/** Node does not read from it. */
export function connectSocket(address: string): net.Socket {
  if (address.startsWith('unix:')) return net.connect({ path: address.slice('unix:'.length) }).pause();
  const at = address.lastIndexOf(':');
  const host = address.slice(0, at).replace(/^\[(.*)\]$/, '$1');
  return net.connect({ host, port: Number(address.slice(at + 1)), noDelay: true }).pause();
}
