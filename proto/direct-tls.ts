// TLS between client and agent where no one else vouches for the way: 1.3 with a key that both know, so that no certificate
// is needed and nobody without the key gets past the handshake. Key exchange by X25519: a key that leaks opens nothing
// that was recorded.

import { createHmac } from 'node:crypto';
import type { Socket } from 'node:net';
import tls from 'node:tls';
import { AppError } from './errors.ts';

export const DIRECT_KEY_BYTES = 32;

const IDENTITY = 'mirrord';
/** A key that comes by callback binds itself to SHA-256 (RFC 8446 section 4.2.11), so this is the one suite it goes with. */
const COMMON = { ciphers: 'TLS_AES_128_GCM_SHA256:PSK', minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3' } as const;
/** For a peer that connects and says nothing. */
const HANDSHAKE_DEADLINE_MS = 5_000;

/** Of an agent whose session key both ends have. What it encrypts is another thing than what the session key signs. */
export function directKeyOf(sessionKey: Uint8Array): Buffer {
  return createHmac('sha256', sessionKey).update('mirrord direct connection').digest();
}

/** `onConnection` gets who has shown the key, and nobody else. */
export function createDirectServer(key: Uint8Array, onConnection: (socket: Socket) => void): tls.Server {
  const server = tls.createServer(
    {
      ...COMMON,
      noDelay: true,
      handshakeTimeout: HANDSHAKE_DEADLINE_MS,
      pskCallback: (_socket, identity) => (identity === IDENTITY ? Buffer.from(key) : null),
    },
    onConnection,
  );
  server.on('tlsClientError', (_error, socket) => socket.destroy());
  return server;
}

/**
 * Resolves when both ends have shown that they know the key. Rejects with AGENT_LOST when nobody answers or whoever does has
 * not: a certificate in its place is of no use.
 */
export function connectDirect(
  host: string,
  port: number,
  key: Uint8Array,
  signal?: AbortSignal,
): Promise<tls.TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({
      ...COMMON,
      host,
      port,
      ca: [],
      pskCallback: () => ({ psk: Buffer.from(key), identity: IDENTITY }),
      checkServerIdentity: () => new Error('it shows a certificate and not the key'),
    });
    const give = () => socket.destroy(new Error('nobody waits for it any more'));
    signal?.addEventListener('abort', give, { once: true });
    const fail = (cause: Error) => {
      signal?.removeEventListener('abort', give);
      reject(new AppError('AGENT_LOST', `no direct connection to ${host}:${port}: ${reasonOf(cause)}`, { cause }));
    };
    socket.once('error', fail);
    socket.once('close', () => fail(new Error('it was closed')));
    socket.once('secureConnect', () => {
      signal?.removeEventListener('abort', give);
      socket.removeListener('error', fail);
      socket.setNoDelay(true);
      resolve(socket);
    });
  });
}

/** OpenSSL's message is a line of places in its source; what it means stands beside it. */
function reasonOf(cause: Error): string {
  return 'reason' in cause && typeof cause.reason === 'string' ? cause.reason : cause.message.trim();
}
