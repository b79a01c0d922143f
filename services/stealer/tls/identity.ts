// Who the stealer is in TLS: a certificate and its key for some names, given by a session for as long as it steals. Keys are in
// memory only: OpenSSL's own, and what we were sent is overwritten as soon as that has it.

import { createPrivateKey, X509Certificate } from 'node:crypto';
import tls from 'node:tls';
import { AppError } from '#proto/errors.ts';
import type { TlsIdentity } from '#proto/gen/v1/incoming.ts';
import { type NativeTlsContext, stealerAddon } from '../native/index.ts';
import type { Secure } from '../relay/pool-member.ts';

/** Of one PEM text: chains are shorter, and the bundle of all the web's authorities is not meant. */
const MAX_PEM_BYTES = 64 * 1024;
export const MAX_NAMES = 100;

/** What is agreed to besides no ALPN at all; a connection of another protocol is not for filters. */
export const HTTP_PROTOCOLS: readonly string[] = ['h2', 'http/1.1', 'http/1.0'];

export class Identity {
  /** It has a certificate for a target that asks. */
  readonly hasOwnForTarget: boolean;
  readonly #serverNames: readonly string[];
  readonly #certificate: X509Certificate;
  readonly #towardsClient: NativeTlsContext;
  readonly #towardsTarget: NativeTlsContext;

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
      const { TlsContext } = stealerAddon();
      this.#towardsClient = guarded(
        port,
        'the certificate and its key',
        () => new TlsContext(true, certificate, keys[0], clientRoots, tls.DEFAULT_CIPHERS),
      );
      this.#towardsTarget = guarded(
        port,
        "the target's side",
        () => new TlsContext(false, targetCertificate, keys[1], targetRoots, tls.DEFAULT_CIPHERS),
      );
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

  /** For a connection of a client's. @param protocol of HTTP_PROTOCOLS, or empty */
  towardsClient(protocol: string): Secure {
    return { context: this.#towardsClient, serverName: '', protocols: protocol === '' ? [] : [protocol] };
  }

  /** For a connection to the target in the client's name. */
  towardsTarget(serverName: string, protocols: readonly string[]): Secure {
    return { context: this.#towardsTarget, serverName, protocols };
  }
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
