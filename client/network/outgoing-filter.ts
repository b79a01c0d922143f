// Where a connection of the local process goes: to the target's network, or nowhere but this machine. Compiled once from
// feature.network; asked about one peer at a time, by the flows and by `mirrord explain`. Pure: what names mean is told by
// whoever asks.

import { ERRNO } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import {
  type Address,
  type InternetAddress,
  isLoopback,
  isSameAddress,
  isUnspecified,
  type UnixAddress,
} from '#proto/socket-address.ts';
import { WireTransport } from '#proto/wire.ts';
import type { Config } from '../config/schema/root.ts';
import { compilePattern } from '../file-rules/pattern.ts';
import { type AddressRule, fitsIp, fitsPort, normalName, type Protocol, parseAddressRule } from './address-rule.ts';

export interface OutgoingDecision {
  /** mock: answered as connected, and nothing is ever heard of it. */
  readonly where: 'local' | 'remote' | 'refuse' | 'mock';
  /** Which rule decided, for people. */
  readonly rule: string;
  /** local: to be connected to in place of the peer. */
  readonly localAddress?: Address;
  /** refuse: the answer. */
  readonly errno?: number;
}

/** What is known of names. */
export interface NameBook {
  /** null: the name was not looked up. */
  isAddressOf(name: string, ip: Uint8Array): boolean | null;
}

export interface OutgoingContext {
  /** Of the target's /etc/resolv.conf, and of this machine's. */
  readonly targetNameServers: readonly InternetAddress[];
  readonly localNameServers: readonly InternetAddress[];
}

type NetworkSettings = Config['feature']['network'];

const DNS_PORT = 53;
const ECHO_PORT = 7;
const KEY = 'feature.network.outgoing';
/** RFC 5771, RFC 4291 section 2.7, RFC 919. Groups are joined, and heard, on this machine. */
const isMulticast = (ip: Uint8Array) => {
  const [first = 0] = ip;
  if (ip.length === 16) return first === 0xff;
  return (first & 0xf0) === 0xe0 || (ip.length === 4 && ip.every((byte) => byte === 0xff));
};
/** No address, and so in no prefix. */
const NO_PREFIX = new Uint8Array(0);

export class OutgoingFilter {
  readonly #settings: NetworkSettings;
  readonly #context: OutgoingContext;
  readonly #mocksPing: boolean;
  readonly #side: 'local' | 'remote' | null;
  readonly #rules: readonly AddressRule[];
  readonly #unixPatterns: readonly { text: string; regex: RegExp }[];

