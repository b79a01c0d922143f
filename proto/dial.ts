// The dialling end of a session: two gRPC calls on two connections made into one SessionStream. Speaks gRPC with node's own
// HTTP/2: what a library would add to the start of a command is more than all that is needed of it here.

import http2 from 'node:http2';
import net from 'node:net';
import { AppError, type AppErrorCode, GRPC_STATUS } from './errors.ts';
import type { Frame } from './frame.ts';
import { MessageReader, MessageWriter } from './grpc-message.ts';
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
import { type FrameTransport, type SessionHandlers, SessionStream } from './session-stream.ts';
import { VERSION } from './version.ts';

export interface DialOptions extends SessionHandlers {
  /** `unix:/path` or `host:port`. */
  address: string;
  service: SessionService;
  token: string;
  /** What a peer that knows the key answers the token with (token.ts, proofOfKey). Without it nobody is asked for one. */
  proof?: string;
  /** For both calls to be accepted. */
  deadlineMs: number;
  /** Sent with the calls instead of after their acceptance: saves a round trip. */
  opening?: Frame;
}

/** As messages call who serves it. */
const PEER_NAMES: Readonly<Record<SessionService, string>> = {
  Gateway: 'agent',
  FsEnv: 'fs-env',
  Sniffer: 'sniffer',
  Stealer: 'stealer',
};

interface Peer {
  readonly name: string;
  readonly lostCode: AppErrorCode;
  readonly address: string;
}

/**
 * Resolves when the peer has accepted both calls; no frame is handed over before that. Rejects with UNAUTHENTICATED,
 * LIMIT_REACHED, DEADLINE_EXCEEDED or, when nobody answers, AGENT_LOST (SERVICE_UNAVAILABLE for a service of the agent),
 * and then `onClosed` is not called. A refusal that is SESSION_ERROR comes to `onClosed`.
 */
export async function dial(options: DialOptions): Promise<SessionStream> {
  const lostCode = options.service === 'Gateway' ? 'AGENT_LOST' : 'SERVICE_UNAVAILABLE';
  const peer: Peer = { name: PEER_NAMES[options.service], lostCode, address: options.address };
  const transport = new DialledTransport(options, peer);
  let isAccepted = false;
  const stream = new SessionStream({
    transport,
    peer: peer.name,
    lostCode: peer.lostCode,
    onFrame: options.onFrame,
    onClosed: (error) => {
      if (isAccepted) options.onClosed(error);
      else transport.refuse(error ?? new AppError(peer.lostCode, `the ${peer.name} closed before it accepted`));
    },
  });
  transport.attach(stream);
  try {
    if (options.opening !== undefined) stream.send(options.opening);
    await transport.accepted(options.deadlineMs);
  } catch (error) {
    stream.destroy();
    throw error;
  }
  isAccepted = true;
  transport.startReading();
  return stream;
}

/** One call on a connection of its own. */
class Call {
  readonly stream: http2.ClientHttp2Stream;
  readonly #connection: http2.ClientHttp2Session;
  readonly #peer: Peer;
  readonly #proof: string | undefined;
  readonly #onAccepted: () => void;
  readonly #onEnded: (error: AppError | null) => void;
  #fault: Error | null = null;
  #status: GrpcStatus | null = null;
  #isAccepted = false;
  #isImpostor = false;
  #hasEnded = false;

