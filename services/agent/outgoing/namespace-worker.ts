// A worker thread in one network namespace, as the main thread sees it: started for the first session of a target, shared
// by all of them, ended with the last. As long as it runs, it keeps the namespace alive.

import { closeSync, openSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import type { Logger } from 'pino';
import { AppError } from '#proto/errors.ts';
import type { DenyListSettings } from './deny-list.ts';
import type { AttachSession, SessionLimits, WorkerReport, WorkerStart } from './worker-messages.ts';

/** Of the heap of a worker: what its sessions may hold by their limits, several times. Beyond it the thread ends, not we. */
const MAX_HEAP_MB = 256;

export interface NamespaceWorkerOptions {
  readonly workerUrl: URL;
  /** Of `/proc/PID/ns/net`. Stays the caller's, who may close it at once. */
  readonly namespaceFd: number;
  readonly denyList: DenyListSettings;
  readonly logger: Logger;
  /** The thread is gone; null when we ended it. */
  onEnded(error: AppError | null): void;
}

/**
 * libuv's pool serves all threads and takes the namespace of the one that first uses it. Were that a worker, the pool
 * would be in the target, and stay.
 */
let poolStarted: Promise<unknown> | null = null;

export class NamespaceWorker {
  readonly #options: NamespaceWorkerOptions;
  #worker: Worker | null = null;
  #error: AppError | null = null;
  #hasEnded = false;
  #waiting: AttachSession[] = [];
  /** Ours, until the thread has entered: the session that brought it may leave before. */
  #namespaceFd: number;
  readonly #exited: Promise<void>;

  constructor(options: NamespaceWorkerOptions) {
    this.#options = options;
    this.#namespaceFd = openSync(`/proc/self/fd/${options.namespaceFd}`, 'r');
    poolStarted ??= stat('/');
    this.#exited = poolStarted.then(() => this.#run());
  }

  /** The port of a new session. When the thread ends, the port closes. */
  attach(rootFd: number, limits: SessionLimits): MessagePort {
    const { port1, port2 } = new MessageChannel();
    const attach: AttachSession = { kind: 'attach', port: port2, rootFd, limits };
    if (this.#hasEnded) port1.close();
    else if (this.#worker === null) this.#waiting.push(attach);
    else this.#worker.postMessage(attach, [port2]);
    return port1;
  }

  /** Ends the thread; resolves when it is gone. */
  async close(): Promise<void> {
    this.#hasEnded = true;
    for (const { port } of this.#waiting) port.close();
    this.#waiting = [];
    await this.#worker?.terminate();
    await this.#exited;
  }

  async #run(): Promise<void> {
    const { workerUrl, denyList, logger } = this.#options;
    if (this.#hasEnded) {
      this.#closeNamespace();
      return;
    }
    const workerData: WorkerStart = { namespaceFd: this.#namespaceFd, denyList };
    const worker = new Worker(workerUrl, {
      workerData,
      name: 'mirrord-outgoing',
      // Descriptors of the addon are not Node's to count.
      trackUnmanagedFds: false,
      resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MB },
    });
    this.#worker = worker;
    worker.on('message', (report: WorkerReport) => this.#onReport(report));
    worker.on('error', (cause) => {
      this.#error ??= new AppError('SERVICE_UNAVAILABLE', `the network thread failed: ${cause.message}`, { cause });
    });
    for (const attach of this.#waiting) worker.postMessage(attach, [attach.port]);
    this.#waiting = [];
    await new Promise((resolve) => worker.once('exit', resolve));
    this.#closeNamespace();
    const wasAsked = this.#hasEnded && this.#error === null;
    this.#hasEnded = true;
    if (this.#error !== null) logger.error({ err: this.#error }, 'network thread ended');
    this.#options.onEnded(
      wasAsked ? null : (this.#error ?? new AppError('SERVICE_UNAVAILABLE', 'the network thread ended')),
    );
  }

  #onReport(report: WorkerReport): void {
    this.#closeNamespace();
    if (report.kind === 'entered') return;
    this.#error = new AppError('NOT_PERMITTED', report.message, { errno: report.errno });
    this.#worker?.terminate().catch(() => undefined);
  }

  #closeNamespace(): void {
    if (this.#namespaceFd >= 0) closeSync(this.#namespaceFd);
    this.#namespaceFd = -1;
  }
}
