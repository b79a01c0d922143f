// The FsEnv service (proto/v1/fs_env.proto) on a unix socket, one FileSession for each session of the agent.

import type { Logger } from 'pino';
import { type SessionServer, serveSessions } from '#runtime/rpc.ts';
import { FileSession, type SessionLimits } from './session.ts';

export interface FsEnvOptions {
  /** `unix:/path`. */
  address: string;
  sessionKey: Uint8Array;
  maxSessions: number;
  limits: SessionLimits;
  logger: Logger;
}

export function openFsEnv(options: FsEnvOptions): Promise<SessionServer> {
  const { address, sessionKey, maxSessions, limits, logger } = options;
  return serveSessions({
    address,
    service: 'FsEnv',
    key: sessionKey,
    maxSessions,
    logger,
    peer: 'agent',
    onSession: ({ sessionId, stream }) => new FileSession(stream, limits, logger.child({ session: sessionId })),
  });
}
