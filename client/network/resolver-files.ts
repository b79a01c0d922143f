// /etc/resolv.conf and /etc/hosts, of the target and of this machine, as resolvers read them (resolv.conf(5), hosts(5)).
// Pure.

import { type InternetAddress, internet, parseIp } from '#proto/socket-address.ts';
import { normalName } from './address-rule.ts';

export interface ResolvConf {
  readonly nameServers: readonly InternetAddress[];
  readonly searchDomains: readonly string[];
  readonly ndots: number;
}

const DNS_PORT = 53;
/** MAXNS of glibc. */
const MAX_SERVERS = 3;
const MAX_NDOTS = 15;
/** A file of more lines is none that a resolver would read in time. */
const MAX_LINES = 100_000;

/** Without a name server the resolver asks the one on its own machine. */
export function parseResolvConf(text: string): ResolvConf {
  const nameServers: InternetAddress[] = [];
  let searchDomains: string[] = [];
  let ndots = 1;
  for (const line of text.split('\n', MAX_LINES)) {
    const [keyword, ...words] = line
      .replace(/[#;].*/, '')
      .trim()
      .split(/\s+/);
    const [first = ''] = words;
    if (keyword === 'nameserver') {
      const ip = parseIp(first);
      if (ip !== null && nameServers.length < MAX_SERVERS) nameServers.push(internet(ip, DNS_PORT));
    } else if (keyword === 'search' || keyword === 'domain') searchDomains = words.map(normalName).filter(Boolean);
    else if (keyword === 'options') {
      const option = words.map((word) => /^ndots:(\d{1,3})$/.exec(word)?.[1]).find((value) => value !== undefined);
      if (option !== undefined) ndots = Math.min(MAX_NDOTS, Number(option));
    }
  }
  if (nameServers.length === 0) nameServers.push(internet(Buffer.of(127, 0, 0, 1), DNS_PORT));
  return { nameServers, searchDomains, ndots };
}

/** Addresses by name. */
export function parseHosts(text: string): Map<string, Uint8Array[]> {
  const hosts = new Map<string, Uint8Array[]>();
  for (const line of text.split('\n', MAX_LINES)) {
    const [address = '', ...names] = line.replace(/#.*/, '').trim().split(/\s+/);
    const ip = parseIp(address);
    if (ip === null) continue;
    for (const name of names.map(normalName)) hosts.set(name, [...(hosts.get(name) ?? []), ip]);
  }
  return hosts;
}

/** What a resolver asks for, in its order. */
export function candidatesOf(name: string, { searchDomains, ndots }: ResolvConf): string[] {
  if (name.endsWith('.')) return [normalName(name)];
  const expanded = searchDomains.filter(Boolean).map((domain) => `${name}.${domain}`);
  const dots = name.split('.').length - 1;
  return dots >= ndots ? [name, ...expanded] : [...expanded, name];
}
