// NATS, for commands and presence, never for a payload. The only importer of the NATS library; subjects come from
// proto/subjects.ts and payloads are messages of proto/v1/event.proto.

import {
  AuthorizationError,
  type ConnectionOptions,
  connect,
  headers as makeHeaders,
  type NatsConnection,
  NoRespondersError,
  RequestError,
  type Subscription,
  TimeoutError,
  type TlsOptions,
} from '@nats-io/transport-node';
import type { Logger } from 'pino';
import { AppError } from '#proto/errors.ts';
import { inboxOf, OWN_USER } from '#proto/subjects.ts';

export interface BusOptions {
  /** `nats://HOST:PORT`, `nats://TOKEN@HOST:PORT` or `nats://USER:PASSWORD@HOST:PORT`. Secret: never logged. */
  url: string;
  /** Of this process, as the server's monitoring shows it. */
  name: string;
  /** For the first connection; later ones are retried for ever. */
  deadlineMs: number;
  logger: Logger;
}

export type BusStatus = 'connected' | 'disconnected' | 'closed';

/** Payloads on the bus are announcements and events; a larger one is a mistake. */
const MAX_PAYLOAD_BYTES = 64 * 1024;
const ATTEMPT_TIMEOUT_MS = 2_000;
const RETRY_MS = 100;
const RECONNECT_WAIT_MS = 250;
/** Two unanswered in a row and the connection counts as lost. */
const PING_INTERVAL_MS = 5_000;

export class Bus {
  readonly #connection: NatsConnection;
  readonly #logger: Logger;
  readonly #listeners = new Set<(status: BusStatus) => void>();
  #status: BusStatus = 'connected';

  private constructor(connection: NatsConnection, logger: Logger) {
    this.#connection = connection;
    this.#logger = logger;
    void this.#watchStatus();
  }

  /** Retries until the deadline. Throws SERVICE_UNAVAILABLE, or NOT_PERMITTED at once when the server refuses us. */
  static async connect(options: BusOptions): Promise<Bus> {
    const deadlineMs = performance.now() + options.deadlineMs;
    const settings = connectionOptions(options);
    const place = String(settings.servers);
    for (;;) {
      try {
        return new Bus(await connect(settings), options.logger);
      } catch (cause) {
        if (cause instanceof AuthorizationError) {
          throw new AppError('NOT_PERMITTED', `nats at ${place} refuses our credentials`, { cause });
        }
        if (performance.now() + RETRY_MS >= deadlineMs) {
          throw new AppError('SERVICE_UNAVAILABLE', `no nats at ${place} within ${options.deadlineMs} ms`, { cause });
        }
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  get status(): BusStatus {
    return this.#status;
  }

  /** Told of every change. Returns the function that ends it. */
  onStatus(listener: (status: BusStatus) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Droppable by nature: lost without NATS, and for who does not listen. */
  publish(subject: string, payload: Uint8Array): void {
    assertPayload(subject, payload);
    if (this.#status === 'closed') return;
    this.#connection.publish(subject, payload);
  }

  /** Throws SERVICE_UNAVAILABLE when nobody answers on the subject, DEADLINE_EXCEEDED when the answer does not come. */
  async request(
    subject: string,
    payload: Uint8Array,
    timeoutMs: number,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Uint8Array> {
    assertPayload(subject, payload);
    const own = makeHeaders();
    for (const [name, value] of Object.entries(headers)) own.set(name, value);
    const options = { timeout: timeoutMs, ...(Object.keys(headers).length === 0 ? {} : { headers: own }) };
    try {
      const answer = await this.#connection.request(subject, payload, options);
      return answer.data;
    } catch (cause) {
      const isNobody =
        cause instanceof NoRespondersError || (cause instanceof RequestError && cause.isNoResponders?.() === true);
      if (isNobody) throw new AppError('SERVICE_UNAVAILABLE', `nobody answers on ${subject}`, { cause });
      if (cause instanceof TimeoutError) {
        throw new AppError('DEADLINE_EXCEEDED', `no answer on ${subject} within ${timeoutMs} ms`, { cause });
      }
      throw AppError.from(cause, 'SERVICE_UNAVAILABLE');
    }
  }

  /** Calls the handler for every message; survives reconnects. Returns the function that ends it. */
  subscribe(subject: string, onMessage: (payload: Uint8Array) => void): () => void {
    return this.#consume(subject, (payload) => {
      onMessage(payload);
      return null;
    });
  }

  /** Answers every request on the subject. Returns the function that ends it. */
  respond(subject: string, answer: (payload: Uint8Array) => Uint8Array): () => void {
    return this.#consume(subject, answer);
  }

  /** Resolves when the server has seen everything published and every subscription. */
  async flush(): Promise<void> {
    await this.#connection.flush();
  }

  /** Finishes what is in hand, then closes. Without a server there is nothing to finish. */
  async close(): Promise<void> {
    if (this.#connection.isClosed()) return;
    if (this.#status === 'connected') await this.#connection.drain();
    else await this.#connection.close();
  }

  #consume(subject: string, handle: (payload: Uint8Array) => Uint8Array | null): () => void {
    const subscription: Subscription = this.#connection.subscribe(subject, {
      callback: (error, message) => {
        if (error !== null) {
          this.#logger.warn({ subject, err: error }, 'subscription failed');
          return;
        }
        try {
          const answer = handle(message.data);
          if (answer !== null) message.respond(answer);
        } catch (err) {
          this.#logger.warn({ subject, err }, 'message could not be handled');
        }
      },
    });
    return () => {
      if (!this.#connection.isClosed()) subscription.unsubscribe();
    };
  }

  async #watchStatus(): Promise<void> {
    for await (const status of this.#connection.status()) {
      if (status.type === 'disconnect') this.#become('disconnected');
      else if (status.type === 'reconnect') this.#become('connected');
    }
    this.#become('closed');
  }

  #become(status: BusStatus): void {
    if (status === this.#status) return;
    this.#status = status;
    this.#logger.info({ status }, 'nats status changed');
    for (const listener of this.#listeners) listener(status);
  }
}

function connectionOptions(options: BusOptions): ConnectionOptions & { tls?: TlsOptions | null } {
  const url = parseBusUrl(options.url);
  const user = decodeURIComponent(url.username);
  const pass = decodeURIComponent(url.password);
  const credentials = user === '' ? {} : pass === '' ? { token: user } : { user, pass };
  return {
    ...credentials,
    ...(user.startsWith(OWN_USER) ? { inboxPrefix: inboxOf(user) } : {}),
    servers: url.host,
    name: options.name,
    timeout: ATTEMPT_TIMEOUT_MS,
    maxReconnectAttempts: -1,
    reconnectTimeWait: RECONNECT_WAIT_MS,
    reconnectJitter: RECONNECT_WAIT_MS,
    pingInterval: PING_INTERVAL_MS,
    maxPingOut: 2,
    // A server that restarts with another token is not ours any more, but one that restarts is.
    ignoreAuthErrorAbort: true,
  };
}

function parseBusUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || url.protocol !== 'nats:' || url.host === '') {
    throw new AppError('CONFIG_INVALID', 'the nats address must look like nats://host:port');
  }
  return url;
}

function assertPayload(subject: string, payload: Uint8Array): void {
  if (payload.length <= MAX_PAYLOAD_BYTES) return;
  throw new AppError('BUG', `${payload.length} bytes on ${subject}: the bus carries no payloads`);
}
