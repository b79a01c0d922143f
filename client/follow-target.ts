// What becomes of a session when its target goes: the end, which is said; or, where it is wanted and the target was named by
// its workload, the next pod, with an agent of its own.

import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '#proto/errors.ts';
import type { Backend } from './backend.ts';
import type { Config } from './config/schema/root.ts';
import type { Log } from './log.ts';
import { MovingSession, type RunSession } from './moving-session.ts';
import type { Progress } from './progress.ts';
import type { Session } from './session.ts';
import type { Target } from './target.ts';

export interface Reached {
  readonly backend: Backend;
  readonly session: Session;
}

export interface FollowOptions {
  readonly config: Pick<Config, 'agent'>;
  readonly target: Target;
  readonly progress: Pick<Progress, 'warn' | 'failure'>;
  readonly log: Pick<Log, 'info' | 'warn'>;
  /** An agent beside another container than `except`, and a session with it. */
  open(lastId: number, except: string | null, signal: AbortSignal): Promise<Reached>;
  readonly patienceMs?: number;
}

/** A pod that was evicted may have to wait for its image, or for a node. */
const PATIENCE_MS = 180_000;
const RETRY_MS = 1_000;

export class FollowedTarget {
  readonly session: RunSession;
  readonly #options: FollowOptions;
  readonly #moving: MovingSession | null;
  readonly #closing: Promise<void>[] = [];
  #backend: Backend;
  /** Why the target is gone. */
  #reason = '';

  constructor(first: Reached, options: FollowOptions) {
    this.#options = options;
    this.#backend = first.backend;
    this.#moving = this.#isFollowed() ? new MovingSession(first.session, this.#movingOptions()) : null;
    this.session = this.#moving ?? first.session;
  }

  /** The target is gone, or its agent with it. False: nobody does anything about it. */
  gone(reason: string): boolean {
    this.#moving?.move(reason);
    return this.#moving !== null;
  }

  agentLog(): Promise<string> {
    return this.#backend.agentLog();
  }

  /** The session first, then every agent there was. */
  async close(): Promise<void> {
    await this.session.close();
    await Promise.all([...this.#closing, this.#backend.close()]);
  }

  #isFollowed(): boolean {
    const { config, target, progress } = this.#options;
    if (!config.agent.follow_target) return false;
    const isMany = target.kind === 'label' || (target.kind === 'workload' && target.workload !== 'pod');
    if (!isMany)
      progress.warn('agent.follow_target has no effect: the target is one process or pod, and has no next one');
    return isMany;
  }

  #movingOptions() {
    const { progress, log } = this.#options;
    return {
      next: (lastId: number, signal: AbortSignal) => this.#next(lastId, signal),
      onMoving: (reason: string) => {
        log.warn('target gone', { reason });
        this.#reason = reason;
      },
      onMoved: (session: Session) => {
        const where = this.#backend.place?.text ?? 'another target';
        log.info('target followed', { where, session: session.sessionId });
        const lost = 'files and connections that were open are lost';
        progress.failure(`the session goes on with ${where}; ${lost}, and the local process keeps its environment`);
      },
      onStuck: (error: AppError) => {
        log.warn('target not followed', { code: error.code, message: error.message });
        const why = error.code === 'CANCELLED' ? error.message : `there is no next pod: ${error.message}`;
        progress.failure(`${why}; files of the target answer EIO`);
      },
    };
  }

  async #next(lastId: number, signal: AbortSignal): Promise<Session> {
    const { open, log, progress, patienceMs = PATIENCE_MS } = this.#options;
    const by = (await this.#backend.endedBy?.()) ?? null;
    // Somebody wanted it to end, and a next pod would be its beginning anew.
    if (by !== null)
      throw new AppError('CANCELLED', `the session is over: it was ended by ${by}, with mirrord session stop`);
    progress.failure(
      `the target is gone (${this.#reason}): looking for the next pod; until then its files wait and its network fails`,
    );
    const endMs = performance.now() + patienceMs;
    const except = this.#backend.place?.id ?? null;
    for (;;) {
      try {
        const { backend, session } = await open(lastId, except, signal);
        this.#closing.push(this.#backend.close());
        this.#backend = backend;
        return session;
      } catch (thrown) {
        const error = AppError.from(thrown, 'BUG');
        log.warn('next target not reached', { code: error.code, message: error.message });
        if (!mayPass(error) || performance.now() > endMs || signal.aborted) throw error;
      }
      await sleep(RETRY_MS, undefined, { signal });
    }
  }
}

/** The workload is there, and its pods come and go. */
function mayPass({ code }: AppError): boolean {
  return (
    code === 'TARGET_GONE' || code === 'SERVICE_UNAVAILABLE' || code === 'DEADLINE_EXCEEDED' || code === 'AGENT_LOST'
  );
}
