// The end of a process: signals, or the end of its parent, become one AbortSignal; what was opened is closed in reverse
// order, each within a deadline.

import type { Logger } from 'pino';

export type Closer = () => void | Promise<void>;

/** For one closer; after it the next is asked, and the process ends with a code that tells. */
const CLOSER_DEADLINE_MS = 5_000;

export interface ShutdownOptions {
  logger: Logger;
  /** End when standard input ends: the parent holds the other end of the pipe, and dies however it dies. */
  exitWithParent: boolean;
  /** The process, or what a test puts in its place. */
  host?: Pick<NodeJS.Process, 'on' | 'off' | 'stdin'>;
  deadlineMs?: number;
}

export class Shutdown {
  readonly #logger: Logger;
  readonly #host: Pick<NodeJS.Process, 'on' | 'off' | 'stdin'>;
  readonly #deadlineMs: number;
  readonly #abort = new AbortController();
  readonly #closers: { name: string; close: Closer }[] = [];
  readonly #requested: Promise<string>;
  #request: (reason: string) => void = () => undefined;

  constructor(options: ShutdownOptions) {
    this.#logger = options.logger;
    this.#host = options.host ?? process;
    this.#deadlineMs = options.deadlineMs ?? CLOSER_DEADLINE_MS;
    this.#requested = new Promise((resolve) => {
      this.#request = (reason) => {
        resolve(reason);
        this.#abort.abort(reason);
      };
    });
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) this.#host.on(name, () => this.#request(name));
    // Left to Node it opens a debugger on loopback, to every user of the machine.
    this.#host.on('SIGUSR1', () => undefined);
    if (options.exitWithParent) {
      const { stdin } = this.#host;
      const parentEnded = () => this.#request('parent ended');
      stdin.on('end', parentEnded).on('error', parentEnded).on('close', parentEnded);
      stdin.resume();
    }
  }

  /** Aborted when the end has been asked for. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Asks for the end from within, e.g. because a child that we need is gone. */
  request(reason: string): void {
    this.#request(reason);
  }

  /** Closed in reverse order of these calls. */
  onClose(name: string, close: Closer): void {
    this.#closers.push({ name, close });
  }

  /** Waits for the request, closes everything and resolves with the exit code: 0, or 1 when something did not close. */
  async run(): Promise<number> {
    const reason = await this.#requested;
    this.#logger.info({ reason }, 'shutting down');
    return this.closeAll();
  }

  async closeAll(): Promise<number> {
    let exitCode = 0;
    for (let closer = this.#closers.pop(); closer !== undefined; closer = this.#closers.pop()) {
      try {
        await this.#withDeadline(closer.close);
      } catch (err) {
        exitCode = 1;
        this.#logger.error({ closer: closer.name, err }, 'could not close in order');
      }
    }
    return exitCode;
  }

  async #withDeadline(close: Closer): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`not closed within ${this.#deadlineMs} ms`)), this.#deadlineMs);
    });
    try {
      await Promise.race([close(), late]);
    } finally {
      clearTimeout(timer);
    }
  }
}
