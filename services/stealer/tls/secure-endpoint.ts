// TLS with a client, or towards the target in a client's name: an endpoint of the relay that has its plaintext.

import { AppError } from '#proto/errors.ts';
import { DIAL_MS, type Dialled } from '../redirect.ts';
import { PoolEndpoint, type PoolEndpointOptions } from '../relay/pool-endpoint.ts';
import type { Identity } from './identity.ts';

/** How long a client may take for its handshake, in ms. */
const HANDSHAKE_MS = 10_000;

export type SecureEndpoint = Readonly<{
  /** Takes bytes from the beginning; a handshake that fails is told as the connection's end. */
  endpoint: PoolEndpoint;
  /** Rejects with CONNECTION_FAILED when nobody is there or says a word, UNSUPPORTED when the peer will not speak TLS with us. */
  agreed: Promise<Agreed>;
}>;

export type Agreed = Readonly<{
  /** What the server chose of the protocols; empty: none. */
  protocol: string;
  /** It wants a certificate of its clients, or would like one. */
  asksWhoWeAre: boolean;
}>;

/** @param dialled the endpoint's from here on */
export function secureOrigin(
  identity: Identity,
  serverName: string,
  protocols: readonly string[],
  { fd, onDialled }: Dialled,
): SecureEndpoint {
  const secure = identity.towardsTarget(serverName, protocols);
  return secured(fd, 'the target', { secure, onDialled, dialMs: DIAL_MS });
}

/**
 * @param fd a client's connection of which nothing has been read; the endpoint's from here on
 * @param protocol of HTTP_PROTOCOLS, or empty
 */
export function secureClient(identity: Identity, protocol: string, fd: number): SecureEndpoint {
  return secured(fd, 'the client', { secure: identity.towardsClient(protocol), dialMs: HANDSHAKE_MS });
}

function secured(fd: number, who: string, options: PoolEndpointOptions): SecureEndpoint {
  let endpoint!: PoolEndpoint;
  const agreed = new Promise<Agreed>((resolve, reject) => {
    endpoint = new PoolEndpoint(fd, {
      ...options,
      onAgreed: (said, error) => {
        if (said !== null && error === undefined) resolve(said);
        else {
          const why = said?.fault || error?.message || 'it left in mid-handshake';
          // Who refuses says why, or at least something.
          reject(
            new AppError(said?.hasHeard ? 'UNSUPPORTED' : 'CONNECTION_FAILED', `${who} does not agree to TLS: ${why}`),
          );
        }
      },
    });
  });
  // Who asks hears of it, and the endpoint tells it as well.
  agreed.catch(() => undefined);
  return { endpoint, agreed };
}
