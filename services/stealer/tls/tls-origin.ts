// TLS towards the target, in a client's name.

import { Socket } from 'node:net';
import tls from 'node:tls';
import { AppError } from '#proto/errors.ts';
import { DIAL_MS, type Dialled } from '../redirect.ts';
import type { Identity } from './identity.ts';
import { TlsEndpoint } from './tls-endpoint.ts';

export type TlsOrigin = Readonly<{
  /** Takes bytes from the beginning; a handshake that fails is told as the connection's end. */
  endpoint: TlsEndpoint;
  /** Rejects with CONNECTION_FAILED when nobody listens or says a word, UNSUPPORTED when the target will not speak TLS with us. */
  agreed: Promise<Agreed>;
}>;

export type Agreed = Readonly<{
  /** What the target chose of the protocols; empty: none. */
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
): TlsOrigin {
  const raw = new Socket({ fd, allowHalfOpen: true });
  const secure = tls.connect({ socket: raw, ...identity.towardsTarget(serverName, protocols) });
  const endpoint = new TlsEndpoint(secure, raw);
  const late = setTimeout(() => raw.destroy(), DIAL_MS).unref();
  const agreed = new Promise<Agreed>((resolve, reject) => {
    let failure: Error | undefined;
    secure.once('secureConnect', () => {
      // Algorithms to sign with come with the question for a certificate, and only with it.
      resolve({ protocol: secure.alpnProtocol || '', asksWhoWeAre: secure.getSharedSigalgs().length > 0 });
    });
    secure.once('error', (error) => {
      failure = error;
    });
    secure.once('close', () => {
      const said = `the target does not agree to TLS: ${failure?.message ?? 'it left in mid-handshake'}`;
      // Who refuses a client says why, or at least something.
      reject(new AppError(raw.bytesRead === 0 ? 'CONNECTION_FAILED' : 'UNSUPPORTED', said));
    });
  });
  agreed
    .catch(() => undefined)
    .finally(() => {
      clearTimeout(late);
      onDialled();
    });
  return { endpoint, agreed };
}
