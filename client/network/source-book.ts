// From which address the target's kernel reaches what: learned from connections that were made, so that a program that
// connects a datagram socket only to ask getsockname(2) (getaddrinfo(3) sorting its answers by RFC 6724) waits for nobody.
// Pure.

import { type Address, type InternetAddress, internet, isLoopback } from '#proto/socket-address.ts';

/** How long an address family stays without a route: routes come when networks do. */
const UNREACHABLE_MS = 30_000;
/** Linux's ephemeral ports (net.ipv4.ip_local_port_range). */
const FIRST_PORT = 32_768;
const PORTS = 28_232;

export class SourceBook {
  readonly #sources = new Map<string, Uint8Array>();
  readonly #unreachable = new Map<string, { errno: number; untilMs: number }>();
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  learn(local: Address | null, peer: Address | null): void {
    if (local?.kind !== 'internet' || peer?.kind !== 'internet') return;
    this.#unreachable.delete(kindOf(peer));
    this.#sources.set(kindOf(peer), Buffer.from(local.ip));
  }

  /** No route to peers like this one. */
  learnUnreachable(peer: InternetAddress, errno: number): void {
    this.#unreachable.set(kindOf(peer), { errno, untilMs: this.#now() + UNREACHABLE_MS });
  }

  /** The errno that peers like this one had a moment ago, or 0. */
  unreachable(peer: InternetAddress): number {
    const found = this.#unreachable.get(kindOf(peer));
    return found === undefined || found.untilMs < this.#now() ? 0 : found.errno;
  }

  /** null where nothing is known. The port is made up from the salt: no socket has it. */
  guess(peer: InternetAddress, salt: bigint): Address | null {
    const ip = this.#sources.get(kindOf(peer));
    return ip === undefined ? null : internet(ip, FIRST_PORT + Number(salt % BigInt(PORTS)));
  }
}

function kindOf({ ip, scopeId }: InternetAddress): string {
  return `${ip.length}${isLoopback(ip) ? ' loopback' : ''}${scopeId === 0 ? '' : ` ${scopeId}`}`;
}
