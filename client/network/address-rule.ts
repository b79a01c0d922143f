// One entry of an address filter: `[proto://][name|ip|[v6]|ip/mask][:port]`. Pure.

import { AppError } from '#proto/errors.ts';
import { type InternetAddress, isUnspecified, parseIp, toMapped } from '#proto/socket-address.ts';

export type Protocol = 'tcp' | 'udp';

export interface AddressRule {
  readonly text: string;
  readonly protocol: Protocol | 'any';
  readonly host:
    | { readonly kind: 'any' }
    /** In lower case, without a dot at its end. */
    | { readonly kind: 'name'; readonly name: string }
    /** In the space of `toMapped`. */
    | { readonly kind: 'prefix'; readonly network: Uint8Array; readonly bits: number };
  /** 0: every port. */
  readonly port: number;
}

const FORM =
  /^(?:(?<protocol>tcp|udp|any):\/\/)?(?:\[(?<v6>[0-9a-f:.]+)\](?:\/(?<v6Bits>\d{1,3}))?|(?<v4>[0-9.]+)(?:\/(?<v4Bits>\d{1,2}))?|(?<name>[a-z0-9_*.-]+))?(?::(?<port>\d{1,5}))?$/i;

/** null for what is none. */
export function readAddressRule(text: string): AddressRule | null {
  const groups = text === '' ? undefined : FORM.exec(text)?.groups;
  if (groups === undefined) return null;
  const port = Number(groups['port'] ?? 0);
  const host = readHost(groups);
  if (port > 65_535 || host === null) return null;
  return { text, protocol: (groups['protocol']?.toLowerCase() ?? 'any') as AddressRule['protocol'], host, port };
}

/** Throws CONFIG_INVALID for what is none. */
export function parseAddressRule(text: string): AddressRule {
  const rule = readAddressRule(text);
  if (rule !== null) return rule;
  throw new AppError('CONFIG_INVALID', `${JSON.stringify(text)} is no [proto://][name|ip|ip/mask][:port]`);
}

/** Also of what a resolver is asked: case and a dot at the end make no difference (RFC 4343). */
export function normalName(name: string): string {
  return name.toLowerCase().replace(/\.$/, '');
}

export function fitsPort(rule: AddressRule, protocol: Protocol, port: number): boolean {
  return (rule.protocol === 'any' || rule.protocol === protocol) && (rule.port === 0 || rule.port === port);
}

/** Whatever its name may be. */
export function fitsIp({ host }: AddressRule, { ip }: InternetAddress): boolean {
  if (host.kind !== 'prefix') return host.kind === 'any';
  if (ip.length === 0) return false;
  const mapped = toMapped(ip);
  const whole = host.bits >> 3;
  for (let at = 0; at < whole; at += 1) if (mapped[at] !== host.network[at]) return false;
  const mask = (0xff00 >> (host.bits & 7)) & 0xff;
  return ((mapped[whole] ?? 0) & mask) === ((host.network[whole] ?? 0) & mask);
}

function readHost(groups: Record<string, string | undefined>): AddressRule['host'] | null {
  const { v6, v4, name } = groups;
  if (name !== undefined) return { kind: 'name', name: normalName(name) };
  const text = v6 ?? v4;
  if (text === undefined) return { kind: 'any' };
  const ip = parseIp(text);
  if (ip === null) return null;
  const given = groups['v6Bits'] ?? groups['v4Bits'];
  if (given === undefined && isUnspecified(ip)) return { kind: 'any' };
  const width = ip.length * 8;
  const bits = given === undefined ? width : Number(given);
  return bits > width ? null : { kind: 'prefix', network: toMapped(ip), bits: 128 - width + bits };
}
