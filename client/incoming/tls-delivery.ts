// How a connection whose TLS ended in the stealer reaches the local process: in TLS as its client spoke it, or as plaintext.

import type { X509Certificate } from 'node:crypto';
import type { Socket } from 'node:net';
import tls from 'node:tls';
import type { TlsFacts } from '#proto/gen/v1/incoming.ts';

export interface TlsDeliveryOptions {
  readonly protocol: 'tls' | 'tcp';
  readonly serverName: string | null;
  /** The local process's certificate must be of these; none: it is not looked at. */
  readonly trustRoots: readonly Buffer[];
  /** It must be this one. */
  readonly pinned: X509Certificate | null;
}

/** Lays TLS over a connected socket. Its `secureConnect` says that it can be used, its `error` that it never will. */
export type Secure = (raw: Socket) => tls.TLSSocket;

export class TlsDelivery {
  readonly #options: TlsDeliveryOptions;

  constructor(options: TlsDeliveryOptions) {
    this.#options = options;
  }

  /** null: plaintext. */
  secure(facts: TlsFacts): Secure | null {
    if (this.#options.protocol === 'tcp') return null;
    return (raw) => this.#over(raw, facts);
  }

  #over(raw: Socket, { serverName, alpn }: TlsFacts): tls.TLSSocket {
    const { trustRoots, pinned } = this.#options;
    const secure = tls.connect({
      socket: raw,
      servername: this.#options.serverName ?? nameIn(pinned) ?? (serverName || 'localhost'),
      ...(alpn === '' ? {} : { ALPNProtocols: [alpn] }),
      ...(trustRoots.length > 0 ? { ca: [...trustRoots] } : {}),
      rejectUnauthorized: trustRoots.length > 0,
    });
    secure.prependOnceListener('secureConnect', () => {
      const fault = this.#faultOf(secure, alpn);
      if (fault !== null) secure.destroy(new Error(fault));
    });
    secure.once('close', () => raw.destroy());
    return secure;
  }

  #faultOf(secure: tls.TLSSocket, alpn: string): string | null {
    const { pinned } = this.#options;
    if (pinned !== null && secure.getPeerX509Certificate()?.raw.equals(pinned.raw) !== true) {
      return 'its certificate is not the one of tls_delivery.server_cert';
    }
    // Without a choice it speaks HTTP/1, which is what was asked for.
    if (secure.alpnProtocol === alpn || (!secure.alpnProtocol && alpn !== 'h2')) return null;
    return `it does not speak ${alpn}, which the client and the target have agreed on`;
  }
}

function nameIn(certificate: X509Certificate | null): string | null {
  if (certificate === null) return null;
  const [, name] =
    /DNS:([^,\s]+)/.exec(certificate.subjectAltName ?? '') ?? /CN=([^\n]+)/.exec(certificate.subject) ?? [];
  return name === undefined || name.includes('*') ? null : name;
}
