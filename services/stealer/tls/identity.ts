// Who the stealer is in TLS: a certificate and its key for some names, given by a session for as long as it steals. Keys are in
// memory only: OpenSSL's own, and what we were sent is overwritten as soon as that has it.

import { constants, createPrivateKey, X509Certificate } from 'node:crypto';
import type { Socket } from 'node:net';
import tls from 'node:tls';
import { AppError } from '#proto/errors.ts';
import type { TlsIdentity } from '#proto/gen/v1/incoming.ts';

/** Of one PEM text: chains are shorter, and the bundle of all the web's authorities is not meant. */
export const MAX_PEM_BYTES = 64 * 1024;
export const MAX_NAMES = 100;

/** What is agreed to besides no ALPN at all; a connection of another protocol is not for filters. */
export const HTTP_PROTOCOLS: readonly string[] = ['h2', 'http/1.1', 'http/1.0'];

type Handshake = Readonly<{ resolve: (secure: tls.TLSSocket) => void; reject: (error: Error) => void }>;

export class Identity {
  /** It has a certificate for a target that asks. */
  readonly hasOwnForTarget: boolean;
  readonly #serverNames: readonly string[];
  readonly #certificate: X509Certificate;
  /** By what they agree to. None of them listens: connections are handed to them. */
  readonly #servers = new Map<string, tls.Server>();
  readonly #handshakes = new Map<string, Handshake>();
  readonly #towardsTarget: tls.ConnectionOptions;

  /**
   * @param wanted its keys are overwritten
   * @throws AppError CONFIG_INVALID saying what is wrong with it, without a byte of it
   */
  constructor(port: number, wanted: TlsIdentity) {
    const { certificate, key, serverNames, clientRoots, targetCertificate, targetKey, targetRoots } = wanted;
    const texts = [certificate, key, clientRoots, targetCertificate, targetKey, targetRoots];
    if (texts.some(({ length }) => length > MAX_PEM_BYTES))
      throw refused(port, `a file of over ${MAX_PEM_BYTES} bytes`);
    if (serverNames.length > MAX_NAMES) throw refused(port, `more than ${MAX_NAMES} names`);
    this.#certificate = guarded(port, 'the certificate', () => new X509Certificate(certificate));
    this.hasOwnForTarget = targetCertificate.length > 0;
    this.#serverNames = serverNames.map((name) => name.toLowerCase());
    const keys = [toBuffer(key), toBuffer(targetKey)] as const;
    try {
      // OpenSSL itself would keep a key of another kind beside it.
      if (!guarded(port, 'the key', () => this.#certificate.checkPrivateKey(createPrivateKey(keys[0])))) {
        throw refused(port, 'the key is not the one of the certificate');
      }
      guarded(port, 'the certificate and its key', () =>
        this.#openServers(toBuffer(certificate), keys[0], clientRoots),
      );
      this.#towardsTarget = guarded(port, "the target's side", () => ({
        secureContext: tls.createSecureContext({
          ...(targetCertificate.length > 0 ? { cert: toBuffer(targetCertificate), key: keys[1] } : {}),
          ...(targetRoots.length > 0 ? { ca: toBuffer(targetRoots) } : {}),
        }),
        rejectUnauthorized: targetRoots.length > 0,
      }));
    } finally {
      for (const secret of [...keys, key, targetKey]) secret.fill(0);
    }
  }

  /** @param serverName in lower case; empty: the client named none */
  covers(serverName: string): boolean {
    if (this.#serverNames.length > 0) return this.#serverNames.some((pattern) => fits(pattern, serverName));
    return serverName === '' || this.#certificate.checkHost(serverName) !== undefined;
  }

  /** @returns for people: a name that both are for, with different certificates; undefined when there is none */
  clashWith(other: Identity): string | undefined {
    if (other.#certificate.fingerprint256 === this.#certificate.fingerprint256) return undefined;
    const isBoth = (name: string) => this.covers(exampleOf(name)) && other.covers(exampleOf(name));
    return (
      [...this.#names, ...other.#names].find(isBoth) ?? (this.covers('') && other.covers('') ? 'no name' : undefined)
    );
  }

  get #names(): readonly string[] {
    return this.#serverNames.length > 0 ? this.#serverNames : namesOf(this.#certificate);
  }

  /**
   * @param raw a connection of which nothing has been read, with `allowHalfOpen`
   * @param protocol of HTTP_PROTOCOLS, or empty
   * @returns resolves when both ends know each other; rejects when they will not
   */
  accept(raw: Socket, protocol: string): Promise<tls.TLSSocket> {
    return new Promise((resolve, reject) => {
      const name = nameOf(raw);
      this.#handshakes.set(name, { resolve, reject });
      raw.once('close', () => {
        this.#handshakes.delete(name);
        reject(new AppError('CONNECTION_FAILED', 'the client left in mid-handshake'));
      });
      this.#servers.get(protocol)?.emit('connection', raw);
    });
  }

  /** For a connection to the target in the client's name. */
  towardsTarget(serverName: string, protocols: readonly string[]): tls.ConnectionOptions {
    return {
      ...this.#towardsTarget,
      ...(serverName === '' ? { checkServerIdentity: () => undefined } : { servername: serverName }),
      ...(protocols.length === 0 ? {} : { ALPNProtocols: [...protocols] }),
    };
  }

  #openServers(cert: Buffer, key: Buffer, clientRoots: Uint8Array): void {
    for (const protocol of ['', ...HTTP_PROTOCOLS]) {
      const server = tls.createServer({
        cert,
        key,
        ...(clientRoots.length > 0 ? { ca: toBuffer(clientRoots), requestCert: true, rejectUnauthorized: true } : {}),
        ...(protocol === '' ? {} : { ALPNProtocols: [protocol] }),
        secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
      });
      server.on('secureConnection', (secure) => this.#handshakes.get(nameOf(secure))?.resolve(secure));
      server.on('tlsClientError', (error, secure) => {
        this.#handshakes.get(nameOf(secure))?.reject(error);
        secure.destroy();
      });
      this.#servers.set(protocol, server);
    }
  }
}

/** Both ends: no other connection has them at the same time. */
function nameOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}

function toBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

function fits(pattern: string, name: string): boolean {
  if (pattern === '*' || pattern === name) return true;
  // One label, as in certificates (RFC 6125 section 6.4.3).
  return (
    pattern.startsWith('*.') &&
    name.endsWith(pattern.slice(1)) &&
    name.indexOf('.') === name.length - pattern.length + 1
  );
}

function namesOf({ subjectAltName, subject }: X509Certificate): string[] {
  const names = (subjectAltName ?? '').match(/(?<=DNS:)[^,\s"]+/g) ?? subject?.match(/(?<=CN=)[^\n]+/g) ?? [];
  return names.map((name) => name.toLowerCase());
}

/** One of the names that a pattern is for. */
function exampleOf(pattern: string): string {
  return pattern.replace(/^\*/, 'any');
}

function refused(port: number, why: string, cause?: unknown): AppError {
  return new AppError('CONFIG_INVALID', `TLS of port ${port}: ${why}`, { cause });
}

function guarded<T>(port: number, what: string, act: () => T): T {
  try {
    return act();
  } catch (cause) {
    // OpenSSL's reason, which names no content: "key values mismatch".
    const reason = cause instanceof Error ? cause.message.split('::').at(-1) : '';
    throw refused(port, `${what}: ${reason}`);
  }
}
