// The door to the target's network: a session hands its CONNECT, DATA, HALF_CLOSE, RESET and CREDIT frames in here and
// gets frames back. Nothing is opened before the first CONNECT.
//
// Connections end with the session, with the target (RESET, ECONNRESET), and with the thread that holds them (the same;
// the next CONNECT starts another).

import { networkInterfaces } from 'node:os';
import type { Logger } from 'pino';
import type { AppError } from '#proto/errors.ts';
import type { TargetHandle, TargetIdentity } from '#runtime/target-handle.ts';
import type { DenyListSettings } from './deny-list.ts';
import { NamespaceWorker } from './namespace-worker.ts';
import { type OutgoingLink, OutgoingSession } from './outgoing-session.ts';
import type { SessionLimits } from './worker-messages.ts';

export interface OutgoingSettings {
  /** Exceptions to the deny list, as `parseGrant` takes them. */
  readonly allow: readonly string[];
  /** Of the node, beside those of this process's own interfaces. */
  readonly nodeAddresses: readonly string[];
  readonly limits: SessionLimits;
  /** The worker's bundle; beside our own by default. */
  readonly workerUrl?: URL;
  readonly logger: Logger;
}

export const DEFAULT_LIMITS: SessionLimits = {
  /** A descriptor each; 4,096 is what a busy service has, and a fifth of the descriptors of a common process. */
  connections: 4_096,
  /** Longer than the kernel's own 127 s (tcp_syn_retries 6): the error of a dial is its, not ours. */
  dialMs: 150_000,
  /** RFC 4787 REQ-5: what a NAT should keep a UDP mapping at least, if nobody says otherwise. */
  datagramIdleMs: 300_000,
};

interface Shared {
  readonly worker: NamespaceWorker;
  readonly users: Set<OutgoingSession>;
}

export class Outgoing {
  readonly #settings: OutgoingSettings;
  readonly #byNamespace = new Map<string, Shared>();
  readonly #sessions = new Set<OutgoingSession>();
  readonly #closing = new Set<Promise<void>>();

  constructor(settings: OutgoingSettings) {
    this.#settings = settings;
  }

  /** Threads that run, those included that are being ended. */
  get workers(): number {
    return this.#byNamespace.size + this.#closing.size;
  }

  openSession(target: TargetIdentity, link: OutgoingLink): OutgoingSession {
    const session: OutgoingSession = new OutgoingSession({
      target,
      link,
      logger: this.#settings.logger,
      attach: (handle) => this.#acquire(handle, session).attach(handle.rootFd, this.#settings.limits),
      detach: (handle) => this.#release(handle.namespaceKey, session),
      onClosed: () => this.#sessions.delete(session),
    });
    this.#sessions.add(session);
    return session;
  }

  /** Closes what sessions have left open. */
  async close(): Promise<void> {
    await Promise.all([...this.#sessions].map((session) => session.close()));
    await Promise.all(this.#closing);
  }

  #acquire(handle: TargetHandle, session: OutgoingSession): NamespaceWorker {
    const key = handle.namespaceKey;
    let shared = this.#byNamespace.get(key);
    if (shared === undefined) {
      const users = new Set<OutgoingSession>();
      const worker = new NamespaceWorker({
        workerUrl: this.#settings.workerUrl ?? new URL('./agent-outgoing-worker.js', import.meta.url),
        namespaceFd: handle.namespaceFd,
        denyList: this.#denyList(handle),
        logger: this.#settings.logger,
        onEnded: (error) => this.#onWorkerEnded(key, error),
      });
      shared = { worker, users };
      this.#byNamespace.set(key, shared);
    }
    shared.users.add(session);
    return shared.worker;
  }

  #release(key: string, session: OutgoingSession): Promise<void> {
    const shared = this.#byNamespace.get(key);
    if (shared === undefined || !shared.users.delete(session) || shared.users.size > 0) return Promise.resolve();
    this.#byNamespace.delete(key);
    const closed = shared.worker.close().finally(() => this.#closing.delete(closed));
    this.#closing.add(closed);
    return closed;
  }

  #onWorkerEnded(key: string, error: AppError | null): void {
    if (error === null) return;
    const shared = this.#byNamespace.get(key);
    if (shared === undefined) return;
    this.#byNamespace.delete(key);
    for (const session of shared.users) session.workerEnded(error);
  }

  #denyList({ isNodeNetwork }: TargetHandle): DenyListSettings {
    const { allow, nodeAddresses } = this.#settings;
    return { allow, nodeAddresses: [...nodeAddresses, ...ownAddresses()], isNodeNetwork };
  }
}

/** An agent on the node's network finds the node's addresses here; one with its own finds none that matter. */
function ownAddresses(): string[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal }) => !internal)
    .map(({ address }) => address.split('%')[0] ?? address);
}
