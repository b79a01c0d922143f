// Which addresses the local process was given for which names: what a filter by name means, and what an address that stays
// on this machine was called. Pure.

import { formatIp } from '#proto/socket-address.ts';
import { normalName } from './address-rule.ts';
import type { NameBook } from './outgoing-filter.ts';

/** Names remembered; the one whose answer is oldest goes first. */
const MAX_NAMES = 1_000;
/** Of one name: a program that resolves it for days has seen its addresses come and go. */
const MAX_ADDRESSES = 256;

interface Known {
  readonly addresses: Set<string>;
  /** The target's answer, or this machine's. */
  where: 'remote' | 'local';
}

export class NameMemory implements NameBook {
  readonly #names = new Map<string, Known>();
  readonly #nameOf = new Map<string, string>();
  readonly #searchDomains: readonly string[];

  constructor(searchDomains: readonly string[] = []) {
    this.#searchDomains = searchDomains.map(normalName);
  }

  get names(): number {
    return this.#names.size;
  }

  learn(name: string, ips: readonly Uint8Array[], where: 'remote' | 'local'): void {
    const known = this.#names.get(name) ?? { addresses: new Set<string>(), where };
    known.where = where;
    this.#names.delete(name);
    this.#names.set(name, known);
    for (const ip of ips) {
      const text = formatIp(ip);
      known.addresses.add(text);
      this.#nameOf.set(text, name);
    }
    for (const oldest of known.addresses) {
      if (known.addresses.size <= MAX_ADDRESSES) break;
      this.#forgetAddress(name, known, oldest);
    }
    const [oldest] = this.#names;
    if (this.#names.size > MAX_NAMES && oldest !== undefined) this.#forget(...oldest);
  }

  isAddressOf(name: string, ip: Uint8Array): boolean | null {
    const text = formatIp(ip);
    let isKnown = false;
    for (const spelling of [name, ...this.#searchDomains.map((domain) => `${name}.${domain}`)]) {
      const known = this.#names.get(spelling);
      if (known?.addresses.has(text)) return true;
      isKnown ||= known !== undefined;
    }
    return isKnown ? false : null;
  }

  /** What the target called this address, or null. */
  remoteNameOf(ip: Uint8Array): string | null {
    const name = this.#nameOf.get(formatIp(ip));
    return name !== undefined && this.#names.get(name)?.where === 'remote' ? name : null;
  }

  #forget(name: string, known: Known): void {
    this.#names.delete(name);
    for (const address of known.addresses) this.#forgetAddress(name, known, address);
  }

  #forgetAddress(name: string, known: Known, address: string): void {
    known.addresses.delete(address);
    if (this.#nameOf.get(address) === name) this.#nameOf.delete(address);
  }
}
