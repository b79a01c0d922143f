// The Stealer service (proto/v1/incoming.proto) on a unix socket, one StealSession for each session of the agent.

import type { Logger } from 'pino';
import { type SessionServer, serveSessions } from '#runtime/rpc.ts';
import { StealSession } from './session.ts';
import { StolenTargets } from './stolen-target.ts';

export interface StealerOptions {
  /** `unix:/path`. */
  address: string;
  sessionKey: Uint8Array;
  maxSessions: number;
  logger: Logger;
}

export function openStealer({ address, sessionKey, maxSessions, logger }: StealerOptions): Promise<SessionServer> {
  const targets = new StolenTargets();
  return serveSessions({
    address,
    service: 'Stealer',
    key: sessionKey,
    maxSessions,
    logger,
    peer: 'agent',
    onSession: ({ sessionId, stream }) =>
      new StealSession({ sessionId, stream, targets, logger: logger.child({ session: sessionId }) }),
  });
}
