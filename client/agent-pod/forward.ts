// Connections to the agent in its pod: opened through the cluster's API whenever one is wanted, and the first ones kept that
// found the agent listening.

import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '#proto/errors.ts';
import type { KubeApi } from '../kube/api.ts';
import { StatusError } from '../kube/status.ts';
import type { UpgradeKind } from '../kube/upgrade.ts';
import { SPDY_FORWARD_PROTOCOL, SpdyForward } from './spdy-forward.ts';
import { WEBSOCKET_FORWARD_PROTOCOL, WebSocketForward } from './websocket-forward.ts';

export interface PodPort {
  readonly api: KubeApi;
  readonly namespace: string;
  readonly pod: string;
  readonly port: number;
}

/**
 * Between two looks at an agent that does not listen yet. Each costs the API server a connection: a tenth of what was waited is
 * the pause, so that a slow start does not cost many.
 */
const RETRY_MS = 50;
const LONGEST_RETRY_MS = 500;
/** Who was not sent away by then has found an agent that starts. */
const STANDING_MS = 40;
/** The second connection of a session, three round trips, is not begun after the first where one takes longer than this. */
const FAR_MS = 40;

/**
 * What answers whoever lets no SPDY through: a proxy that knows only WebSockets, a server that has done with it, a Role that
 * grants the one and not the other.
 */
const NO_SPDY = new Set([400, 403, 405, 426, 501]);

export class AgentConnections {
  readonly #port: PodPort;
  #kind: UpgradeKind = 'spdy';
  #kept: Duplex[] = [];

  constructor(port: PodPort) {
    this.#port = port;
  }

  /**
   * Tries until the agent speaks, as an HTTP/2 server does first thing; one that still starts keeps who comes waiting. A node
   * reports that its containers run up to a second late: before `running` is signalled one connection at a time is tried, and the
   * cluster's refusal means "not yet". Rejects with CANCELLED or, later, that refusal.
   */
  async becomeReachable(signal: AbortSignal, running = AbortSignal.abort()): Promise<void> {
    const beganMs = performance.now();
    while (!(await this.#looked(signal, running))) {
      const waitedMs = performance.now() - beganMs;
      const pauseMs = Math.min(LONGEST_RETRY_MS, Math.max(RETRY_MS, waitedMs / 10));
      const either = running.aborted ? signal : AbortSignal.any([signal, running]);
      await sleep(pauseMs, undefined, { signal: either }).catch(() => {
        // Time to look again; or to end, which the next look says.
      });
    }
  }

  async #looked(signal: AbortSignal, running: AbortSignal): Promise<boolean> {
    const isEarly = !running.aborted;
    try {
      const opening = this.#open(signal);
      const first = opening.then((one) => speaks(one, signal));
      const stands = opening.then(() => sleep(STANDING_MS, true));
      const said = Promise.race([first.then((one) => one !== null), stands]);
      said.catch(() => {
        // Who waits for the first hears it.
      });
      // The second of a session, unless the first was sent away at once.
      const isThere = this.#port.api.quickestMs > FAR_MS || (await said);
      const second = isThere ? this.#open(signal).then((one) => speaks(one, signal)) : null;
      second?.catch(() => {
        // It is not kept, and made when it is wanted.
      });
      for (const one of await Promise.allSettled([first, second])) {
        if (one.status === 'fulfilled' && one.value !== null) this.#kept.push(one.value);
      }
      // Whoever gave up wants to know.
      await first;
    } catch (error) {
      if (!isEarly || !(error instanceof StatusError) || isForbidden(error)) throw error;
    }
    return this.#kept.length > 0;
  }

  async connect(signal: AbortSignal): Promise<Duplex> {
    for (let kept = this.#kept.pop(); kept !== undefined; kept = this.#kept.pop()) {
      if (!kept.destroyed) return kept;
    }
    const connection = await this.#open(signal);
    if (connection.errored !== null) throw AppError.from(connection.errored, 'SERVICE_UNAVAILABLE');
    return connection;
  }

  close(): void {
    for (const one of this.#kept) one.destroy();
    this.#kept = [];
  }

  /**
   * Resolves when the API server has taken it; whether anybody listens shows in what comes of it, at once or later. The runtime
   * of a pod takes twice as long for bytes in a WebSocket, so that is the second choice.
   */
  async #open(signal: AbortSignal): Promise<Duplex> {
    if (this.#kind === 'websocket') return this.#openAs('websocket', signal);
    try {
      return await this.#openAs('spdy', signal);
    } catch (error) {
      const isRefused = error instanceof StatusError && NO_SPDY.has(error.httpStatus);
      if (!isRefused && AppError.from(error, 'BUG').code !== 'PROTOCOL_VIOLATION') throw error;
      const opened = await this.#openAs('websocket', signal);
      this.#kind = 'websocket';
      return opened;
    }
  }

  async #openAs(kind: UpgradeKind, signal: AbortSignal): Promise<Duplex> {
    const { api, namespace, pod, port } = this.#port;
    const path = `/api/v1/namespaces/${namespace}/pods/${pod}/portforward`;
    if (kind === 'spdy') {
      const { socket, head } = await api.upgrade(path, { kind, protocols: [SPDY_FORWARD_PROTOCOL], signal });
      return new SpdyForward(socket, head, port);
    }
    const options = { kind, protocols: [WEBSOCKET_FORWARD_PROTOCOL], query: { ports: port }, signal };
    const { socket, head } = await api.upgrade(path, options);
    return new WebSocketForward(socket, head, api.access.server.protocol === 'https:');
  }
}

/** Resolves with the connection when its other end has spoken; with null when it is over, and nobody listens yet. */
async function speaks(connection: Duplex, signal: AbortSignal): Promise<Duplex | null> {
  if (connection.destroyed) return null;
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => {
      connection.off('readable', onReadable).off('end', onEnd).off('error', onEnd).off('close', onEnd);
      signal.removeEventListener('abort', onAbort);
      act();
    };
    const onReadable = () => {
      // An end shows to who reads.
      if (connection.readableLength === 0) connection.read();
      else settle(() => resolve(connection));
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

/** Waiting does not change it. */
function isForbidden({ httpStatus }: StatusError): boolean {
  return httpStatus === 401 || httpStatus === 403;
}
