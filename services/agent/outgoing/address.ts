// Addresses between their three forms: the wire's SocketAddress, Node's text, and bytes that can be compared. Pure.

import { isIP, isIPv4 } from 'node:net';
import { AppError } from '#proto/errors.ts';
import type { SocketAddress } from '#proto/gen/v1/network.ts';

/** 4 or 16 bytes in network order; never 16 for a v4-mapped address. */
export interface InternetEndpoint {
  readonly ip: Buffer;
  readonly port: number;
  /** Index of the interface of a link-local IPv6 address; 0 for none. */
  readonly scopeId: number;
}

const MAPPED_PREFIX = Buffer.from('00000000000000000000ffff', 'hex');

/** A v4-mapped address comes back as its 4 bytes; a zone (`%eth0`) is not looked at. null for what is no address. */
export function parseIp(text: string): Buffer | null {
  const [bare = ''] = text.split('%');
  if (isIP(bare) === 0) return null;
  if (isIPv4(bare)) return Buffer.from(bare.split('.').map(Number));
  return unmapped(parseIpv6(bare));
}

export function formatIp(ip: Uint8Array): string {
  if (ip.length === 4) return ip.join('.');
  const bytes = Buffer.from(ip);
  return Array.from({ length: 8 }, (_, at) => bytes.readUInt16BE(at * 2).toString(16)).join(':');
}

/** `10.0.0.1:80`, `[fd00:0:...:1]:80`: for messages. */
export function endpointText({ ip, port }: InternetEndpoint): string {
  return ip.length === 4 ? `${formatIp(ip)}:${port}` : `[${formatIp(ip)}]:${port}`;
}

/** 16 bytes, v4 in its mapped form: one space in which prefixes of both families compare. */
export function toMapped(ip: Uint8Array): Buffer {
  return ip.length === 4 ? Buffer.concat([MAPPED_PREFIX, ip]) : Buffer.from(ip);
}

/** Throws PROTOCOL_VIOLATION for an address that no kernel could have. Copies what it keeps. */
export function toEndpoint(address: SocketAddress | undefined): InternetEndpoint {
  if (address?.address?.$case !== 'internet') throw new AppError('PROTOCOL_VIOLATION', 'no internet address given');
  const { ip, port, scopeId } = address.address.value;
  if (ip.length !== 4 && ip.length !== 16) {
    throw new AppError('PROTOCOL_VIOLATION', `internet address of ${ip.length} bytes`);
  }
  if (port > 65_535) throw new AppError('PROTOCOL_VIOLATION', `port ${port} does not exist`);
  return { ip: unmapped(Buffer.from(ip)), port, scopeId };
}

/** As the kernel has it, where an IPv6 socket sees IPv4 peers by their mapped addresses. */
export function fromKernel({ ip, port, scopeId }: InternetEndpoint): InternetEndpoint {
  return { ip: unmapped(ip), port, scopeId };
}

export function fromEndpoint({ ip, port, scopeId }: InternetEndpoint): SocketAddress {
  return { address: { $case: 'internet', value: { ip, port, scopeId } } };
}

export function fromUnixName(name: Buffer): SocketAddress {
  return { address: { $case: 'unixPath', value: name } };
}

function unmapped(ip: Buffer): Buffer {
  return ip.length === 16 && ip.subarray(0, 12).equals(MAPPED_PREFIX) ? ip.subarray(12) : ip;
}

/** Of a text that `isIP` calls version 6: at most one `::`, possibly a dotted tail. */
function parseIpv6(text: string): Buffer {
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
