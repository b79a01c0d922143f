// Connections to the agent in its pod: opened through the cluster's API whenever one is wanted, and the first ones kept that
// found the agent listening.

import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '#proto/errors.ts';
import type { KubeApi } from '../kube/api.ts';
import { StatusError } from '../kube/status.ts';
import { ForwardedConnection, PORT_FORWARD_PROTOCOL } from './forwarded-connection.ts';

export interface PodPort {
  readonly api: KubeApi;
  readonly namespace: string;
  readonly pod: string;
  readonly port: number;
}

/** Between two looks at an agent that does not listen yet. */
const RETRY_MS = 50;
/**
 * The same, before the node has said that its container runs. Each look costs the API server a connection: a tenth of what was
 * waited is added, so that a slow start does not cost many.
 */
const EARLY_RETRY_MS = 100;
const LONGEST_RETRY_MS = 500;
/** A session has two connections. */
const KEPT = 2;

/** Resolves when the API server has taken it; whether anybody listens shows in what comes of it, at once or later. */
export async function openForward({ api, namespace, pod, port }: PodPort, signal: AbortSignal): Promise<Duplex> {
  const path = `/api/v1/namespaces/${namespace}/pods/${pod}/portforward`;
  const { socket, head } = await api.upgrade(path, {
    protocols: [PORT_FORWARD_PROTOCOL],
    query: { ports: port },
    signal,
  });
  return new ForwardedConnection(socket, head, api.access.server.protocol === 'https:');
}

export class AgentConnections {
  readonly #port: PodPort;
  #kept: Duplex[] = [];

  constructor(port: PodPort) {
    this.#port = port;
  }

  /**
   * Tries until the agent speaks, as an HTTP/2 server does first thing. A node reports that its containers run up to a second
   * late: before `running` is signalled one connection at a time is tried, and the cluster's refusal means "not yet". Rejects with
   * CANCELLED or, later, that refusal.
   */
  async becomeReachable(signal: AbortSignal, running = AbortSignal.abort()): Promise<void> {
    const beganMs = performance.now();
    while (!(await this.#looked(signal, running))) {
      const waitedMs = performance.now() - beganMs;
      const leastMs = running.aborted ? RETRY_MS : EARLY_RETRY_MS;
      const pauseMs = Math.min(LONGEST_RETRY_MS, leastMs + waitedMs / 10);
      const either = running.aborted ? signal : AbortSignal.any([signal, running]);
      await sleep(pauseMs, undefined, { signal: either }).catch(() => {
        // Time to look again; or to end, which the next look says.
      });
    }
  }

  async #looked(signal: AbortSignal, running: AbortSignal): Promise<boolean> {
    const isEarly = !running.aborted;
    const opening = Array.from({ length: isEarly ? 1 : KEPT }, () => this.#openSpeaking(signal));
    try {
      const opened = await Promise.all(opening);
      this.#kept.push(...opened.filter((one) => one !== null));
    } catch (error) {
      if (!isEarly || !(error instanceof StatusError) || isForbidden(error)) throw error;
    }
    return this.#kept.length > 0;
  }

  async connect(signal: AbortSignal): Promise<Duplex> {
    for (let kept = this.#kept.pop(); kept !== undefined; kept = this.#kept.pop()) {
      if (!kept.destroyed) return kept;
    }
    const connection = await openForward(this.#port, signal);
    if (connection.errored !== null) throw AppError.from(connection.errored, 'SERVICE_UNAVAILABLE');
    return connection;
  }

  close(): void {
    for (const one of this.#kept) one.destroy();
    this.#kept = [];
  }

  /** null: nobody listens yet. */
  async #openSpeaking(signal: AbortSignal): Promise<Duplex | null> {
    const connection = await openForward(this.#port, signal);
    if (connection.destroyed) return null;
    return new Promise((resolve, reject) => {
      const settle = (act: () => void) => {
        connection.off('readable', onReadable).off('end', onEnd).off('error', onEnd);
        signal.removeEventListener('abort', onAbort);
        act();
      };
      const onReadable = () => {
        if (connection.readableLength === 0) return;
        settle(() => resolve(connection));
      };
      const onEnd = () => {
        connection.destroy();
        settle(() => resolve(null));
      };
      const onAbort = () => {
        connection.destroy();
        settle(() => reject(new AppError('CANCELLED', 'given up while the agent started')));
      };
      connection.on('readable', onReadable).on('end', onEnd).on('error', onEnd).on('close', onEnd);
      signal.addEventListener('abort', onAbort, { once: true });
      if (signal.aborted) onAbort();
    });
  }
}

/** Waiting does not change it. */
function isForbidden({ httpStatus }: StatusError): boolean {
  return httpStatus === 401 || httpStatus === 403;
}
