// The typed door of the addon in native/: entering a network namespace, and the few system calls around it that Node does
// not offer. Arguments are checked here; the addon assumes.

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { ERRNO, errnoName } from '#proto/errno.ts';
import { AppError, type AppErrorCode } from '#proto/errors.ts';

/** Of `receivePacket` and `sendPacket`, as negative numbers. */
export type PacketResult = number;

interface Addon {
  enterNetworkNamespace(fd: number): void;
  openPidfd(pid: number): number;
  interfaceIndex(name: string): number;
  interfaceName(index: number): string | null;
  connectUnix(isSeqpacket: boolean, rootFd: number, address: Uint8Array): number;
  unixNames(fd: number): [local: Buffer, peer: Buffer];
  receivePacket(fd: number, buffer: Uint8Array): PacketResult;
  sendPacket(fd: number, packet: Uint8Array): PacketResult;
  shutdownWriting(fd: number): void;
  openSocketDiagnosis(namespaceFd: number): number;
  listConnections(fd: number, port: number, most: number): Buffer;
  destroyConnection(fd: number, record: Uint8Array): number;
  FdPoll: new (fd: number, onReady: (status: number, events: number) => void) => FdPoll;
}

/** Watches a descriptor on this thread's event loop, and owns it. Held by its owner: a collected one is closed. */
export interface FdPoll {
  /** READABLE, WRITABLE, both, or 0 for nothing. */
  start(events: number): void;
  /** Closes the descriptor too. Idempotent, also inside the callback. The end of the thread does it as well. */
  close(): void;
}

export const READABLE = 1;
export const WRITABLE = 2;

/** Bytes of sun_path (unix(7)). */
export const MAX_UNIX_ADDRESS_BYTES = 108;

/** The family in the first of four bytes, then inet_diag_sockid (linux/inet_diag.h). */
export const CONNECTION_RECORD_BYTES = 52;

let loaded: Addon | null = null;

/** From the source tree or from a bundle in dist/. */
function addon(): Addon {
  if (loaded !== null) return loaded;
  const places = ['./native/build/netns.node', '../services/runtime/native/build/netns.node'].map((place) =>
    fileURLToPath(new URL(place, import.meta.url)),
  );
  const path = places.find((place) => existsSync(place));
  if (path === undefined) throw new AppError('BUG', `netns.node is not built: none of ${places.join(', ')}`);
  loaded = createRequire(import.meta.url)(path) as Addon;
  return loaded;
}

/**
 * Puts the calling thread, and only it, into the network namespace of a descriptor of `/proc/PID/ns/net`. What the thread
 * opens from then on (net, dgram, dns.Resolver) is in there; libuv's pool (fs, dns.lookup) is not, provided that the pool
 * was started by another thread before. There is no way back: a thread that entered ends. Throws NOT_PERMITTED.
 */
export function enterNetworkNamespace(fd: number): void {
  guarded('NOT_PERMITTED', 'cannot enter the network namespace', () => addon().enterNetworkNamespace(fd));
}

/** A descriptor that turns readable when the process ends. The caller closes it. Throws TARGET_GONE. */
export function openPidfd(pid: number): number {
  if (!Number.isInteger(pid) || pid <= 0) throw new AppError('TARGET_GONE', `no process has the id ${pid}`);
  return guarded('TARGET_GONE', `process ${pid} cannot be watched`, () => addon().openPidfd(pid));
}

/** 0 when the calling thread's namespace has no interface of that name. */
export function interfaceIndex(name: string): number {
  return addon().interfaceIndex(name);
}

export function interfaceName(index: number): string | null {
  return addon().interfaceName(index >>> 0);
}

/**
 * A connected, non-blocking unix socket; the caller closes it. `address` is sun_path without a terminating zero. A path is
 * walked within the root folder that `rootFd` is: links are followed in there and never out of it. A leading zero byte
 * means the abstract names of the calling thread's namespace. Throws CONNECTION_FAILED with the kernel's errno, EAGAIN
 * while the listener's queue is full.
 */
export function connectUnix(type: 'stream' | 'seqpacket', rootFd: number, address: Uint8Array): number {
  return guarded('CONNECTION_FAILED', 'connect', () => {
    // The kernel would read such a path only up to the zero.
    if (address[0] !== 0 && address.includes(0)) throw Object.assign(new Error('zero byte'), { errno: ERRNO.EINVAL });
    return addon().connectUnix(type === 'seqpacket', rootFd, address);
  });
}

/** getsockname(2) and getpeername(2) of a connected unix socket, empty for an unnamed end. */
export function unixNames(fd: number): { local: Buffer; peer: Buffer } {
  const [local, peer] = guarded('CONNECTION_FAILED', 'cannot name the socket', () => addon().unixNames(fd));
  return { local, peer };
}

/** Bytes of one packet; -EAGAIN for none, -EMSGSIZE for one that did not fit and is lost, -ENODATA at the end. */
export function receivePacket(fd: number, buffer: Uint8Array): PacketResult {
  return addon().receivePacket(fd, buffer);
}

/** 0, or -errno; -EAGAIN while the peer's queue is full. */
export function sendPacket(fd: number, packet: Uint8Array): PacketResult {
  return addon().sendPacket(fd, packet);
}

/** Ends our direction. An end that is gone already is no error. */
export function shutdownWriting(fd: number): void {
  try {
    addon().shutdownWriting(fd);
  } catch {
    // ENOTCONN: the peer has closed.
  }
}

/** A descriptor to ask a namespace about its sockets (sock_diag(7)). The caller closes it. Throws NOT_PERMITTED. */
export function openSocketDiagnosis(namespaceFd: number): number {
  return guarded('NOT_PERMITTED', 'cannot ask for the sockets of the network namespace', () =>
    addon().openSocketDiagnosis(namespaceFd),
  );
}

/** Established TCP connections with a local port, `most` at most, as records of CONNECTION_RECORD_BYTES. */
export function listConnections(fd: number, port: number, most: number): Buffer {
  return guarded('SERVICE_UNAVAILABLE', 'cannot list connections', () => addon().listConnections(fd, port, most));
}

/** The kernel ends that very connection: 0, or -errno. */
export function destroyConnection(fd: number, record: Uint8Array): number {
  if (record.length !== CONNECTION_RECORD_BYTES) throw new AppError('BUG', `${record.length} bytes are no connection`);
  return addon().destroyConnection(fd, record);
}

/** Takes the descriptor over, unless it throws. `onReady` is called with 0 or -errno, and a mask of READABLE and WRITABLE. */
export function watchFd(fd: number, onReady: (status: number, events: number) => void): FdPoll {
  return guarded('BUG', 'cannot watch a descriptor', () => new (addon().FdPoll)(fd, onReady));
}

function guarded<T>(code: AppErrorCode, what: string, act: () => T): T {
  try {
    return act();
  } catch (cause) {
    const errno = cause instanceof Error && 'errno' in cause ? Number(cause.errno) : 0;
    if (errno === 0) throw AppError.from(cause, 'BUG');
    throw new AppError(code, `${what}: ${errnoName(errno)}`, { errno, cause });
  }
}
