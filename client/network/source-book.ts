// From which address the target's kernel reaches what: learned from connections that were made, so that a program that
// connects a datagram socket only to ask getsockname(2) (getaddrinfo(3) sorting its answers by RFC 6724) waits for nobody.
//
// What is true of one public address is taken to be true of all, since a default route leads to them; of others it is so within a network.
// Pure.

import { type Address, type InternetAddress, internet, isLoopback } from '#proto/socket-address.ts';

/** How long addresses stay without a route: routes come when networks do. */
const UNREACHABLE_MS = 30_000;
/** Of either kind; then the eldest goes. */
const MAX_REMEMBERED = 1_024;
/** By bytes of an address: of the networks that are believed to be reached, or not, as a whole. */
const REACHED_BYTES: Record<number, number> = { 4: 2, 16: 6 };
const UNREACHED_BYTES: Record<number, number> = { 4: 3, 16: 8 };
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
    // To 0.0.0.0 the kernel goes by loopback.
    if (isLoopback(local.ip) !== isLoopback(peer.ip)) return;
    this.#unreachable.delete(textOf(peer));
    this.#unreachable.delete(networkOf(peer, UNREACHED_BYTES));
    remember(this.#sources, networkOf(peer, REACHED_BYTES), Buffer.from(local.ip));
  }

  /** No route to this one, nor to others like it unless one of them is reached. */
  learnUnreachable(peer: InternetAddress, errno: number): void {
    const known = { errno, untilMs: this.#now() + UNREACHABLE_MS };
    remember(this.#unreachable, textOf(peer), known);
    remember(this.#unreachable, networkOf(peer, UNREACHED_BYTES), known);
  }

  /** The errno that this one, or peers like it, had a moment ago, or 0. */
  unreachable(peer: InternetAddress): number {
    const ofOthers = this.#sources.has(networkOf(peer, REACHED_BYTES)) ? '' : networkOf(peer, UNREACHED_BYTES);
    const found = this.#unreachable.get(textOf(peer)) ?? this.#unreachable.get(ofOthers);
    return found === undefined || found.untilMs < this.#now() ? 0 : found.errno;
  }

  /** null where nothing is known. The port is made up from the salt: no socket has it. */
  guess(peer: InternetAddress, salt: bigint): Address | null {
    const ip = this.#sources.get(networkOf(peer, REACHED_BYTES));
    return ip === undefined ? null : internet(ip, FIRST_PORT + Number(salt % BigInt(PORTS)));
  }
}

function networkOf({ ip, scopeId }: InternetAddress, bytes: Record<number, number>): string {
  const scope = scopeId === 0 ? '' : `%${scopeId}`;
  if (isLoopback(ip)) return `${ip.length} loopback`;
  if (isPublic(ip)) return `${ip.length} public${scope}`;
  return `${ip.length} ${Buffer.from(ip.subarray(0, bytes[ip.length])).toString('hex')}${scope}`;
}

function textOf({ ip, scopeId }: InternetAddress): string {
  return `${Buffer.from(ip).toString('hex')}%${scopeId}`;
}

/** Global unicast (RFC 4291 section 2.5.4); not for private use (RFC 1918), shared (RFC 6598), link-local or special. */
function isPublic(ip: Uint8Array): boolean {
  const [first = 0, second = 0] = ip;
  if (ip.length === 16) return first >> 5 === 1;
  const isPrivate = first === 10 || (first === 172 && second >> 4 === 1) || (first === 192 && second === 168);
  const isLocal = (first === 100 && second >> 6 === 1) || (first === 169 && second === 254);
  return first !== 0 && first < 224 && !isPrivate && !isLocal;
}

function remember<Value>(all: Map<string, Value>, key: string, value: Value): void {
  all.delete(key);
  const [eldest] = all.keys();
  if (all.size >= MAX_REMEMBERED && eldest !== undefined) all.delete(eldest);
  all.set(key, value);
}
