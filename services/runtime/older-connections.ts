// TCP connections to a port of a target that were there before a session: which they are, and how their peers are made to
// come again, a few at a time. The kernel ends the target's side of each: the target reads ECONNABORTED, the peer a reset.
// Each connection is known by the kernel's cookie, so that nobody's new one is mistaken for it.

import { closeSync } from 'node:fs';
import { ERRNO, errnoName } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import { type InternetAddress, internet } from '#proto/socket-address.ts';
import { CONNECTION_RECORD_BYTES, destroyConnection, listConnections, openSocketDiagnosis } from './netns.ts';

export interface OlderConnection {
  readonly peer: InternetAddress;
  readonly local: InternetAddress;
  /** A stealer has accepted it, which bears a mark: whoever mirrors leaves it alone. */
  readonly isStolen: boolean;
  /** The kernel's name of it. */
  readonly record: Buffer;
}

export interface RenewalOptions {
  /** Of /proc/PID/ns/net. Used until the promise settles, and no longer. */
  readonly namespaceFd: number;
  readonly connections: readonly OlderConnection[];
  /** 0: DEFAULT_RENEWALS_PER_SECOND; above MAX_RENEWALS_PER_SECOND it is that. */
  readonly perSecond: number;
  /** Ends it early: what has not been closed stays. */
  readonly signal: AbortSignal;
  readonly onClosed?: (connection: OlderConnection) => void;
}

export interface RenewalResult {
  /** Closed by us. */
  closed: number;
  /** Ended by themselves before their turn. */
  goneBefore: number;
  /** Could not be closed, or their turn never came. */
  failed: number;
  /** Why, for people; empty when nothing failed. */
  reason: string;
}

/** Of one port; the rest is not seen. */
const MAX_OLDER_CONNECTIONS = 16_384;
const DEFAULT_RENEWALS_PER_SECOND = 10;
const MAX_RENEWALS_PER_SECOND = 100;

const AF_INET = 2;

/**
 * Established connections with this port on the target's side; of one that a stealer passes on its peer's half alone. Throws
 * NOT_PERMITTED, SERVICE_UNAVAILABLE.
 */
export function olderConnections(namespaceFd: number, port: number): OlderConnection[] {
  return connectionsOf(namespaceFd, port, false);
}

/** Those that have not ended yet, whatever their state; null where there are more than are seen. Throws the same. */
export function openConnections(namespaceFd: number, port: number): OlderConnection[] | null {
  const connections = connectionsOf(namespaceFd, port, true);
  return connections.length < MAX_OLDER_CONNECTIONS ? connections : null;
}

function connectionsOf(namespaceFd: number, port: number, isAny: boolean): OlderConnection[] {
  const fd = openSocketDiagnosis(namespaceFd);
  try {
    const records = listConnections(fd, port, MAX_OLDER_CONNECTIONS, isAny);
    return Array.from({ length: records.length / CONNECTION_RECORD_BYTES }, (_, nth) =>
      readRecord(Buffer.from(records.subarray(nth * CONNECTION_RECORD_BYTES, (nth + 1) * CONNECTION_RECORD_BYTES))),
    );
  } finally {
    closeSync(fd);
  }
}

/** inet_diag_sockid: ports and addresses as on the wire, then the interface (linux/inet_diag.h). */
function readRecord(record: Buffer): OlderConnection {
  const bytes = record[0] === AF_INET ? 4 : 16;
  const scopeId = bytes === 16 ? record.readUInt32LE(40) : 0;
  return {
    local: internet(record.subarray(8, 8 + bytes), record.readUInt16BE(4), scopeId),
    peer: internet(record.subarray(24, 24 + bytes), record.readUInt16BE(6), scopeId),
    isStolen: record[1] === 1,
    record,
  };
}

/** Closes them one after the other, evenly in time. Never rejects: what goes wrong is in the result. */
export async function renewConnections(options: RenewalOptions): Promise<RenewalResult> {
  const { namespaceFd, perSecond, signal, onClosed } = options;
  const connections = options.connections.filter(({ isStolen }) => !isStolen);
  const pace = Math.min(perSecond || DEFAULT_RENEWALS_PER_SECOND, MAX_RENEWALS_PER_SECOND);
  const result: RenewalResult = { closed: 0, goneBefore: 0, failed: 0, reason: '' };
  if (connections.length < options.connections.length) {
    result.failed = options.connections.length - connections.length;
    result.reason = 'a session steals this port, and the connections are its own';
  }
  if (connections.length === 0) return result;
  let fd: number;
  try {
    fd = openSocketDiagnosis(namespaceFd);
  } catch (thrown) {
    return { ...result, failed: options.connections.length, reason: AppError.from(thrown, 'BUG').message };
  }
  try {
    for (const [nth, connection] of connections.entries()) {
      if (nth > 0) await pause(1_000 / pace, signal);
      if (signal.aborted) {
        result.failed += connections.length - nth;
        result.reason ||= 'the session ended before their turn';
        break;
      }
      const errno = -destroyConnection(fd, connection.record);
      if (errno === 0) {
        result.closed += 1;
        onClosed?.(connection);
      } else if (errno === ERRNO.ENOENT) {
        result.goneBefore += 1;
      } else {
        result.failed += 1;
        result.reason ||= reasonOf(errno);
      }
    }
  } finally {
    closeSync(fd);
  }
  return result;
}

function reasonOf(errno: number): string {
  switch (errno) {
    case ERRNO.EPERM:
      return "the kernel refuses it (EPERM): closing connections needs CAP_NET_ADMIN in the target's network namespace";
    case ERRNO.EOPNOTSUPP:
      return 'the kernel cannot (EOPNOTSUPP): it was built without CONFIG_INET_DIAG_DESTROY';
    default:
      return `the kernel answers ${errnoName(errno)}`;
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done);
  });
}
