// The half of `mirrord explain` that is about connections: where `[tcp://|udp://]HOST:PORT` or `unix:PATH` would go, and by
// which rule. Asks nobody: what a name means is known only while the local process runs.

import { type Address, internet, parseIp } from '#proto/socket-address.ts';
import { WireTransport } from '#proto/wire.ts';
import type { Config } from '../config/schema/root.ts';
import type { Protocol } from '../network/address-rule.ts';
import { DnsFilter } from '../network/dns-filter.ts';
import { type OutgoingDecision, OutgoingFilter } from '../network/outgoing-filter.ts';

export interface AddressExplanation {
  readonly address: string;
  /** null for what is no name. */
  readonly lookup: { readonly where: 'local' | 'remote'; readonly rule: string } | null;
  readonly connections: readonly (OutgoingDecision & {
    readonly transport: Protocol | 'unix';
    /** Entries of the filter that the name's addresses may fit instead. */
    readonly unless: readonly string[];
  })[];
}

const ADDRESS = /^(?:(tcp|udp):\/\/)?(?:\[([0-9a-f:.]+)\]|([^/:\s[\]]+)):(\d{1,5})$/i;
const UNIX = /^unix:(.+)$/;
const NO_NAMES = { isAddressOf: () => false };

export function isAddress(word: string): boolean {
  return UNIX.test(word) || Number(ADDRESS.exec(word)?.[4] ?? Number.NaN) <= 65_535;
}

/** Why a word that is no address is no path either, as far as its look tells; a path with a slash always is one. */
export function faultOfWord(word: string): string | null {
  if (word === '') return 'a path is empty';
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(word)) {
    return `${JSON.stringify(word)} is neither a path nor an address: tcp:// or udp:// and HOST:PORT`;
  }
  if (!word.includes(':') || word.includes('/')) return null;
  return `${JSON.stringify(word)} is no HOST:PORT, with a port up to 65535; a file of that name is ${JSON.stringify(`./${word}`)}`;
}

/** Of a word that `isAddress`. */
export function explainAddress(word: string, config: Config): AddressExplanation {
  const { network } = config.feature;
  const context = { targetNameServers: [], localNameServers: [] };
  const filter = OutgoingFilter.compile(network, context, config.experimental.tcp_ping4_mock);
  const path = UNIX.exec(word)?.[1];
  if (path !== undefined) {
    const peer: Address = { kind: 'unix', path: Buffer.from(path.startsWith('@') ? `\0${path.slice(1)}` : path) };
    const decision = filter.decide(peer, WireTransport.UNIX_STREAM, NO_NAMES);
    return { address: word, lookup: null, connections: [{ ...decision, transport: 'unix', unless: [] }] };
  }
  const [, protocol, v6, host = v6 ?? '', port] = ADDRESS.exec(word) ?? [];
  const protocols: Protocol[] = protocol === undefined ? ['tcp', 'udp'] : [protocol.toLowerCase() as Protocol];
  const ip = host === 'localhost' ? Buffer.of(127, 0, 0, 1) : parseIp(host);
  if (ip === null) return explainName(word, host, Number(port), protocols, filter, config);
  const connections = protocols.map((transport) => {
    const kind = transport === 'udp' ? WireTransport.UDP : WireTransport.TCP;
    return { ...filter.decide(internet(ip, Number(port)), kind, NO_NAMES), transport, unless: [] };
  });
  return { address: word, lookup: null, connections };
}

function explainName(
  address: string,
  name: string,
  port: number,
  protocols: readonly Protocol[],
  filter: OutgoingFilter,
  { feature }: Config,
): AddressExplanation {
  const { network } = feature;
  const lookup = network.dns.enabled
    ? new DnsFilter(network, []).decide(name)
    : { where: 'local' as const, rule: 'feature.network.dns.enabled is false' };
  const connections = protocols.map((transport) => {
    const { decision, unless } = filter.decideName(name, port, transport);
    return { ...decision, transport, unless };
  });
  return { address, lookup, connections };
}

const WHERE = {
  local: 'here',
  remote: 'in the target',
  refuse: 'nowhere',
  mock: 'nowhere, and it seems to succeed',
} as const;

export function addressToText({ address, lookup, connections }: AddressExplanation): string {
  const lines = connections.map(({ transport, where, rule, unless }) => {
    const condition = unless.length === 0 ? '' : `; unless an address of it is in ${unless.join(', ')}`;
    return `  ${transport.padEnd(5)}  ${WHERE[where]}: ${rule}${condition}`;
  });
  if (lookup !== null) lines.unshift(`  name   ${WHERE[lookup.where]}: ${lookup.rule}`);
  return `${address}\n${lines.join('\n')}\n`;
}
