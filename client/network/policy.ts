// Where a connection goes, with all that is known while the local process runs: what names mean, what it listens on itself,
// and what a name that stays here is called here. The rules themselves are OutgoingFilter's.

import { lookup } from 'node:dns/promises';
import { ERRNO } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import {
  type Address,
  formatIp,
  type InternetAddress,
  internet,
  isLoopback,
  isUnspecified,
  parseIp,
} from '#proto/socket-address.ts';
import type { WireTransport } from '#proto/wire.ts';
import type { NameMemory } from './name-memory.ts';
import type { OutgoingPolicy } from './network.ts';
import type { NameBook, OutgoingDecision, OutgoingFilter } from './outgoing-filter.ts';

export interface PolicyOptions {
  readonly filter: OutgoingFilter;
  readonly memory: NameMemory;
  /** Of a name of the filter, where the filter's names are looked up. */
  readonly lookupForFilter: (name: string) => Promise<Uint8Array[]>;
  /** On this machine. */
  readonly lookupHere?: (name: string) => Promise<Uint8Array[]>;
  readonly isOwnListener: (port: number, transport: WireTransport) => boolean;
  /** Where a listener of its own is reached that has another port here than it asked for; null: it has none. */
  readonly movedListener?: (port: number, transport: WireTransport) => InternetAddress | null;
  readonly now?: () => number;
}

/** Of a name that only the filter knows: the process has not asked for it, so nobody tells how long it holds. */
const LOOKED_UP_MS = 30_000;

export class Policy implements OutgoingPolicy, NameBook {
  readonly #options: PolicyOptions;
  readonly #now: () => number;
  readonly #lookedUp = new Map<string, { ips: ReadonlySet<string>; untilMs: number }>();

  constructor(options: PolicyOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  decide(peer: Address, transport: WireTransport): Promise<OutgoingDecision> | OutgoingDecision {
    const { filter } = this.#options;
    const unresolved = filter.unresolved(peer, transport, this);
    return unresolved.length === 0
      ? this.#decideNow(peer, transport)
      : this.#lookUp(unresolved).then(() => this.#decideNow(peer, transport));
  }

  isAddressOf(name: string, ip: Uint8Array): boolean | null {
    const seen = this.#options.memory.isAddressOf(name, ip);
    if (seen !== null) return seen;
    const found = this.#lookedUp.get(name);
    return found === undefined || found.untilMs < this.#now() ? null : found.ips.has(formatIp(ip));
  }

  #decideNow(peer: Address, transport: WireTransport): Promise<OutgoingDecision> | OutgoingDecision {
    const { filter, memory, isOwnListener } = this.#options;
    const decision = filter.decide(peer, transport, this);
    if (peer.kind === 'unix') return decision;
    const isHere = isLoopback(peer.ip) || isUnspecified(peer.ip);
    const moved = isHere ? (this.#options.movedListener?.(peer.port, transport) ?? null) : null;
    if (decision.where === 'remote' && moved !== null) {
      return { where: 'local', rule: 'the local process listens on it', localAddress: moved };
    }
    if (decision.where === 'remote' && isHere && isOwnListener(peer.port, transport)) {
      return { where: 'local', rule: 'the local process listens on it' };
    }
    if (decision.where !== 'local' || decision.localAddress !== undefined || isHere) return decision;
    const name = memory.remoteNameOf(peer.ip);
    return name === null ? decision : this.#callHere(decision, name, peer.port, peer.ip.length);
  }

  /** The address is the target's for this name, and the connection stays here: this machine has its own. */
  async #callHere(decision: OutgoingDecision, name: string, port: number, length: number): Promise<OutgoingDecision> {
    const ips = await (this.#options.lookupHere ?? lookupHere)(name);
    const ip = ips.find((one) => one.length === length);
    if (ip === undefined) throw unknownName(name, 'this machine knows no address of it');
    return { ...decision, localAddress: internet(ip, port) };
  }

  async #lookUp(names: readonly string[]): Promise<void> {
    await Promise.all(
      names.map(async (name) => {
        const ips = await this.#options.lookupForFilter(name).catch((cause: unknown) => {
          throw unknownName(name, AppError.from(cause, 'BUG').message);
        });
        this.#lookedUp.set(name, { ips: new Set(ips.map(formatIp)), untilMs: this.#now() + LOOKED_UP_MS });
      }),
    );
  }
}

/** As any program of this machine would find it. Empty for a name that does not exist. */
export async function lookupHere(name: string): Promise<Uint8Array[]> {
  try {
    const found = await lookup(name, { all: true });
    return found.flatMap(({ address }) => parseIp(address) ?? []);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOTFOUND') return [];
    throw error;
  }
}

function unknownName(name: string, why: string): AppError {
  const message = `connections are refused, because feature.network.outgoing.filter needs ${name}: ${why}`;
  return new AppError('SERVICE_UNAVAILABLE', message, { errno: ERRNO.EHOSTUNREACH });
}
