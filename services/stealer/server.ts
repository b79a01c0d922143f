// The Stealer service (proto/v1/incoming.proto) on a unix socket, one FrontSession for each session of the agent.

import type { Logger } from 'pino';
import { LEASE_TIMES } from '#proto/liveness.ts';
import type { Way } from '#runtime/redirect-ways.ts';
import { type IncomingSession, serveSessions } from '#runtime/rpc.ts';
import type { ServiceServer } from '#runtime/service-main.ts';
import { FrontSession } from './front-session.ts';
import { Leases } from './leases/leases.ts';
import { openPeerDoor } from './share/peer-door.ts';
import { StolenTargets } from './stolen-target.ts';

export interface StealerOptions {
  /** `unix:/path`. */
  address: string;
  sessionKey: Uint8Array;
  maxSessions: number;
  logger: Logger;
  /** How connections are redirected; `auto` finds out. */
  redirect?: Way;
}

export type StealerServer = Required<ServiceServer>;

export async function openStealer({
  address,
  sessionKey,
  maxSessions,
  logger,
  redirect = 'auto',
}: StealerOptions): Promise<StealerServer> {
  const leases = new Leases(logger);
  const serve =
    (joinedFor: string | null) =>
    ({ sessionId, stream }: IncomingSession): FrontSession =>
      new FrontSession({
        sessionId,
        stream,
        targets,
        leases,
        joinedFor,
        logger: logger.child({ session: sessionId }),
      });
  const targets = new StolenTargets(redirect, leases, (claim, namespaceKey) =>
    openPeerDoor(claim, logger, serve(namespaceKey)),
  );
  const server = await serveSessions({
    address,
    service: 'Stealer',
    key: sessionKey,
    maxSessions,
    logger,
    peer: 'agent',
    liveness: LEASE_TIMES,
    onSession: serve(null),
  });
  const close = () => {
    targets.close();
    leases.close();
    server.close();
  };
  return {
    address: server.address,
    directAddress: null,
    get liveSessions() {
      return server.liveSessions;
    },
    get connections() {
      return server.connections;
    },
    stats: () => targets.stats(),
    // Leases stay: who is started after us finds them.
    retire: () => {
      leases.close();
      return targets.retire();
    },
    useBus: (bus) => leases.useBus(bus),
    close,
  };
}
