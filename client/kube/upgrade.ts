// A WebSocket handshake (RFC 6455 section 4.1) with the API server on a connection of its own: what `exec`, `attach` and
// `portforward` begin with.

import { createHash, randomBytes } from 'node:crypto';
import { request } from 'node:http';
import type { Duplex } from 'node:stream';
import { AppError } from '#proto/errors.ts';
import { VERSION } from '#proto/version.ts';
import type { ClusterAccess } from './config.ts';
import { connectToServer } from './connection.ts';
import { readBody } from './read-body.ts';
import { type StatusError, toStatusError } from './status.ts';

export interface Upgraded {
  readonly socket: Duplex;
  /** What came behind the answer's head. */
  readonly head: Buffer;
  readonly protocol: string;
}

/** RFC 6455 section 1.3. */
const WEBSOCKET_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const LIMIT_REFUSAL_BYTES = 64 * 1024;

/** Resolves with the server's refusal where it refuses; rejects for everything else, with nothing left open. */
export async function upgradeOnce(
  access: ClusterAccess,
  url: URL,
  protocols: readonly string[],
  signal: AbortSignal,
): Promise<Upgraded | StatusError> {
  const credentials = await access.credentials.headers(signal);
  const socket = await connectToServer(access, signal);
  const nonce = randomBytes(16).toString('base64');
  try {
    return await new Promise<Upgraded | StatusError>((resolve, reject) => {
      const sent = request({
        createConnection: () => socket,
        host: url.hostname,
        path: url.pathname + url.search,
        signal,
        headers: {
          ...credentials,
          host: url.host,
          'user-agent': `mirrord/${VERSION}`,
          connection: 'Upgrade',
          upgrade: 'websocket',
          'sec-websocket-version': '13',
          'sec-websocket-key': nonce,
          'sec-websocket-protocol': protocols.join(', '),
        },
      });
      sent.once('error', reject);
      sent.once('upgrade', (response, stream, head) => {
        const protocol = response.headers['sec-websocket-protocol'] ?? '';
        const wanted = createHash('sha1')
          .update(nonce + WEBSOCKET_GUID)
          .digest('base64');
        const isOurs = response.headers['sec-websocket-accept'] === wanted && protocols.includes(protocol);
        if (isOurs) resolve({ socket: stream, head, protocol });
        else reject(new AppError('PROTOCOL_VIOLATION', `${url.pathname}: the server upgraded to something else`));
      });
      sent.once('response', (response) => {
        const status = response.statusCode ?? 0;
        readBody(response, LIMIT_REFUSAL_BYTES)
          .then((text) => {
            socket.destroy();
            resolve(toStatusError(status, text, `open ${url.pathname}`, response.headers['retry-after']));
          })
          .catch(reject);
      });
      sent.end();
    });
  } catch (error) {
    socket.destroy();
    throw error;
  }
}
