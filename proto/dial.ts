// The dialling end of a session: two calls on two connections made into one SessionStream. The only file of proto that
// loads grpc-js; a client imports it when it is about to dial and not before.

import { Client, type ClientDuplexStream, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { AppError, type AppErrorCode, fromErrorDetail } from './errors.ts';
import type { Frame } from './frame.ts';
import { ErrorDetail } from './gen/v1/error.ts';
import {
  AUTHORIZATION_KEY,
  clientOptions,
  DIRECTION_KEY,
  ERROR_KEY,
  type IncomingBatch,
  type OutgoingBatch,
  type SessionService,
  sessionMethod,
} from './grpc-tuning.ts';
import { type FrameTransport, type SessionHandlers, SessionStream } from './session-stream.ts';

export interface DialOptions extends SessionHandlers {
  /** `unix:/path` or `host:port`. */
  address: string;
  service: SessionService;
  token: string;
  /** For both calls to be accepted. */
  deadlineMs: number;
  /** Sent with the calls instead of after their acceptance: saves a round trip. */
  opening?: Frame;
}

type Call = ClientDuplexStream<OutgoingBatch, IncomingBatch>;

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
  const peer: Peer =
    options.service === 'Gateway'
      ? { name: 'agent', lostCode: 'AGENT_LOST', address: options.address }
      : { name: 'fs-env', lostCode: 'SERVICE_UNAVAILABLE', address: options.address };
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

class DialledTransport implements FrameTransport {
  readonly #clients: Client[];
  readonly #up: Call;
  readonly #down: Call;
  readonly #peer: Peer;
  #stream: SessionStream | null = null;
  #settleAccepted: { resolve: () => void; reject: (error: AppError) => void } | null = null;
  #acceptedCalls = 0;
  #endedCalls = 0;
  #firstError: AppError | null = null;

  constructor(options: DialOptions, peer: Peer) {
    this.#peer = peer;
    const calls = (['up', 'down'] as const).map((direction) => {
      const client = new Client(options.address, credentials.createInsecure(), clientOptions(options.address));
      const metadata = new Metadata();
      metadata.set(AUTHORIZATION_KEY, `Bearer ${options.token}`);
      metadata.set(DIRECTION_KEY, direction);
      const { path, requestSerialize, responseDeserialize } = sessionMethod(options.service);
      return { client, call: client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata) };
    });
    this.#clients = calls.map(({ client }) => client);
    [this.#up, this.#down] = calls.map(({ call }) => call) as [Call, Call];
  }

  attach(stream: SessionStream): void {
    this.#stream = stream;
    for (const call of [this.#up, this.#down]) {
      call.on('metadata', () => this.#onAccepted());
      call.on('error', (error: ServiceError) => this.#onEnded(toAppError(error, this.#peer)));
      call.on('end', () => this.#onEnded(null));
    }
    // A call ends only when it has been read to its end.
    this.#up.resume();
    this.#up.on('drain', () => stream.transportDrained());
    this.#down.end();
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
    setImmediate(() => this.#down.on('data', (batch: Buffer) => this.#stream?.receive(batch)));
  }

  write(batch: OutgoingBatch): boolean {
    return this.#up.write(batch);
  }

  end(): void {
    this.#up.end();
  }

  destroy(): void {
    for (const call of [this.#up, this.#down]) call.cancel();
    this.#closeClients();
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
    if (error !== null) this.destroy();
    this.#closeClients();
  }

  #closeClients(): void {
    for (const client of this.#clients) client.close();
  }
}

/** What a failed call means: the peer's own word in the trailers, else what the status says. */
function toAppError(error: ServiceError, peer: Peer): AppError {
  const [detail] = error.metadata?.get(ERROR_KEY) ?? [];
  if (Buffer.isBuffer(detail)) {
    try {
      const { code, message, errno, data } = fromErrorDetail(ErrorDetail.decode(detail));
      return new AppError(code, message, { errno, data, cause: error });
    } catch {
      return new AppError('PROTOCOL_VIOLATION', `the ${peer.name} sent an error that cannot be read`, { cause: error });
    }
  }
  const reason = `${peer.name} at ${peer.address}: ${error.details}`;
  switch (error.code) {
    case status.UNAUTHENTICATED:
      return new AppError('UNAUTHENTICATED', `refused by the ${reason}`, { cause: error });
    case status.UNIMPLEMENTED:
      return new AppError('UNSUPPORTED', `not served by the ${reason}`, { cause: error });
    case status.RESOURCE_EXHAUSTED:
      return new AppError('LIMIT_REACHED', `refused by the ${reason}`, { cause: error });
    case status.UNAVAILABLE:
      return new AppError(peer.lostCode, `cannot reach the ${reason}`, { cause: error });
    default:
      return new AppError(peer.lostCode, `lost the ${reason}`, { cause: error });
  }
}
