// Who may come in: admits calls by token before a frame is read, tells new sessions from those that come back, and finds
// the two calls that belong together.

import type { IncomingHttpHeaders } from 'node:http2';
import { AppError } from '#proto/errors.ts';
import {
  ATTEMPT_KEY,
  AUTHORIZATION_KEY,
  DIRECTION_KEY,
  GRACE_KEY,
  PAIRING_DEADLINE_MS,
  RECEIVED_KEY,
  RETURN_KEY,
  readCount,
} from '#proto/grpc-tuning.ts';
import { proofOfKey, verifyFormerToken, verifyReturn, verifyToken } from '#proto/token.ts';
import { LiveSession } from './live-session.ts';
import type { ServeOptions } from './rpc.ts';
import { type Call, ServedCarrier } from './served-carrier.ts';

/** Ends that are remembered, so that who comes back too late learns why. */
const MAX_REMEMBERED_ENDS = 256;

type Direction = 'up' | 'down';

/** What a call says of itself. */
interface Claim {
  readonly sessionId: string;
  readonly token: string;
  readonly direction: Direction;
  /** 0 for a new session. */
  readonly attempt: number;
  readonly received: number;
  /** What it is granted; null for a client that does not come back. */
  readonly graceMs: number | null;
}

interface HalfOpen {
  readonly claim: Claim;
  readonly call: Call;
  readonly timer: NodeJS.Timeout;
}

export class Admission {
  readonly #options: ServeOptions;
  readonly #halfOpen = new Map<string, HalfOpen>();
  readonly #live = new Map<string, LiveSession>();
  readonly #ends = new Map<string, string>();

  constructor(options: ServeOptions) {
    this.#options = options;
  }

  get liveSessions(): number {
    return this.#live.size;
  }

  /** `longestMs` is the grace of the door it came by. */
  admit(call: Call, headers: IncomingHttpHeaders, longestMs: number): void {
    try {
      const claim = this.#authenticate(headers, longestMs);
      call.admitted(proofOfKey(this.#options.key, claim.token));
      this.#pair(claim, call);
    } catch (thrown) {
      const error = AppError.from(thrown, 'BUG');
      this.#options.logger.debug({ code: error.code, cause: error.message }, 'call refused');
      call.refuse(error);
    }
  }

  close(): void {
    for (const { timer } of this.#halfOpen.values()) clearTimeout(timer);
    this.#halfOpen.clear();
    for (const live of this.#live.values()) live.destroy(new AppError('CANCELLED', 'the server is shutting down'));
  }

  #authenticate(headers: IncomingHttpHeaders, longestMs: number): Claim {
    const { key } = this.#options;
    const [, token = ''] = /^Bearer (\S+)$/.exec(headers[AUTHORIZATION_KEY] ?? '') ?? [];
    const attempt = headers[ATTEMPT_KEY] === undefined ? 0 : countOf(headers, ATTEMPT_KEY);
    const { sessionId } = attempt === 0 ? verifyToken(key, token) : verifyFormerToken(key, token);
    const direction = headers[DIRECTION_KEY];
    if (direction !== 'up' && direction !== 'down') {
      throw new AppError('PROTOCOL_VIOLATION', `metadata ${DIRECTION_KEY} must be up or down`);
    }
    const asksForGrace = headers[GRACE_KEY] !== undefined && longestMs > 0;
    const graceMs = asksForGrace ? Math.min(countOf(headers, GRACE_KEY), longestMs) : null;
    const received = attempt === 0 ? 0 : countOf(headers, RECEIVED_KEY);
    if (attempt > 0) verifyReturn(key, token, attempt, received, String(headers[RETURN_KEY] ?? ''));
    return { sessionId, token, direction, attempt, received, graceMs };
  }

  #pair(claim: Claim, call: Call): void {
    const { sessionId, direction, attempt } = claim;
    this.#assertWelcome(claim);
    const waiting = this.#halfOpen.get(sessionId);
    if (waiting === undefined || waiting.claim.attempt < attempt) {
      if (waiting !== undefined) this.#supersede(waiting);
      this.#awaitOther(claim, call);
      return;
    }
    if (waiting.claim.direction === direction || waiting.claim.attempt !== attempt) {
      throw new AppError('NOT_PERMITTED', `session ${sessionId} already has its ${direction} call`);
    }
    this.#halfOpen.delete(sessionId);
    clearTimeout(waiting.timer);
    const [up, down] = direction === 'up' ? [call, waiting.call] : [waiting.call, call];
    if (attempt === 0) this.#begin(claim, new ServedCarrier(up, down));
    else this.#live.get(sessionId)?.comeBack(new ServedCarrier(up, down), claim);
  }

  #assertWelcome({ sessionId, token, attempt }: Claim): void {
    const live = this.#live.get(sessionId);
    if (attempt === 0) {
      if (live !== undefined) throw new AppError('NOT_PERMITTED', `session ${sessionId} is already open`);
      return;
    }
    if (live === undefined) {
      const reason =
        this.#ends.get(sessionId) ?? 'this agent does not know it; it was started anew, or it is another one';
      throw new AppError('AGENT_LOST', `session ${sessionId} cannot go on: ${reason}`);
    }
    live.assertMayComeBack(token, attempt);
  }

  /** A later attempt has come: nobody reads this one any more. */
  #supersede({ claim, call, timer }: HalfOpen): void {
    this.#halfOpen.delete(claim.sessionId);
    clearTimeout(timer);
    call.refuse(new AppError('CANCELLED', `attempt ${claim.attempt} is over: a later one has come`));
  }

  #awaitOther(claim: Claim, call: Call): void {
    const { sessionId, direction, attempt } = claim;
    const { maxSessions, pairingDeadlineMs = PAIRING_DEADLINE_MS } = this.#options;
    if (attempt === 0 && this.#live.size + this.#halfOpen.size >= maxSessions) {
      throw new AppError('LIMIT_REACHED', `${maxSessions} sessions are open, the most that are allowed`);
    }
    const timer = setTimeout(() => {
      this.#halfOpen.delete(sessionId);
      const other = direction === 'up' ? 'down' : 'up';
      call.refuse(new AppError('DEADLINE_EXCEEDED', `no ${other} call within ${pairingDeadlineMs} ms`));
    }, pairingDeadlineMs);
    this.#halfOpen.set(sessionId, { claim, call, timer });
    call.stream.once('close', () => {
      if (this.#halfOpen.get(sessionId)?.call !== call) return;
      this.#halfOpen.delete(sessionId);
      clearTimeout(timer);
    });
  }

  #begin({ sessionId, token, graceMs }: Claim, carrier: ServedCarrier): void {
    const live = new LiveSession({
      ...this.#options,
      sessionId,
      token,
      graceMs,
      onClosed: (error) => {
        this.#live.delete(sessionId);
        this.#remember(sessionId, error?.message ?? 'it was closed');
      },
    });
    this.#live.set(sessionId, live);
    live.begin(carrier);
  }

  #remember(sessionId: string, reason: string): void {
    this.#ends.set(sessionId, reason);
    if (this.#ends.size <= MAX_REMEMBERED_ENDS) return;
    for (const eldest of this.#ends.keys()) {
      this.#ends.delete(eldest);
      return;
    }
  }
}

function countOf(headers: IncomingHttpHeaders, name: string): number {
  const count = readCount(headers[name]);
  if (count === null) throw new AppError('PROTOCOL_VIOLATION', `metadata ${name} must be a number`);
  return count;
}
