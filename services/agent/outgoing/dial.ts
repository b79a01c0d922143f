// Dials streams in a target's network namespace: TCP by address, unix sockets by a path in the target's root or by an
// abstract name. Nothing here resolves a name.

import { closeSync } from 'node:fs';
import { errnoName } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import type { SocketAddress } from '#proto/gen/v1/network.ts';
import { WRITABLE, watchFd } from '#proto/sockets/addon.ts';
import { connectTcp, internetNames, socketError } from '#runtime/internet-socket.ts';
import { connectUnix, MAX_UNIX_ADDRESS_BYTES, unixNames } from '#runtime/netns.ts';
import { endpointText, fromEndpoint, fromKernel, fromUnixName, type InternetEndpoint } from './address.ts';
import type { DenyList } from './deny-list.ts';

/** A blocking connect(2) waits while the listener's queue is full; we look again this often. */
const UNIX_RETRY_MS = 10;
const EAGAIN = 11;
const ETIMEDOUT = 110;

export interface Dialled {
  /** Connected, non-blocking, the caller's. */
  readonly fd: number;
  /** Peer in words, for messages. */
  readonly name: string;
  readonly local: SocketAddress;
  readonly peer: SocketAddress;
}

interface Dial {
  /** Of `/proc/PID/ns/net`. */
  readonly namespaceFd: number;
  readonly deadlineMs: number;
  /** Aborted when nobody wants the connection any longer. */
  readonly signal: AbortSignal;
}

export interface TcpDial extends Dial {
  readonly peer: InternetEndpoint;
}

/** Rejects with CONNECTION_FAILED, DEADLINE_EXCEEDED or CANCELLED. */
export async function dialTcp({ namespaceFd, peer, deadlineMs, signal }: TcpDial): Promise<Dialled> {
  const name = `tcp ${endpointText(peer)}`;
  const fd = await whenConnected(connectTcp(namespaceFd, peer), name, deadlineMs, signal);
  try {
    const names = internetNames(fd);
    return {
      fd,
      name,
      local: fromEndpoint(fromKernel(names.local)),
      peer: fromEndpoint(fromKernel(names.peer ?? peer)),
    };
  } catch (thrown) {
    closeSync(fd);
    throw thrown;
  }
}

/** The descriptor, connected; closed where the dial fails. */
function whenConnected(fd: number, name: string, deadlineMs: number, signal: AbortSignal): Promise<number> {
  return new Promise((resolve, reject) => {
    const poll = watchFd(fd, (status) => {
      // libuv says EBADF of every error (uv__poll_io).
      const errno = socketError(fd) || -status;
      if (errno === 0) {
        stop();
        resolve(poll.detach());
      } else giveUp(new AppError('CONNECTION_FAILED', `${name}: ${errnoName(errno)}`, { errno }));
    });
    const giveUp = (error: AppError) => {
      stop();
      poll.close();
      reject(error);
    };
    const onAborted = () => giveUp(new AppError('CANCELLED', 'the dial was given up'));
    const timer = setTimeout(() => {
      const message = `${name} did not answer within ${deadlineMs} ms`;
      giveUp(new AppError('DEADLINE_EXCEEDED', message, { errno: ETIMEDOUT }));
    }, deadlineMs);
    const stop = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAborted);
    };
    signal.addEventListener('abort', onAborted);
    poll.start(WRITABLE);
  });
}

export interface UnixDial extends Dial {
  readonly type: 'stream' | 'seqpacket';
  /** sun_path; a leading zero byte means an abstract name. */
  readonly address: Buffer;
  /** The target's root folder. */
  readonly rootFd: number;
  readonly denyList: DenyList;
}

/** Rejects with CONNECTION_FAILED, NOT_PERMITTED, DEADLINE_EXCEEDED or CANCELLED. */
export async function dialUnix(dial: UnixDial): Promise<Dialled> {
  const giveUpMs = performance.now() + dial.deadlineMs;
  dial.denyList.assertUnix(dial.address);
  for (;;) {
    try {
      return tryUnix(dial);
    } catch (thrown) {
      if (!(thrown instanceof AppError) || thrown.errno !== EAGAIN) throw thrown;
    }
    if (dial.signal.aborted) throw new AppError('CANCELLED', 'the dial was given up');
    if (performance.now() > giveUpMs) {
      throw new AppError('DEADLINE_EXCEEDED', `unix socket did not accept within ${dial.deadlineMs} ms`, {
        errno: ETIMEDOUT,
      });
    }
    await new Promise((resolve) => setTimeout(resolve, UNIX_RETRY_MS));
  }
}

function tryUnix({ namespaceFd, type, address, rootFd, denyList }: UnixDial): Dialled {
  const fd = connectUnix(namespaceFd, type, rootFd, address);
  try {
    const { local, peer } = unixNames(fd);
    denyList.assertUnix(peer);
    return { fd, name: `unix ${type}`, local: fromUnixName(local), peer: fromUnixName(peer) };
  } catch (thrown) {
    closeSync(fd);
    throw thrown;
  }
}

/** Throws CONNECTION_FAILED as connect(2) would for an address it does not take. */
export function assertUnixAddress(address: Uint8Array): void {
  if (address.length > 0 && address.length <= MAX_UNIX_ADDRESS_BYTES) return;
  throw new AppError('CONNECTION_FAILED', `unix address of ${address.length} bytes`, { errno: 22 });
}
