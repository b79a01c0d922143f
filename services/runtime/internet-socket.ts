// TCP and UDP sockets of a network namespace, made and named by address: what is made there stays there, whoever uses it.

import { endianness } from 'node:os';
import { addon, guarded, type PacketResult } from './netns-addon.ts';

export interface Endpoint {
  /** 4 or 16 bytes in network order. */
  readonly ip: Buffer;
  readonly port: number;
  /** Index of the interface of a link-local IPv6 address; 0 for none. */
  readonly scopeId: number;
}

/** As native/internet.cc has it: length of the address, 16 bytes of it, the port, the interface. */
const IP_AT = 1;
const PORT_AT = 17;
const SCOPE_AT = 19;
const ENDPOINT_BYTES = 23;
const IS_LITTLE_ENDIAN = endianness() === 'LE';
const NONE = Buffer.alloc(ENDPOINT_BYTES);

/** For calls that lay a name or a source into one: each is read before the next call. */
const local = Buffer.alloc(ENDPOINT_BYTES);
const remote = Buffer.alloc(ENDPOINT_BYTES);

/**
 * A non-blocking socket whose dial is on its way, without delay of small writes; the caller closes it. Writable when the
 * dial has an end, which `socketError` tells. Throws CONNECTION_FAILED, also where the namespace cannot be entered.
 */
export function connectTcp(namespaceFd: number, peer: Endpoint): number {
  return guarded('CONNECTION_FAILED', 'connect', () => addon().connectTcp(namespaceFd, encode(peer)));
}

/** Errno with which a dial ended, or that waits to be told; 0 for none. The kernel forgets it by that. */
export function socketError(fd: number): number {
  return addon().socketError(fd);
}

/** getsockname(2) and getpeername(2). */
export function internetNames(fd: number): { local: Endpoint; peer: Endpoint | null } {
  guarded('CONNECTION_FAILED', 'cannot name the socket', () => addon().internetNames(fd, local, remote));
  return { local: decode(local) ?? { ip: Buffer.alloc(4), port: 0, scopeId: 0 }, peer: decode(remote) };
}

/** Bound to any port, or connected to `peer`; the caller closes it. Throws CONNECTION_FAILED. */
export function openUdp(namespaceFd: number, family: 4 | 6, peer: Endpoint | null, receiveBytes: number): number {
  return guarded('CONNECTION_FAILED', 'socket', () =>
    addon().openUdp(namespaceFd, family === 6, peer === null ? NONE : encode(peer), receiveBytes),
  );
}

/** Bytes of one datagram, whose source `lastSource` tells; a negative errno, -EAGAIN for none. */
export function receiveDatagram(fd: number, buffer: Uint8Array): PacketResult {
  return addon().receiveDatagram(fd, buffer, remote);
}

export function lastSource(): Endpoint | null {
  return decode(remote);
}

/** 0, or a negative errno; -EAGAIN while the send buffer is full. null: to whom the socket is connected. */
export function sendDatagram(fd: number, family: 4 | 6, data: Uint8Array, to: Endpoint | null): PacketResult {
  return addon().sendDatagram(fd, family === 6, data, to === null ? NONE : encode(to));
}

function encode({ ip, port, scopeId }: Endpoint): Buffer {
  const encoded = Buffer.alloc(ENDPOINT_BYTES);
  encoded[0] = ip.length;
  encoded.set(ip, IP_AT);
  encoded.writeUInt16BE(port, PORT_AT);
  new DataView(encoded.buffer, encoded.byteOffset).setUint32(SCOPE_AT, scopeId, IS_LITTLE_ENDIAN);
  return encoded;
}

function decode(encoded: Buffer): Endpoint | null {
  const [length = 0] = encoded;
  if (length === 0) return null;
  const scopeId = new DataView(encoded.buffer, encoded.byteOffset).getUint32(SCOPE_AT, IS_LITTLE_ENDIAN);
  return { ip: Buffer.from(encoded.subarray(IP_AT, IP_AT + length)), port: encoded.readUInt16BE(PORT_AT), scopeId };
}
