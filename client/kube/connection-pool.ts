// Connections to the API server that requests share: kept open between calls, few at a time. The library makes a new agent for
// each request, so each would be a handshake; one agent serves until the login gives another certificate.

import type { OutgoingHttpHeaders } from 'node:http';
import type { Agent, RequestOptions } from 'node:https';
import { checkServerIdentity, createSecureContext } from 'node:tls';
import type { ClusterAccess } from './config.ts';
import { CONNECT_DEADLINE_MS, hostOf } from './connection.ts';

/** A command asks for one or two things at a time. */
const MAX_CONNECTIONS = 6;

type Material = Pick<RequestOptions, 'ca' | 'cert' | 'key'>;

export interface Prepared {
  readonly agent: Agent;
  readonly headers: OutgoingHttpHeaders;
  readonly auth: string | undefined;
}

export class ConnectionPool {
  readonly #access: ClusterAccess;
  #kept: { readonly agent: Agent; readonly material: Material } | null = null;

  constructor(access: ClusterAccess) {
    this.#access = access;
  }

  /** What a request bears and goes over. Rejects as the login does. */
  async prepare(signal: AbortSignal): Promise<Prepared> {
    const options = await this.#access.login.options(signal);
    const { ca, cert, key } = options;
    if (this.#kept === null || !isSame(this.#kept.material, { ca, cert, key })) {
      this.destroyIdle();
      this.#kept = { agent: keeping(this.#access, options), material: { ca, cert, key } };
    }
    const headers = options.headers as OutgoingHttpHeaders;
    return { agent: this.#kept.agent, headers, auth: options.auth ?? undefined };
  }

  /** A connection keeps the certificate it was made with. */
  destroyIdle(): void {
    for (const sockets of Object.values(this.#kept?.agent.freeSockets ?? {})) {
      for (const socket of sockets ?? []) socket.destroy();
    }
  }

  destroy(): void {
    this.#kept?.agent.destroy();
  }
}

/**
 * The library's agent, made to keep connections. What stands between closes idle ones without a word, some after a minute: the end
 * of a long session must not meet one, so they are closed before.
 */
export function keeping(to: Pick<ClusterAccess, 'server' | 'proxy' | 'isInsecure'>, options: RequestOptions): Agent {
  const agent = options.agent as Agent;
  const { ca, cert, key, servername } = options;
  Object.assign(agent, { keepAlive: true, maxSockets: MAX_CONNECTIONS, maxFreeSockets: MAX_CONNECTIONS });
  Object.assign(agent.options, { keepAlive: true, timeout: CONNECT_DEADLINE_MS });
  if (to.server.protocol === 'https:') {
    // Reading authorities and a key takes longer than a handshake with them: once.
    agent.options.secureContext = createSecureContext({ ...(ca ? { ca } : {}), ...(cert && key ? { cert, key } : {}) });
  }
  if (to.proxy !== null) {
    // Behind a proxy the library's agents check an address as a name.
    const expected = servername ?? hostOf(to.server);
    agent.options.checkServerIdentity = (_name, certificate) => checkServerIdentity(expected, certificate);
    // Go, and so kubectl, trusts the same authorities for a proxy as for the server behind it.
    Object.assign(agent, { proxyRequestOptions: { ca, rejectUnauthorized: !to.isInsecure } });
  }
  return agent;
}

function isSame(one: Material, other: Material): boolean {
  const text = ({ ca, cert, key }: Material) => [ca, cert, key].map((part) => String(part ?? '')).join('\n');
  return text(one) === text(other);
}
