// Dials again after a break: at once, then with growing pauses, until the peer has taken the session up, has refused it, or
// the grace is over.

import type { Answer, DialledCarrier } from './dialled-carrier.ts';
import { AppError } from './errors.ts';

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 3_000;

export interface RedialOptions {
  /**
   * One attempt, never made twice at a time; the number is higher than any before. Rejects when nothing can be reached, with
   * TARGET_GONE when it never will be again.
   */
  attempt(number: number, signal: AbortSignal): Promise<{ carrier: DialledCarrier; answer: Answer }>;
  onAccepted(carrier: DialledCarrier, peerReceived: number): void;
  /** The session is over. */
  onGivenUp(error: AppError): void;
  peer: string;
}

export class Redialler {
  readonly #options: RedialOptions;
  #attempts = 0;
  #running: AbortController | null = null;

  constructor(options: RedialOptions) {
    this.#options = options;
  }

  start(cause: AppError, graceMs: number): void {
    this.stop();
    const running = new AbortController();
    this.#running = running;
    const graceOver = setTimeout(() => running.abort('grace'), graceMs);
    this.#run(cause, graceMs, running.signal).then(
      () => clearTimeout(graceOver),
      (thrown: unknown) => {
        clearTimeout(graceOver);
        this.#options.onGivenUp(AppError.from(thrown, 'BUG'));
      },
    );
  }

  stop(): void {
    this.#running?.abort('stopped');
    this.#running = null;
  }

  async #run(cause: AppError, graceMs: number, signal: AbortSignal): Promise<void> {
    let last = cause;
    for (let pauseMs = FIRST_PAUSE_MS; !signal.aborted; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
      this.#attempts += 1;
      const outcome = await this.#try(signal);
      if (outcome === 'accepted' || signal.reason === 'stopped') return;
      if (outcome.kind === 'refused') throw outcome.error;
      if (!signal.aborted) {
        last = outcome.error;
        await pause(pauseMs * (0.75 + Math.random() / 2), signal);
      }
    }
    if (signal.reason === 'stopped') return;
    const seconds = Math.round(graceMs / 1_000);
    throw new AppError(
      'AGENT_LOST',
      `the ${this.#options.peer} could not be reached again within ${seconds} s: ${last.message}`,
      { cause: last },
    );
  }

  async #try(signal: AbortSignal): Promise<'accepted' | Exclude<Answer, { kind: 'accepted' }>> {
    try {
      const { carrier, answer } = await this.#options.attempt(this.#attempts, signal);
      if (answer.kind === 'accepted' && !signal.aborted) {
        this.#options.onAccepted(carrier, answer.received);
        return 'accepted';
      }
      carrier.drop();
      return answer.kind === 'accepted' ? { kind: 'failed', error: new AppError('CANCELLED', 'given up') } : answer;
    } catch (thrown) {
      const error = AppError.from(thrown, 'AGENT_LOST');
      const isFinal = error.code === 'PROTOCOL_VIOLATION' || error.code === 'TARGET_GONE';
      return { kind: isFinal ? 'refused' : 'failed', error };
    }
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done);
  });
}
