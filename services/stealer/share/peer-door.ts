// The service between stealers, on the name by which they meet: the holder's side serves sessions that joined ones pass on, the
// joined one's side dials.

import { createHash } from 'node:crypto';
import type { Logger } from 'pino';
import { dial } from '#proto/dial.ts';
import type { AppError } from '#proto/errors.ts';
import { makeFrame } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import type { AttachTarget } from '#proto/gen/v1/fs_env.ts';
import { JoinTarget } from '#proto/gen/v1/incoming.ts';
import { LEASE_TIMES } from '#proto/liveness.ts';
import type { SessionHandlers, SessionStream } from '#proto/session-stream.ts';
import { mintToken } from '#proto/token.ts';
import { VERSION } from '#proto/version.ts';
import { type IncomingSession, serveSessions } from '#runtime/rpc.ts';
import { type Claim, connectToHolder } from './meeting-place.ts';
import { SILENCE_MS } from './silent-holder.ts';

/**
 * Of what stealers say to each other; another one is refused. Raised with whatever a holder that does not know it would leave out in
 * silence (peer-door.test.ts): 2 has certificates (`tls`), without which a filter on HTTPS would see nothing; 3 has
 * how answers are marked and idle connections kept (`http`).
 */
export const PEER_VERSION = 3;
/** Names the way in messages, and says how large windows are. */
const ADDRESS = 'unix:@mirrord-steal';
/** No secret: the kernel has said who is there (peer.ts), and the token only bears the session's name. */
const KEY = createHash('sha256').update('stealers of one target').digest();
const TOKEN_S = 60;
/** Of all stealers of a target together; each limits its own. */
const MAX_SESSIONS = 1_000;
const TELL_EVERY_MS = 10_000;

/** Serves what comes to the claimed name until the claim is closed. @returns what closes it, and cuts whoever is there */
export function openPeerDoor(
  claim: Claim,
  logger: Logger,
  onSession: (session: IncomingSession) => SessionHandlers,
): () => void {
  let isClosed = false;
  const serving = serveSessions({
    address: ADDRESS,
    service: 'Stealer',
    key: KEY,
    maxSessions: MAX_SESSIONS,
    logger,
    peer: 'joined stealer',
    liveness: LEASE_TIMES,
    onSession,
    open: async (onSocket) => {
      const server = { maxConnections: 0 };
      let open = 0;
      claim.listen((socket) => {
        if (isClosed || open >= server.maxConnections) {
          socket.destroy();
          return;
        }
        open += 1;
        socket.once('close', () => {
          open -= 1;
        });
        onSocket(socket);
      }, tellSometimes(logger));
      return { server, address: ADDRESS, close: () => claim.close() };
    },
  });
  return () => {
    isClosed = true;
    // At once: the next one may have the name before our peers hear of the end.
    claim.close();
    void serving.then((server) => server.close());
  };
}

/** A process of the target may knock as often as it likes: it fills no log. */
function tellSometimes(logger: Logger): (error: AppError) => void {
  let toldMs = Number.NEGATIVE_INFINITY;
  let untold = 0;
  return ({ message }) => {
    const nowMs = performance.now();
    if (nowMs - toldMs < TELL_EVERY_MS) {
      untold += 1;
      return;
    }
    logger.warn({ reason: message, othersSince: untold }, 'turned away from the name of the stealers');
    toldMs = nowMs;
    untold = 0;
  };
}

export type JoinOptions = Readonly<{
  namespaceFd: number;
  sessionId: string;
  attach: AttachTarget;
  nextId: number;
  version?: number;
}> &
  SessionHandlers;

/** Rejects with SERVICE_UNAVAILABLE while nobody holds the target, UNSUPPORTED when its holder is of another version. */
export function joinHolder({
  namespaceFd,
  sessionId,
  attach,
  nextId,
  version = PEER_VERSION,
  ...handlers
}: JoinOptions): Promise<SessionStream> {
  const head = JoinTarget.encode({ version, release: VERSION, attach, nextId }).finish();
  return dial({
    address: ADDRESS,
    service: 'Stealer',
    token: mintToken(KEY, sessionId, TOKEN_S),
    deadlineMs: SILENCE_MS,
    opening: makeFrame(0, FrameKind.FRAME_KIND_SESSION_OPEN, head),
    connect: async () => connectToHolder(namespaceFd),
    liveness: LEASE_TIMES,
    ...handlers,
  });
}
