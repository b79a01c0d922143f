// The dialling end of a session: two gRPC calls on two connections made into one SessionStream, and made anew when they
// break. Speaks gRPC with node's own HTTP/2: what a library would add to the start of a command is more than all that is
// needed of it here.

import type { OutgoingHttpHeaders } from 'node:http2';
import type { Duplex } from 'node:stream';
import { type CallOptions, connectSocket, type Peer } from './dial-call.ts';
import { type Answer, DialledCarrier } from './dialled-carrier.ts';
import { AppError } from './errors.ts';
import type { Frame } from './frame.ts';
import { ATTEMPT_KEY, GRACE_KEY, RECEIVED_KEY, RETURN_KEY, type SessionService } from './grpc-tuning.ts';
import type { LivenessTimes } from './liveness.ts';
import { Redialler } from './redial.ts';
import { RenewableTransport } from './renewable-transport.ts';
import { type SessionHandlers, SessionStream } from './session-stream.ts';

/** For one attempt to reach the peer again. */
const ATTEMPT_DEADLINE_MS = 10_000;

export interface Renewal {
  /** How long the session may be without a connection; the peer may allow less. */
  graceMs: number;
  /** For the attempt of this number to come back (token.ts, proofOfReturn). */
  prove(attempt: number, received: number): string;
  /** The connection broke; another is being made. `graceMs` is what both sides agreed on. */
  onInterrupted?(error: AppError, graceMs: number): void;
  /** The session goes on. */
  onRenewed?(awayMs: number): void;
  /** The session is over, however it ended. */
  onOver?(): void;
}

export interface DialOptions extends SessionHandlers, CallOptions {
  /** For both calls to be accepted. */
  deadlineMs: number;
  /** Sent with the calls instead of after their acceptance: saves a round trip. */
  opening?: Frame;
  /** How long the peer may be silent. */
  liveness?: LivenessTimes;
  /** Without it the first break ends the session. */
  renewal?: Renewal;
  /**
   * A fresh connection to the peer; called twice for each attempt. Without it a socket is opened to `address`, which
   * otherwise serves for messages and for the size of windows. Aborted when nobody waits for it any more.
   */
  connect?(signal: AbortSignal): Promise<Duplex>;
}

/** As messages call who serves it. */
const PEER_NAMES: Readonly<Record<SessionService, string>> = {
  Gateway: 'agent',
  FsEnv: 'fs-env',
  Sniffer: 'sniffer',
  Stealer: 'stealer',
};

/**
 * Resolves when the peer has accepted both calls; no frame is handed over before that. Rejects with UNAUTHENTICATED,
 * LIMIT_REACHED, DEADLINE_EXCEEDED or, when nobody answers, AGENT_LOST (SERVICE_UNAVAILABLE for a service of the agent),
 * and then `onClosed` is not called. A refusal that is SESSION_ERROR comes to `onClosed`.
 */
export async function dial(options: DialOptions): Promise<SessionStream> {
  const lostCode = options.service === 'Gateway' ? 'AGENT_LOST' : 'SERVICE_UNAVAILABLE';
  const peer: Peer = { name: PEER_NAMES[options.service], lostCode, address: options.address };
  const renewing = options.renewal === undefined ? null : new Renewing(options, peer, options.renewal);
  const transport = new RenewableTransport({ onBroken: (error) => renewing?.start(error) });
  if (renewing === null) transport.forgo();
  let isAccepted = false;
  let closedEarly: AppError | null = null;
  const stream = new SessionStream({
    transport,
    peer: peer.name,
    lostCode: peer.lostCode,
    ...(options.liveness === undefined ? {} : { liveness: options.liveness }),
    onFrame: options.onFrame,
    onClosed: (error) => {
      renewing?.stop();
      if (isAccepted) options.onClosed(error);
      else closedEarly = error;
    },
  });
  transport.bind(stream);
  renewing?.bind(transport, stream);
  try {
    const answer = await open(options, peer, transport, stream);
    if (closedEarly !== null) throw closedEarly;
    if (answer.kind !== 'accepted') throw answer.error;
    if (answer.graceMs === null) transport.forgo();
    else if (renewing !== null) renewing.graceMs = Math.min(renewing.graceMs, answer.graceMs);
  } catch (error) {
    stream.destroy();
    throw error;
  }
  isAccepted = true;
  return stream;
}

