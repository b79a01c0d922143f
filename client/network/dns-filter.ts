// Which names are looked up where: feature.network.dns.filter, with the names of the outgoing filter added to it. Pure.

import type { Config } from '../config/schema/root.ts';
import { normalName, parseAddressRule } from './address-rule.ts';

type NetworkSettings = Config['feature']['network'];

export interface DnsDecision {
  readonly where: 'local' | 'remote';
  readonly rule: string;
}

export class DnsFilter {
  readonly #side: 'local' | 'remote' | null;
  /** Rule by name. */
  readonly #names: ReadonlyMap<string, string>;
  readonly #searchDomains: readonly string[];
  /** Names that both filters hold, on opposite sides. */
  readonly conflicts: readonly string[];

  /** `searchDomains` of the target's resolv.conf: with one of them behind it a name is still that name. */
  constructor({ outgoing, dns }: NetworkSettings, searchDomains: readonly string[]) {
    const own = namesOf(dns.filter?.entries ?? []);
    const copied = namesOf(outgoing.filter?.entries ?? []);
    this.#searchDomains = searchDomains.map(normalName);
    const names = new Map(own.map((name) => [name, `feature.network.dns.filter ${dns.filter?.side} ${name}`]));
    const outgoingSide = outgoing.filter?.side ?? null;
    const isCreated = dns.filter === null && outgoingSide === 'local' && copied.length > 0;
    this.#side = isCreated ? 'local' : (dns.filter?.side ?? null);
    if (this.#side !== null && this.#side === outgoingSide) {
      for (const name of copied) {
        if (!names.has(name)) names.set(name, `feature.network.outgoing.filter ${outgoingSide} ${name}`);
      }
    }
    this.#names = names;
    const isOpposite = dns.filter !== null && outgoingSide !== null && dns.filter.side !== outgoingSide;
    this.conflicts = isOpposite ? own.filter((name) => copied.includes(name)) : [];
  }

  /** false: all names go the same way. */
  get hasLocalNames(): boolean {
    return this.#side !== null;
  }

  decide(name: string): DnsDecision {
    if (this.#side === null) return { where: 'remote', rule: 'feature.network.dns' };
    const rule = this.#find(normalName(name));
    if (rule !== null) return { where: this.#side, rule };
    const other = this.#side === 'local' ? 'remote' : 'local';
    return { where: other, rule: `feature.network.dns.filter: not in the list ${this.#side}` };
  }

  #find(name: string): string | null {
    const exact = this.#names.get(name);
    if (exact !== undefined) return exact;
    for (const domain of this.#searchDomains) {
      if (domain === '' || !name.endsWith(`.${domain}`)) continue;
      const rule = this.#names.get(name.slice(0, -domain.length - 1));
      if (rule !== undefined) return rule;
    }
    return null;
  }
}

function namesOf(entries: readonly string[]): string[] {
  return entries.flatMap((text) => {
    const { host } = parseAddressRule(text);
    return host.kind === 'name' ? [host.name] : [];
  });
}
