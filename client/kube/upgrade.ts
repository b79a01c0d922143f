// What a port-forward begins with, on a connection of its own: the upgrade of a request to SPDY/3.1, as kubectl asks for it, or
// a WebSocket handshake (RFC 6455 section 4.1).

import { createHash, randomBytes } from 'node:crypto';
import type { ClientRequest, IncomingHttpHeaders } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { AppError } from '#proto/errors.ts';
import { VERSION } from '#proto/version.ts';
import type { ClusterAccess } from './config.ts';
import { ask } from './connection.ts';
import type { ConnectionPool } from './connection-pool.ts';
import type { Deadline } from './deadline.ts';
import { readBody } from './read-body.ts';
import { type StatusError, toStatusError } from './status.ts';

export type UpgradeKind = 'spdy' | 'websocket';

export interface Upgraded {
  readonly socket: Duplex;
  /** What came behind the answer's head. */
  readonly head: Buffer;
  readonly protocol: string;
}

/** RFC 6455 section 1.3. */
const WEBSOCKET_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const LIMIT_REFUSAL_BYTES = 64 * 1024;

interface Handshake {
  readonly method: 'GET' | 'POST';
  readonly headers: Readonly<Record<string, string | number>>;
  /** The protocol that the server has chosen; null for an answer to something else. */
  chosen(headers: IncomingHttpHeaders): string | undefined | null;
}

function spdyHandshake(protocols: readonly string[]): Handshake {
  return {
    method: 'POST',
    headers: { upgrade: 'SPDY/3.1', 'x-stream-protocol-version': protocols.join(', '), 'content-length': 0 },
    chosen: (headers) => {
      if (headers.upgrade?.toLowerCase() !== 'spdy/3.1') return null;
      return [headers['x-stream-protocol-version']].flat()[0];
    },
  };
}

function webSocketHandshake(protocols: readonly string[]): Handshake {
  const nonce = randomBytes(16).toString('base64');
  const wanted = createHash('sha1')
    .update(nonce + WEBSOCKET_GUID)
    .digest('base64');
  return {
    method: 'GET',
    headers: {
      upgrade: 'websocket',
      'sec-websocket-version': 13,
      'sec-websocket-key': nonce,
      'sec-websocket-protocol': protocols.join(', '),
    },
    chosen: (headers) => (headers['sec-websocket-accept'] === wanted ? headers['sec-websocket-protocol'] : null),
  };
}

export interface UpgradeOptions {
  readonly kind: UpgradeKind;
  /** Spoken above it, the preferred first. */
  readonly protocols: readonly string[];
}

/**
 * Resolves with the server's refusal where it refuses, with `stale` where a kept connection was over already; rejects for
 * everything else, with nothing left open.
 */
export async function upgradeOnce(
  { access, pool }: { readonly access: ClusterAccess; readonly pool: ConnectionPool },
  url: URL,
  { kind, protocols }: UpgradeOptions,
  deadline: Deadline,
): Promise<Upgraded | StatusError | 'stale'> {
  const handshake = kind === 'spdy' ? spdyHandshake(protocols) : webSocketHandshake(protocols);
  const { agent, headers, auth } = await deadline.without((signal) => pool.prepare(signal));
  const { signal } = deadline;
  return new Promise((resolve, reject) => {
    const options = {
      agent,
      auth,
      method: handshake.method,
      path: url.pathname + url.search,
      signal,
      headers: {
        ...headers,
        host: url.host,
        'user-agent': `mirrord/${VERSION}`,
        connection: 'Upgrade',
        ...handshake.headers,
      },
    };
    const sent = ask(access, options, (error) => (isStale(sent, error) ? resolve('stale') : reject(error)));
    sent.once('upgrade', (response, socket, head) => {
      const protocol = handshake.chosen(response.headers);
      if (typeof protocol === 'string' && protocols.includes(protocol)) {
        // It was given a deadline for being idle as one of many.
        (socket as Socket).setTimeout(0);
        return resolve({ socket, head, protocol });
      }
      socket.destroy();
      reject(new AppError('PROTOCOL_VIOLATION', `${url.pathname}: the server upgraded to something else`));
    });
    sent.once('response', (response) => {
      const status = response.statusCode ?? 0;
      readBody(response, LIMIT_REFUSAL_BYTES)
        .then((text) => toStatusError(status, text, `open ${url.pathname}`, response.headers['retry-after']))
        .then(resolve, reject);
    });
    sent.end();
  });
}

/** The server had closed that connection before our words reached it. */
export function isStale(sent: ClientRequest, { code }: NodeJS.ErrnoException): boolean {
  return sent.reusedSocket && (code === 'ECONNRESET' || code === 'EPIPE');
}