async function open(
  options: DialOptions,
  peer: Peer,
  transport: RenewableTransport,
  stream: SessionStream,
): Promise<Answer> {
  const { deadlineMs, opening, renewal } = options;
  const headers = renewal === undefined ? {} : { [GRACE_KEY]: String(renewal.graceMs) };
  const giveUp = new AbortController();
  const startedMs = performance.now();
  const carrier = await makeCarrier(options, peer, headers, deadlineMs, giveUp.signal);
  transport.adopt(carrier, 0);
  if (opening !== undefined) stream.send(opening);
  return carrier.answered(Math.max(1, deadlineMs - (performance.now() - startedMs)));
}

/** The session's second life and the ones after it. */
class Renewing {
  graceMs: number;
  readonly #options: DialOptions;
  readonly #peer: Peer;
  readonly #renewal: Renewal;
  readonly #redialler: Redialler;
  #transport: RenewableTransport | null = null;
  #stream: SessionStream | null = null;
  #brokenAtMs = 0;

  constructor(options: DialOptions, peer: Peer, renewal: Renewal) {
    this.#options = options;
    this.#peer = peer;
    this.#renewal = renewal;
    this.graceMs = renewal.graceMs;
    this.#redialler = new Redialler({
      peer: peer.name,
      attempt: (number, signal) => this.#attempt(number, signal),
      onAccepted: (carrier, received) => this.#accepted(carrier, received),
      onGivenUp: (error) => this.#stream?.destroy(error),
    });
  }

  bind(transport: RenewableTransport, stream: SessionStream): void {
    this.#transport = transport;
    this.#stream = stream;
  }

  start(error: AppError): void {
    this.#brokenAtMs = performance.now();
    this.#renewal.onInterrupted?.(error, this.graceMs);
    this.#redialler.start(error, this.graceMs);
  }

  stop(): void {
    this.#redialler.stop();
    this.#renewal.onOver?.();
  }

  async #attempt(number: number, signal: AbortSignal): Promise<{ carrier: DialledCarrier; answer: Answer }> {
    const received = this.#transport?.received ?? 0;
    const headers = {
      [GRACE_KEY]: String(this.graceMs),
      [ATTEMPT_KEY]: String(number),
      [RECEIVED_KEY]: String(received),
      [RETURN_KEY]: this.#renewal.prove(number, received),
    };
    const carrier = await makeCarrier(this.#options, this.#peer, headers, ATTEMPT_DEADLINE_MS, signal);
    const drop = () => carrier.drop();
    signal.addEventListener('abort', drop);
    const answer = await carrier.answered(ATTEMPT_DEADLINE_MS);
    signal.removeEventListener('abort', drop);
    return { carrier, answer };
  }

  #accepted(carrier: DialledCarrier, received: number): void {
    this.#transport?.adopt(carrier, received);
    this.#renewal.onRenewed?.(performance.now() - this.#brokenAtMs);
  }
}

async function makeCarrier(
  options: DialOptions,
  peer: Peer,
  headers: OutgoingHttpHeaders,
  deadlineMs: number,
  signal: AbortSignal,
): Promise<DialledCarrier> {
  const { connect, address } = options;
  if (connect === undefined) {
    return new DialledCarrier(options, peer, headers, [connectSocket(address), connectSocket(address)]);
  }
  return new DialledCarrier(options, peer, headers, await connectTwice(connect, peer, deadlineMs, signal));
}

/** Both or none: what comes after we have given up is destroyed. */
async function connectTwice(
  connect: NonNullable<DialOptions['connect']>,
  { name, address, lostCode }: Peer,
  deadlineMs: number,
  signal: AbortSignal,
): Promise<[Duplex, Duplex]> {
  const giveUp = new AbortController();
  const abort = () => giveUp.abort();
  signal.addEventListener('abort', abort);
  const late = `no connection to the ${name} at ${address} within ${deadlineMs} ms`;
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new AppError('DEADLINE_EXCEEDED', late)), deadlineMs);
    giveUp.signal.addEventListener('abort', () => reject(new AppError('CANCELLED', 'the attempt was given up')));
  });
  const connecting = [connect(giveUp.signal), connect(giveUp.signal)] as const;
  try {
    return await Promise.race([Promise.all(connecting), deadline]);
  } catch (thrown) {
    for (const one of connecting) {
      one.then(
        (socket) => socket.destroy(),
        () => undefined,
      );
    }
    giveUp.abort();
    throw AppError.from(thrown, lostCode);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', abort);
  }
}
