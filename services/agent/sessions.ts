// The table of live sessions: what each may use, who is told of its life, and how all of them end together.

import type { Logger } from 'pino';
import type { AppError } from '#proto/errors.ts';
import { toErrorDetail } from '#proto/errors.ts';
import { AgentHeartbeat, SessionClosedEvent, SessionOpenedEvent } from '#proto/gen/v1/event.ts';
import type { DirectDoor, OpenSession } from '#proto/gen/v1/session.ts';
import type { IncomingService } from '#proto/incoming.ts';
import type { SessionHandlers } from '#proto/session-stream.ts';
import { ANNOUNCE_EVERY_MS, agentHeartbeat, sessionClosed, sessionOpened } from '#proto/subjects.ts';
import { mintToken, proofOfKey } from '#proto/token.ts';
import { VERSION } from '#proto/version.ts';
import type { Bus } from '#runtime/bus.ts';
import { lookupService } from '#runtime/discovery.ts';
import type { IncomingSession } from '#runtime/rpc.ts';
import type { SessionCounts } from './metrics/counts.ts';
import type { Outgoing } from './outgoing/outgoing.ts';
import { trustedServiceAddress } from './service-address.ts';
import { Session, type SessionLimits } from './session.ts';
import { targetText } from './target.ts';

export interface SessionsOptions {
  bus: Bus;
  node: string;
  sessionKey: Uint8Array;
  limits: SessionLimits;
  outgoing: Outgoing;
  /** How many there are, at every change. */
  onCount: (count: number) => void;
  /** Where somebody wants to know what sessions carry. */
  counts?: SessionCounts | null;
  /** Where services of incoming traffic serve. */
  findIncoming: (service: IncomingService) => Promise<string>;
  logger: Logger;
}

const LOOKUP_TIMEOUT_MS = 2_000;
/** A token for a service is used at once. */
const SERVICE_TOKEN_TTL_S = 60;

export class Sessions {
  readonly #options: SessionsOptions;
  readonly #live = new Map<string, Session>();
  readonly #heartbeat: NodeJS.Timeout;
  #emptied: () => void = () => undefined;
  #direct: DirectDoor | undefined;

  constructor(options: SessionsOptions) {
    this.#options = options;
    this.#heartbeat = setInterval(() => this.#publishHeartbeat(), ANNOUNCE_EVERY_MS);
    this.#heartbeat.unref();
  }

  /** From now on new sessions are told of the door for direct connections; null where there is none. */
  offerDirect(address: string | null, key: Uint8Array): void {
    const port = Number(address?.slice(address.lastIndexOf(':') + 1));
    this.#direct = address === null ? undefined : { port, key: Buffer.from(key) };
  }

  get count(): number {
    return this.#live.size;
  }

  admit(incoming: IncomingSession): SessionHandlers {
    const { counts = null } = this.#options;
    return counts === null ? this.#admit(incoming) : counts.meter(incoming.stream, () => this.#admit(incoming));
  }

  #admit({ sessionId, stream }: IncomingSession): SessionHandlers {
    const { bus, node, sessionKey, limits, outgoing, findIncoming, logger } = this.#options;
    const session = new Session(sessionId, stream, {
      logger,
      limits,
      findFsEnv: async () =>
        trustedServiceAddress((await lookupService(bus, node, 'fs-env', LOOKUP_TIMEOUT_MS)).address),
      mintToken: (id) => {
        const token = mintToken(sessionKey, id, SERVICE_TOKEN_TTL_S);
        return { token, proof: proofOfKey(sessionKey, token) };
      },
      direct: this.#direct,
      openNetwork: (target, link) => outgoing.openSession(target, link),
      findIncoming: async (service) => trustedServiceAddress(await findIncoming(service)),
      onOpened: (opened, opening) => this.#publishOpened(opened, opening),
      onClosed: (closed, error) => this.#remove(closed, error),
    });
    this.#live.set(sessionId, session);
    this.#options.onCount(this.#live.size);
    return session;
  }

  /** Drains every session; resolves when all have ended, which their own deadlines see to. */
  async close(): Promise<void> {
    clearInterval(this.#heartbeat);
    if (this.#live.size === 0) return;
    const emptied = new Promise<void>((resolve) => {
      this.#emptied = resolve;
    });
    for (const session of [...this.#live.values()]) session.close();
    if (this.#live.size > 0) await emptied;
  }

  #publishOpened({ sessionId }: Session, opening: OpenSession): void {
    const { bus, node, logger } = this.#options;
    const target = targetText(opening.target);
    logger.info({ session: sessionId, target, clientVersion: opening.clientVersion }, 'session opened');
    const event = { sessionId, node, target, clientVersion: opening.clientVersion, openedAtMs: BigInt(Date.now()) };
    bus.publish(sessionOpened(sessionId), SessionOpenedEvent.encode(event).finish());
  }

  #remove({ sessionId }: Session, error: AppError | null): void {
    const { bus, node, logger } = this.#options;
    this.#live.delete(sessionId);
    this.#options.onCount(this.#live.size);
    logger.info({ session: sessionId, code: error?.code, reason: error?.message }, 'session closed');
    const event = {
      sessionId,
      node,
      closedAtMs: BigInt(Date.now()),
      error: error === null ? undefined : toErrorDetail(error),
    };
    bus.publish(sessionClosed(sessionId), SessionClosedEvent.encode(event).finish());
    if (this.#live.size === 0) this.#emptied();
  }

  #publishHeartbeat(): void {
    const { bus, node } = this.#options;
    const beat = { node, version: VERSION, sessions: this.#live.size, atMs: BigInt(Date.now()) };
    bus.publish(agentHeartbeat(node), AgentHeartbeat.encode(beat).finish());
  }
}
