// Addresses of sockets between their forms: bytes as kernels have them, the wire's SocketAddress, and text for people and
// for Node. Pure.

import { isIP, isIPv4 } from 'node:net';
import { AppError } from './errors.ts';
import type { SocketAddress } from './gen/v1/network.ts';

export interface InternetAddress {
  readonly kind: 'internet';
  /** 4 or 16 bytes in network order; never 16 for a v4-mapped address. */
  readonly ip: Uint8Array;
  readonly port: number;
  /** Interface of a link-local IPv6 address by its index; 0 for none. */
  readonly scopeId: number;
}

export interface UnixAddress {
  readonly kind: 'unix';
  /** A leading zero byte means an abstract name; empty: unnamed. */
  readonly path: Uint8Array;
}

export type Address = InternetAddress | UnixAddress;

const MAPPED_PREFIX = Buffer.from('00000000000000000000ffff', 'hex');

export function internet(ip: Uint8Array, port: number, scopeId = 0): InternetAddress {
  return { kind: 'internet', ip: unmapped(ip), port, scopeId };
}

/** A v4-mapped address comes back as its 4 bytes; a zone (`%eth0`) is not looked at. null for what is no address. */
export function parseIp(text: string): Uint8Array | null {
  const [bare = ''] = text.split('%');
  if (isIP(bare) === 0) return null;
  return isIPv4(bare) ? Buffer.from(bare.split('.').map(Number)) : unmapped(parseIpv6(bare));
}

/** RFC 5952: lower case, the longest run of zeros (the first of equals) as `::`. */
export function formatIp(ip: Uint8Array): string {
  if (ip.length === 4) return ip.join('.');
  const bytes = Buffer.from(ip.buffer, ip.byteOffset, ip.length);
  const groups = Array.from({ length: 8 }, (_, at) => bytes.readUInt16BE(at * 2).toString(16));
  const text = groups.join(':');
  const runs = [...text.matchAll(/(?<![0-9a-f])0(?::0)+(?![0-9a-f])/g)].sort((a, b) => b[0].length - a[0].length);
  const run = runs[0];
  if (run === undefined) return text;
  const before = text.slice(0, run.index).replace(/:$/, '');
  const after = text.slice(run.index + run[0].length).replace(/^:/, '');
  return `${before}::${after}`;
}

/** `10.0.0.1:80`, `[fd00::1]:80`, a path, or `@name` for an abstract one. */
export function addressText(address: Address): string {
  if (address.kind === 'unix') {
    const text = Buffer.from(address.path).toString();
    return text.startsWith('\0') ? `@${text.slice(1)}` : text;
  }
  const ip = formatIp(address.ip);
  return address.ip.length === 4 ? `${ip}:${address.port}` : `[${ip}]:${address.port}`;
}

/** 16 bytes, v4 in its mapped form: one space in which prefixes of both families compare. */
export function toMapped(ip: Uint8Array): Uint8Array {
  return ip.length === 4 ? Buffer.concat([MAPPED_PREFIX, ip]) : ip;
}

export function isLoopback(ip: Uint8Array): boolean {
  if (ip.length === 4) return ip[0] === 127;
  return ip.subarray(0, 15).every((byte) => byte === 0) && ip[15] === 1;
}

export function isUnspecified(ip: Uint8Array): boolean {
  return ip.every((byte) => byte === 0);
}

/** Where connect(2) leads: no address is the machine itself. */
export function reachedAt(address: InternetAddress): InternetAddress {
  if (!isUnspecified(address.ip)) return address;
  const ip = address.ip.length === 4 ? [127, 0, 0, 1] : [...Array<number>(15).fill(0), 1];
  return internet(Uint8Array.from(ip), address.port, address.scopeId);
}

/** null for an absent address. Throws PROTOCOL_VIOLATION for one that no kernel could have. */
export function fromSocketAddress(address: SocketAddress | undefined): Address | null {
  const one = address?.address;
  if (one === undefined) return null;
  if (one.$case === 'unixPath') return { kind: 'unix', path: one.value };
  const { ip, port, scopeId } = one.value;
  if ((ip.length !== 4 && ip.length !== 16) || port > 65_535) {
    throw new AppError('PROTOCOL_VIOLATION', `internet address of ${ip.length} bytes and port ${port}`);
  }
  return internet(ip, port, scopeId);
}

export function toSocketAddress(address: Address): SocketAddress {
  if (address.kind === 'unix') return { address: { $case: 'unixPath', value: Buffer.from(address.path) } };
  const { ip, port, scopeId } = address;
  return { address: { $case: 'internet', value: { ip: Buffer.from(ip), port, scopeId } } };
}

export function isSameAddress(a: Address | null, b: Address | null): boolean {
  if (a === null || b === null || a.kind !== b.kind) return a === b;
  if (a.kind === 'unix') return Buffer.compare(a.path, (b as UnixAddress).path) === 0;
  const other = b as InternetAddress;
  return a.port === other.port && a.scopeId === other.scopeId && Buffer.compare(a.ip, other.ip) === 0;
}

function unmapped(ip: Uint8Array): Uint8Array {
  return ip.length === 16 && MAPPED_PREFIX.equals(ip.subarray(0, 12)) ? ip.subarray(12) : ip;
}

/** Of a text that `isIP` calls version 6: at most one `::`, possibly a dotted tail. */
function parseIpv6(text: string): Uint8Array {
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  const tail = dotted?.[2] === undefined ? '' : Buffer.from(dotted[2].split('.').map(Number)).toString('hex');
  const plain = tail === '' ? text : `${dotted?.[1]}${tail.slice(0, 4)}:${tail.slice(4)}`;
  const [front = '', back] = plain.split('::');
  const toGroups = (part: string) => (part === '' ? [] : part.split(':').map((group) => group.padStart(4, '0')));
  const first = toGroups(front);
  const last = back === undefined ? [] : toGroups(back);
  const zeros = new Array<string>(8 - first.length - last.length).fill('0000');
  return Buffer.from([...first, ...zeros, ...last].join(''), 'hex');
}
