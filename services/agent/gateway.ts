// The only door for clients: the Gateway service, whose admitted sessions go to the table.

import type { Logger } from 'pino';
import { livenessTimes } from '#proto/liveness.ts';
import type { AdmissionKey } from '#proto/token.ts';
import type { EarlyDoor } from '#runtime/early-door.ts';
import { type SessionServer, serveSessions } from '#runtime/rpc.ts';
import type { Sessions } from './sessions.ts';

export interface GatewayOptions {
  address: string;
  /** At that address. */
  door: EarlyDoor;
  /** Of clients. */
  admissionKey: AdmissionKey;
  maxSessions: number;
  clientLostAfterMs: number;
  /** For which a session is kept without its client. */
  graceMs: number;
  /** For clients on other machines; null where nobody asked for it. */
  direct: { readonly address: string; readonly key: Uint8Array } | null;
  sessions: Sessions;
  logger: Logger;
}

export function openGateway(options: GatewayOptions): Promise<SessionServer> {
  return serveSessions({
    address: options.address,
    open: async (onSocket) => options.door.serve(onSocket),
    service: 'Gateway',
    key: options.admissionKey,
    maxSessions: options.maxSessions,
    liveness: livenessTimes(options.clientLostAfterMs),
    graceMs: options.graceMs,
    direct: options.direct,
    logger: options.logger,
    onSession: (incoming) => options.sessions.admit(incoming),
  });
}
