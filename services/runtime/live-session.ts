// One session of the serving end, from its first two calls to its end: between its connections it is parked, and released
// when nobody comes back for it within the grace.

import { createHash, timingSafeEqual } from 'node:crypto';
import { AppError } from '#proto/errors.ts';
import { GRACE_KEY, PAIRING_DEADLINE_MS, RECEIVED_KEY } from '#proto/grpc-tuning.ts';
import { LIVENESS_TIMES } from '#proto/liveness.ts';
import { RenewableTransport } from '#proto/renewable-transport.ts';
import { type SessionHandlers, SessionStream } from '#proto/session-stream.ts';
import type { ServeOptions } from './rpc.ts';
import type { ServedCarrier } from './served-carrier.ts';

export interface LiveSessionOptions
  extends Pick<ServeOptions, 'logger' | 'onSession' | 'peer' | 'pairingDeadlineMs' | 'liveness'> {
  readonly sessionId: string;
  /** Who shows it again is the one who was admitted with it. */
  readonly token: string;
  /** null: the first break is the end. */
  readonly graceMs: number | null;
  onClosed(error: AppError | null): void;
}

export class LiveSession {
  readonly #options: LiveSessionOptions;
  readonly #tokenDigest: Buffer;
  readonly #transport: RenewableTransport;
  readonly #stream: SessionStream;
  readonly #firstFrameTimer: NodeJS.Timeout;
  #handlers: SessionHandlers | null = null;
  #attempt = 0;
  #awaySinceMs = 0;
  #graceTimer: NodeJS.Timeout | undefined;

  constructor(options: LiveSessionOptions) {
    this.#options = options;
    this.#tokenDigest = digest(options.token);
    const { peer = 'client', pairingDeadlineMs = PAIRING_DEADLINE_MS, liveness = LIVENESS_TIMES } = options;
    this.#transport = new RenewableTransport({ onBroken: (error) => this.#park(error) });
    if (options.graceMs === null) this.#transport.forgo();
    this.#stream = new SessionStream({
      transport: this.#transport,
      peer,
      lostCode: 'CANCELLED',
      liveness,
      onFrame: (frame) => {
        clearTimeout(this.#firstFrameTimer);
        return this.#handlers?.onFrame(frame);
      },
      onClosed: (error) => this.#closed(error),
      onParked: (isParked) => this.#handlers?.onParked?.(isParked),
    });
    this.#transport.bind(this.#stream);
    this.#firstFrameTimer = setTimeout(() => {
      this.#stream.fail(new AppError('DEADLINE_EXCEEDED', `no frame within ${pairingDeadlineMs} ms`));
    }, pairingDeadlineMs);
  }

  /** With the calls it came with. A handler that throws refuses them. */
  begin(carrier: ServedCarrier): void {
    const { sessionId, graceMs } = this.#options;
    try {
      this.#handlers = this.#options.onSession({ sessionId, stream: this.#stream });
    } catch (thrown) {
      const error = AppError.from(thrown, 'BUG');
      this.#stream.destroy(error);
      carrier.destroy(error);
      return;
    }
    carrier.accept(graceMs === null ? {} : { [GRACE_KEY]: String(graceMs), [RECEIVED_KEY]: '0' });
    this.#transport.adopt(carrier, 0);
  }

  /** Throws UNAUTHENTICATED for who is another, NOT_PERMITTED for who is late. */
  assertMayComeBack(token: string, attempt: number): void {
    if (!timingSafeEqual(digest(token), this.#tokenDigest)) {
      throw new AppError('UNAUTHENTICATED', 'the session token is not accepted');
    }
    if (this.#options.graceMs === null || attempt <= this.#attempt) {
      throw new AppError('NOT_PERMITTED', `session ${this.#options.sessionId} is already open`);
    }
  }

  /** Over these calls from now on; what there still is of earlier ones is dropped. */
  comeBack(carrier: ServedCarrier, { attempt, received }: { attempt: number; received: number }): void {
    const { sessionId, graceMs, logger } = this.#options;
    clearTimeout(this.#graceTimer);
    this.#attempt = attempt;
    const awayMs = this.#transport.isParked ? Math.round(performance.now() - this.#awaySinceMs) : 0;
    carrier.accept({ [GRACE_KEY]: String(graceMs), [RECEIVED_KEY]: String(this.#transport.received) });
    try {
      this.#transport.adopt(carrier, received);
      logger.info({ session: sessionId, attempt, awayMs }, 'client is back');
    } catch (thrown) {
      const error = AppError.from(thrown, 'BUG');
      this.#stream.destroy(error);
      carrier.destroy(error);
    }
  }

  destroy(error: AppError): void {
    this.#stream.destroy(error);
  }

  #park(error: AppError): void {
    const { sessionId, graceMs, logger } = this.#options;
    this.#awaySinceMs = performance.now();
    logger.info({ session: sessionId, reason: error.message, graceMs }, 'client is away: its session is kept');
    this.#graceTimer = setTimeout(() => {
      const seconds = (graceMs ?? 0) / 1_000;
      this.#stream.destroy(new AppError('CANCELLED', `the client did not come back within ${seconds} s`));
    }, graceMs ?? 0);
  }

  #closed(error: AppError | null): void {
    clearTimeout(this.#firstFrameTimer);
    clearTimeout(this.#graceTimer);
    this.#options.onClosed(error);
    this.#handlers?.onClosed(error);
  }
}

function digest(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