  private constructor(settings: NetworkSettings, context: OutgoingContext, mocksPing: boolean, rules: AddressRule[]) {
    this.#settings = settings;
    this.#context = context;
    this.#mocksPing = mocksPing;
    this.#side = settings.outgoing.filter?.side ?? null;
    this.#rules = rules;
    this.#unixPatterns = settings.outgoing.unix_streams.map((text) => {
      const compiled = compilePattern(text);
      if ('ok' in compiled) return { text, regex: compiled.ok.regex };
      throw new AppError('CONFIG_INVALID', `${KEY}.unix_streams holds ${JSON.stringify(text)}, which ${compiled.bad}`);
    });
  }

  /** Throws CONFIG_INVALID for a filter of which no entry can ever fit. */
  static compile(settings: NetworkSettings, context: OutgoingContext, mocksPing = false): OutgoingFilter {
    const { filter, tcp, udp } = settings.outgoing;
    if (filter === null || (!tcp && !udp)) return new OutgoingFilter(settings, context, mocksPing, []);
    const isOn = ({ protocol }: AddressRule) => protocol === 'any' || (protocol === 'tcp' ? tcp : udp);
    const rules = filter.entries.map(parseAddressRule).filter(isOn);
    if (rules.length > 0) return new OutgoingFilter(settings, context, mocksPing, rules);
    const why = filter.entries.length === 0 ? 'is empty' : 'names only protocols that are switched off';
    throw new AppError('CONFIG_INVALID', `${KEY}.filter: the list ${filter.side} ${why}; remove it or add an entry`);
  }

  /** Is anything connected in the target? */
  get isOn(): boolean {
    const { outgoing, dns } = this.#settings;
    return outgoing.tcp || outgoing.udp || dns.enabled || this.#unixPatterns.length > 0;
  }

  get looksAtUnix(): boolean {
    return this.#unixPatterns.length > 0;
  }

  decide(peer: Address, transport: WireTransport, names: NameBook): OutgoingDecision {
    if (peer.kind === 'unix') return this.#decideUnix(peer);
    const protocol: Protocol = transport === WireTransport.UDP ? 'udp' : 'tcp';
    return this.#decideAlways(peer, protocol) ?? this.#decideByFilter(peer, protocol, names);
  }

  /** Before it is known what the name means. `unless`: entries that its addresses may fit, and that would change it. */
  decideName(name: string, port: number, protocol: Protocol): { decision: OutgoingDecision; unless: string[] } {
    const transport = protocol === 'udp' ? WireTransport.UDP : WireTransport.TCP;
    const peer: InternetAddress = { kind: 'internet', ip: NO_PREFIX, port, scopeId: 0 };
    const decision = this.decide(peer, transport, { isAddressOf: (one) => one === normalName(name) });
    if (this.#decideAlways(peer, protocol) !== null || decision.where === this.#side) return { decision, unless: [] };
    const prefixes = this.#rules.filter((rule) => rule.host.kind === 'prefix' && fitsPort(rule, protocol, port));
    return { decision, unless: prefixes.map(({ text }) => text) };
  }

  /** Names of the filter on which this decision depends and of which the book knows nothing. */
  unresolved(peer: Address, transport: WireTransport, names: NameBook): string[] {
    if (peer.kind === 'unix') return [];
    const protocol: Protocol = transport === WireTransport.UDP ? 'udp' : 'tcp';
    if (this.#decideAlways(peer, protocol) !== null || this.#match(peer, protocol, names) !== null) return [];
    const unknown: string[] = [];
    for (const { host, ...rule } of this.#rules) {
      if (host.kind !== 'name' || !fitsPort({ host, ...rule }, protocol, peer.port)) continue;
      if (names.isAddressOf(host.name, peer.ip) === null) unknown.push(host.name);
    }
    return unknown;
  }

  /** What no filter changes. */
  #decideAlways(peer: InternetAddress, protocol: Protocol): OutgoingDecision | null {
    const { outgoing, dns, ipv6 } = this.#settings;
    if (!ipv6 && peer.ip.length === 16) {
      return { where: 'refuse', rule: 'feature.network.ipv6 is false', errno: ERRNO.EAFNOSUPPORT };
    }
    if (this.#mocksPing && protocol === 'tcp' && peer.port === ECHO_PORT) {
      return { where: 'mock', rule: 'experimental.tcp_ping4_mock' };
    }
    if (peer.port === 0) return { where: 'local', rule: 'port 0 is local' };
    if (isMulticast(peer.ip)) return { where: 'local', rule: 'multicast and broadcast are local' };
    if (this.#context.targetNameServers.some((server) => isSameAddress(server, peer))) {
      return dns.enabled ? { where: 'remote', rule: 'name server of the target' } : this.#localNameServer(peer);
    }
    const isHere = peer.ip !== NO_PREFIX && (isLoopback(peer.ip) || isUnspecified(peer.ip));
    if (isHere && outgoing.ignore_localhost) return { where: 'local', rule: `${KEY}.ignore_localhost` };
    if (outgoing[protocol]) return null;
    if (protocol === 'udp' && peer.port === DNS_PORT && dns.enabled && !isHere) {
      return { where: 'remote', rule: 'feature.network.dns: port 53' };
    }
    return { where: 'local', rule: `${KEY}.${protocol} is false` };
  }

  /** resolv.conf names the target's, and names are looked up here. */
  #localNameServer(peer: InternetAddress): OutgoingDecision {
    const [first] = this.#context.localNameServers;
    const decision: OutgoingDecision = { where: 'local', rule: 'feature.network.dns.enabled is false' };
    return first === undefined || isSameAddress(first, peer) ? decision : { ...decision, localAddress: first };
  }

  #decideByFilter(peer: InternetAddress, protocol: Protocol, names: NameBook): OutgoingDecision {
    if (this.#side === null) return { where: 'remote', rule: `${KEY}.${protocol}` };
    const rule = this.#match(peer, protocol, names);
    const other = this.#side === 'local' ? 'remote' : 'local';
    if (rule === null) return { where: other, rule: `${KEY}.filter: not in the list ${this.#side}` };
    return { where: this.#side, rule: `${KEY}.filter ${this.#side} ${rule.text}` };
  }

  #match(peer: InternetAddress, protocol: Protocol, names: NameBook): AddressRule | null {
    for (const rule of this.#rules) {
      if (!fitsPort(rule, protocol, peer.port)) continue;
      const isFit =
        rule.host.kind === 'name' ? names.isAddressOf(rule.host.name, peer.ip) === true : fitsIp(rule, peer);
      if (isFit) return rule;
    }
    return null;
  }

  #decideUnix({ path }: UnixAddress): OutgoingDecision {
    const text = Buffer.from(path).toString();
    const name = (text.startsWith('\0') ? text.slice(1) : text).replace(/\0+$/, '');
    if (name === '') return { where: 'local', rule: 'unnamed unix sockets are local' };
    const pattern = this.#unixPatterns.find(({ regex }) => regex.test(name));
    if (pattern !== undefined) return { where: 'remote', rule: `${KEY}.unix_streams ${pattern.text}` };
    return { where: 'local', rule: `${KEY}.unix_streams: no pattern fits` };
  }
}
