// Calls to the API server that are tried again: some times, as the configuration has it; and while a session starts, for as long
// as a server takes to restart.

import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '#proto/errors.ts';
import { StatusError } from './status.ts';

export interface RetryPolicy {
  readonly minMs: number;
  readonly maxMs: number;
  /** 0 for none. */
  readonly maxRetries: number;
}

/** What a caller is ready to wait for a server that is gone for a moment. */
export interface Patience {
  readonly ms: number;
  /** Told once, before the first wait. */
  readonly onWait: (failure: AppError) => void;
}

export interface Repeated {
  /** Whether the policy's times count: not for what is no plain question. */
  readonly isCounted: boolean;
  /** Ends a wait (CANCELLED). */
  readonly signal: AbortSignal;
}

export const NO_RETRY: RetryPolicy = { minMs: 1, maxMs: 1, maxRetries: 0 };

/** Of a connection to a port where nobody listens any more, or not yet. */
const RESTART_CODES = new Set(['ECONNREFUSED', 'ECONNRESET', 'EPIPE']);
/** Not accepting now: the server's own answer, or that of what stands before it. */
const RESTART_STATUSES = new Set([429, 502, 503]);

export class Retries {
  readonly #policy: RetryPolicy;
  #patience: Patience | null = null;
  #isTold = false;

  constructor(policy: RetryPolicy) {
    this.#policy = policy;
  }

  /** null from when a failure is to be heard at once. A policy without retries has no patience either. */
  set patience(patience: Patience | null) {
    this.#patience = this.#policy.maxRetries > 0 ? patience : null;
  }

  /** Whether what has failed so may be asked for anew now. */
  isWaitedFor(failure: AppError): boolean {
    if (this.#patience === null) return false;
    return isOfRestart(failure) || (this.#isTold && isOfBeginning(failure));
  }

  async run<T>(act: () => Promise<T>, { isCounted, signal }: Repeated): Promise<T> {
    const beganMs = performance.now();
    const times = isCounted ? this.#policy.maxRetries : 0;
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await act();
      } catch (error) {
        const failure = AppError.from(error, 'SERVICE_UNAVAILABLE');
        const waitedMs = performance.now() - beganMs;
        const isPatient = this.isWaitedFor(failure) && waitedMs < (this.#patience?.ms ?? 0);
        if (!isPatient && (attempt >= times || !mayPass(failure))) throw outlasted(failure, waitedMs);
        if (isPatient) this.#tell(failure);
        await this.#pause(attempt, failure, signal);
      }
    }
  }

  #tell(failure: AppError): void {
    if (!this.#isTold) this.#patience?.onWait(failure);
    this.#isTold = true;
  }

  async #pause(attempt: number, failure: AppError, signal: AbortSignal): Promise<void> {
    const { minMs, maxMs } = this.#policy;
    const wanted = failure instanceof StatusError ? failure.retryAfterMs : 0;
    const ms = Math.min(maxMs, Math.max(wanted, minMs * 2 ** attempt));
    await sleep(ms, undefined, { signal }).catch((error: unknown) => {
      throw new AppError('CANCELLED', 'given up while waiting to ask the API server again', { cause: error });
    });
  }
}

/** Of an idempotent call: whether the same call can succeed a moment later. */
function mayPass(error: AppError): boolean {
  if (error instanceof StatusError) return error.httpStatus === 429 || error.httpStatus >= 500;
  return error.code === 'SERVICE_UNAVAILABLE' && error.data?.['move'] !== 'user';
}

function isOfRestart(error: AppError): boolean {
  if (error instanceof StatusError) return RESTART_STATUSES.has(error.httpStatus);
  return error.code === 'SERVICE_UNAVAILABLE' && RESTART_CODES.has(String(Object(error.cause).code));
}

/** What a server says that was not there a moment ago: it has not read yet who may do what. */
function isOfBeginning(error: AppError): boolean {
  return error instanceof StatusError && (error.httpStatus === 403 || error.httpStatus === 500);
}

/** With how long it was tried, where that was long; the server's own refusals stay what they are. */
function outlasted(failure: AppError, waitedMs: number): AppError {
  if (failure instanceof StatusError || waitedMs < 5_000) return failure;
  const text = `${failure.message}; it was tried again for ${Math.round(waitedMs / 1_000)} s`;
  return new AppError(failure.code, text, { cause: failure.cause, data: failure.data ?? {} });
}
