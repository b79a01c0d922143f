// The addon of native/, loaded when it is first asked for, and what its errors mean.

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { errnoName } from '#proto/errno.ts';
import { AppError, type AppErrorCode } from '#proto/errors.ts';

/** Of what is sent and received packet by packet: bytes or 0, or a negative errno. */
export type PacketResult = number;

interface Addon {
  assertNetworkNamespace(fd: number): void;
  openPidfd(pid: number): number;
  connectUnix(namespaceFd: number, isSeqpacket: boolean, rootFd: number, address: Uint8Array): number;
  unixNames(fd: number): [local: Buffer, peer: Buffer];
  receivePacket(fd: number, buffer: Uint8Array): PacketResult;
  sendPacket(fd: number, packet: Uint8Array): PacketResult;
  shutdownWriting(fd: number): void;
  openSocketDiagnosis(namespaceFd: number): number;
  listConnections(fd: number, port: number, most: number, any: boolean): Buffer;
  destroyConnection(fd: number, record: Uint8Array): number;
  connectTcp(namespaceFd: number, peer: Uint8Array): number;
  socketError(fd: number): number;
  internetNames(fd: number, local: Uint8Array, peer: Uint8Array): void;
  openUdp(namespaceFd: number, isV6: boolean, peer: Uint8Array, receiveBytes: number): number;
  receiveDatagram(fd: number, buffer: Uint8Array, from: Uint8Array): PacketResult;
  sendDatagram(fd: number, isV6: boolean, data: Uint8Array, to: Uint8Array): PacketResult;
}

let loaded: Addon | null = null;

/** From the source tree or from a bundle in dist/. */
export function addon(): Addon {
  if (loaded !== null) return loaded;
  const places = ['./native/build/netns.node', '../services/runtime/native/build/netns.node'].map((place) =>
    fileURLToPath(new URL(place, import.meta.url)),
  );
  const path = places.find((place) => existsSync(place));
  if (path === undefined) throw new AppError('BUG', `netns.node is not built: none of ${places.join(', ')}`);
  loaded = createRequire(import.meta.url)(path) as Addon;
  return loaded;
}

/** A failed system call as an AppError of that code, with its errno. */
export function guarded<T>(code: AppErrorCode, what: string, act: () => T): T {
  try {
    return act();
  } catch (cause) {
    const errno = cause instanceof Error && 'errno' in cause ? Number(cause.errno) : 0;
    if (errno === 0) throw AppError.from(cause, 'BUG');
    throw new AppError(code, `${what}: ${errnoName(errno)}`, { errno, cause });
  }
}