  constructor(
    options: DialOptions,
    peer: Peer,
    direction: 'up' | 'down',
    onAccepted: () => void,
    onEnded: (error: AppError | null) => void,
  ) {
    this.#peer = peer;
    this.#proof = options.proof;
    this.#onAccepted = onAccepted;
    this.#onEnded = onEnded;
    this.#connection = openConnection(options.address);
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
      this.#onAccepted();
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

  /** What the end means: the peer's own word in the trailers, else what the status says, else what the connection did. */
  #verdict(): AppError | null {
    const { name, address, lostCode } = this.#peer;
    if (this.#isImpostor) {
      return new AppError('UNAUTHENTICATED', `who answers for the ${name} at ${address} does not know the session key`);
    }
    if (this.#status === null) {
      const reason = this.#fault === null ? 'the call was cut' : reasonOf(this.#fault);
      const what = this.#isAccepted ? 'lost' : 'cannot reach';
      return new AppError(lostCode, `${what} the ${name} at ${address}: ${reason}`, {
        cause: this.#fault ?? undefined,
      });
    }
    if (this.#status.code === 0) return null;
    try {
      const own = errorOfStatus(this.#status);
      if (own !== null) return own;
    } catch (error) {
      return AppError.from(error, 'PROTOCOL_VIOLATION');
    }
    const reason = `${name} at ${address}: ${this.#status.message}`;
    switch (this.#status.code) {
      case GRPC_STATUS.UNAUTHENTICATED:
        return new AppError('UNAUTHENTICATED', `refused by the ${reason}`);
      case GRPC_STATUS.UNIMPLEMENTED:
        return new AppError('UNSUPPORTED', `not served by the ${reason}`);
      case GRPC_STATUS.RESOURCE_EXHAUSTED:
        return new AppError('LIMIT_REACHED', `refused by the ${reason}`);
      case GRPC_STATUS.UNAVAILABLE:
        return new AppError(lostCode, `cannot reach the ${reason}`);
      default:
        return new AppError(lostCode, `lost the ${reason}`);
    }
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

class DialledTransport implements FrameTransport {
  readonly #up: Call;
  readonly #down: Call;
  readonly #writer: MessageWriter;
  #stream: SessionStream | null = null;
  #settleAccepted: { resolve: () => void; reject: (error: AppError) => void } | null = null;
  #acceptedCalls = 0;
  #endedCalls = 0;
  #firstError: AppError | null = null;
  readonly #peer: Peer;

  constructor(options: DialOptions, peer: Peer) {
    this.#peer = peer;
    const call = (direction: 'up' | 'down') =>
      new Call(
        options,
        peer,
        direction,
        () => this.#onAccepted(),
        (error) => this.#onEnded(error),
      );
    this.#up = call('up');
    this.#down = call('down');
    this.#writer = new MessageWriter(this.#up.stream, () => this.#stream?.transportDrained());
  }

  attach(stream: SessionStream): void {
    this.#stream = stream;
    this.#up.stream.resume();
  }

  accepted(deadlineMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const { name, address } = this.#peer;
      const timer = setTimeout(() => {
        reject(new AppError('DEADLINE_EXCEEDED', `no answer from the ${name} at ${address} within ${deadlineMs} ms`));
      }, deadlineMs);
      const settle = (act: () => void) => {
        clearTimeout(timer);
        this.#settleAccepted = null;
        act();
      };
      this.#settleAccepted = { resolve: () => settle(resolve), reject: (error) => settle(() => reject(error)) };
    });
  }

  refuse(error: AppError): void {
    this.#settleAccepted?.reject(error);
  }

  /** In a later turn of the loop than the promise of `dial`, so that who awaits it holds the stream first. */
  startReading(): void {
    const reader = new MessageReader((batch) => this.#stream?.receive(batch));
    setImmediate(() => {
      this.#down.stream.on('data', (chunk: Buffer) => {
        try {
          reader.push(chunk);
        } catch (error) {
          this.#stream?.destroy(AppError.from(error, 'BUG'));
        }
      });
    });
  }

  write(batch: readonly Frame[]): boolean {
    return this.#writer.write(batch);
  }

  end(): void {
    this.#up.stream.end();
  }

  destroy(): void {
    this.#up.cut();
    this.#down.cut();
  }

  #onAccepted(): void {
    this.#acceptedCalls += 1;
    if (this.#acceptedCalls === 2) this.#settleAccepted?.resolve();
  }

  #onEnded(error: AppError | null): void {
    this.#firstError ??= error;
    this.#endedCalls += 1;
    if (error === null && this.#endedCalls < 2) return;
    this.#stream?.transportEnded(this.#firstError);
    this.destroy();
  }
}

function openConnection(address: string): http2.ClientHttp2Session {
  const connection = http2.connect('http://localhost', {
    createConnection: () => connectSocket(address),
    settings: http2Settings(address),
    maxSessionMemory: SESSION_MEMORY_MB,
  });
  connection.once('connect', () => connection.setLocalWindowSize(windowBytes(address)));
  return connection;
}

function connectSocket(address: string): net.Socket {
  if (address.startsWith('unix:')) return net.connect({ path: address.slice('unix:'.length) });
  const at = address.lastIndexOf(':');
  const host = address.slice(0, at).replace(/^\[(.*)\]$/, '$1');
  return net.connect({ host, port: Number(address.slice(at + 1)), noDelay: true });
}
