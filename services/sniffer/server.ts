// The Sniffer service (proto/v1/incoming.proto) on a unix socket, one SnifferSession for each session of the agent.

import type { Logger } from 'pino';
import { serveSessions } from '#runtime/rpc.ts';
import { Captures } from './captures.ts';
import { SnifferSession } from './session.ts';
import type { CaptureLimits } from './target-capture.ts';

export interface SnifferOptions {
  /** `unix:/path`. */
  address: string;
  sessionKey: Uint8Array;
  maxSessions: number;
  limits: CaptureLimits;
  /** Somebody waits for an answer. */
  onQuestion?: () => void;
  logger: Logger;
}

export interface SnifferServer {
  readonly address: string;
  readonly liveSessions: number;
  /** Network namespaces that are captured now. */
  readonly captures: number;
  close(): void;
}

export async function openSniffer(options: SnifferOptions): Promise<SnifferServer> {
  const { address, sessionKey, maxSessions, limits, onQuestion = () => undefined, logger } = options;
  const captures = new Captures(limits);
  const server = await serveSessions({
    address,
    service: 'Sniffer',
    key: sessionKey,
    maxSessions,
    logger,
    peer: 'agent',
    onSession: ({ sessionId, stream }) =>
      new SnifferSession(stream, captures, logger.child({ session: sessionId }), onQuestion),
  });
  return {
    address: server.address,
    get liveSessions() {
      return server.liveSessions;
    },
    get captures() {
      return captures.count;
    },
    close: () => {
      server.close();
      captures.close();
    },
  };
}
