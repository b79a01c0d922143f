// The typed door of the addon in native/: unix sockets of a network namespace, and the few system calls around it that Node
// does not offer. Arguments are checked here; the addon assumes.

import { ERRNO } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import { addon, guarded, type PacketResult } from './netns-addon.ts';

export type { PacketResult } from './netns-addon.ts';

/** Bytes of sun_path (unix(7)). */
export const MAX_UNIX_ADDRESS_BYTES = 108;

/** The family in the first of four bytes, then inet_diag_sockid (linux/inet_diag.h). */
export const CONNECTION_RECORD_BYTES = 52;

/**
 * Whether sockets can be made in the network namespace of a descriptor of `/proc/PID/ns/net`, which asks for CAP_SYS_ADMIN
 * where it is not our own. Throws NOT_PERMITTED.
 */
export function assertNetworkNamespace(fd: number): void {
  guarded('NOT_PERMITTED', 'cannot enter the network namespace', () => addon().assertNetworkNamespace(fd));
}

/** A descriptor that turns readable when the process ends. The caller closes it. Throws TARGET_GONE. */
export function openPidfd(pid: number): number {
  if (!Number.isInteger(pid) || pid <= 0) throw new AppError('TARGET_GONE', `no process has the id ${pid}`);
  return guarded('TARGET_GONE', `process ${pid} cannot be watched`, () => addon().openPidfd(pid));
}

/**
 * A connected, non-blocking unix socket; the caller closes it. `address` is sun_path without a terminating zero. A path is
 * walked within the root folder that `rootFd` is: links are followed in there and never out of it. A leading zero byte
 * means the abstract names of the namespace. Throws CONNECTION_FAILED with the kernel's errno, EAGAIN
 * while the listener's queue is full.
 */
export function connectUnix(
  namespaceFd: number,
  type: 'stream' | 'seqpacket',
  rootFd: number,
  address: Uint8Array,
): number {
  return guarded('CONNECTION_FAILED', 'connect', () => {
    // The kernel would read such a path only up to the zero.
    if (address[0] !== 0 && address.includes(0)) throw Object.assign(new Error('zero byte'), { errno: ERRNO.EINVAL });
    return addon().connectUnix(namespaceFd, type === 'seqpacket', rootFd, address);
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
export function listConnections(fd: number, port: number, most: number, isAny = false): Buffer {
  return guarded('SERVICE_UNAVAILABLE', 'cannot list connections', () =>
    addon().listConnections(fd, port, most, isAny),
  );
}

/** The kernel ends that very connection: 0, or -errno. */
export function destroyConnection(fd: number, record: Uint8Array): number {
  if (record.length !== CONNECTION_RECORD_BYTES) throw new AppError('BUG', `${record.length} bytes are no connection`);
  return addon().destroyConnection(fd, record);
}
