// The serving end of sessions, gRPC over node's own HTTP/2: what is served and to whom it is handed. Who may come in is
// admission.ts's to say.

import type { IncomingHttpHeaders } from 'node:http2';
import type { Socket } from 'node:net';
import type { Logger } from 'pino';
import { AppError } from '#proto/errors.ts';
import { CONTENT_TYPE } from '#proto/grpc-status.ts';
import { type SessionService, sessionPath } from '#proto/grpc-tuning.ts';
import type { LivenessTimes } from '#proto/liveness.ts';
import type { SessionHandlers, SessionStream } from '#proto/session-stream.ts';
import type { AdmissionKey } from '#proto/token.ts';
import { Admission } from './admission.ts';
import { Connections, MAX_STRANGERS } from './connections.ts';
import { type Listening, listen, listenDirect } from './listen.ts';
import { Call } from './served-carrier.ts';

export interface IncomingSession {
  /** As the token says. One live session has it at a time. */
  readonly sessionId: string;
  readonly stream: SessionStream;
}

export interface ServeOptions {
  /** `unix:/path` (made with mode 0600) or `host:port`. */
  address: string;
  service: SessionService;
  /** Of the session tokens (proto/token.ts). */
  key: AdmissionKey;
  /** Live and half-open together; beyond it calls are refused with LIMIT_REACHED. */
  maxSessions: number;
  logger: Logger;
  /** Called when both calls of a session are there. A throw refuses them. The first frame must come within 10 s. */
  onSession(session: IncomingSession): SessionHandlers;
  /** How the dialling peer is called in messages. */
  peer?: string;
  pairingDeadlineMs?: number;
  /** How long a peer may be silent. */
  liveness?: LivenessTimes;
  /**
   * The longest a session is kept for a client that lost its connections (session.proto, "Renewal"); 0: not at all. Never
   * for one that came by a unix socket, which breaks when its client ends and for no other reason.
   */
  graceMs?: number;
  /** Where connections come from, instead of a listener at `address`, which then only names it. */
  open?: (onSocket: (socket: Socket) => void) => Promise<Listening>;
  /** A second door, for who is not on this machine: TLS with a key that both know (proto/direct-tls.ts). */
  direct?: { readonly address: string; readonly key: Uint8Array } | null;
}

export interface SessionServer {
  /** As dial takes it, with the real port. */
  readonly address: string;
  /** Of the second door; null without one. */
  readonly directAddress: string | null;
  readonly liveSessions: number;
  readonly connections: number;
  /** Cuts what is left. Sessions that should end in order are ended before. */
  close(): void;
}

/** Beside two per session, and two of its former life: strangers, and as many that are being closed. */
const SPARE_CONNECTIONS = MAX_STRANGERS * 2;

export async function serveSessions(options: ServeOptions): Promise<SessionServer> {
  const admission = new Admission(options);
  const doors: Door[] = [];
  const close = () => {
    for (const { listening } of doors) listening.close();
    admission.close();
    for (const { connections } of doors) connections.close();
  };
  try {
    const { open = (onSocket) => listen(options.address, onSocket) } = options;
    doors.push(await openDoor(options, admission, options.address, open));
    const { direct = null } = options;
    if (direct !== null) {
      const { address, key } = direct;
      doors.push(await openDoor(options, admission, address, (onSocket) => listenDirect(address, key, onSocket)));
    }
  } catch (error) {
    close();
    throw error;
  }
  const [main, direct] = doors as [Door, Door?];
  return {
    address: main.listening.address,
    directAddress: direct?.listening.address ?? null,
    get liveSessions() {
      return admission.liveSessions;
    },
    get connections() {
      return doors.reduce((sum, { connections }) => sum + connections.size, 0);
    },
    close,
  };
}

interface Door {
  readonly connections: Connections;
  readonly listening: Listening;
}

async function openDoor(
  { service, maxSessions, graceMs = 0 }: ServeOptions,
  admission: Admission,
  address: string,
  open: (onSocket: (socket: Socket) => void) => Promise<Listening>,
): Promise<Door> {
  const longestMs = address.startsWith('unix:') ? 0 : graceMs;
  const connections = new Connections(address, (stream, headers, connection) => {
    const call = new Call(stream, connection, connections);
    if (isSessionCall(headers, service)) admission.admit(call, headers, longestMs);
    else call.refuse(new AppError('UNSUPPORTED', `${headers[':method']} ${headers[':path']} is not served here`));
  });
  const listening = await open((socket) => connections.accept(socket));
  listening.server.maxConnections = maxSessions * 4 + SPARE_CONNECTIONS;
  return { connections, listening };
}

/** `application/grpc`, with or without the name of a codec behind: bytes are bytes. */
function isSessionCall(headers: IncomingHttpHeaders, service: SessionService): boolean {
  const isGrpc = headers['content-type']?.startsWith(CONTENT_TYPE) === true;
  return isGrpc && headers[':method'] === 'POST' && headers[':path'] === sessionPath(service);
}
