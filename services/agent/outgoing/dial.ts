// Dials streams from the thread's network namespace: TCP by address, unix sockets by a path in the target's root or by an
// abstract name. Nothing here resolves a name.

import { closeSync } from 'node:fs';
import net from 'node:net';
import { AppError } from '#proto/errors.ts';
import { connectUnix, interfaceIndex, interfaceName, MAX_UNIX_ADDRESS_BYTES, unixNames } from '#runtime/netns.ts';
import { endpointText, formatIp, fromEndpoint, fromUnixName, type InternetEndpoint, parseIp } from './address.ts';
import { FULL_READ_BYTES, SMALL_READ_BYTES } from './connection.ts';
import type { DenyList } from './deny-list.ts';
import type { DialledStream } from './stream-connection.ts';

type OnBytes = (count: number, buffer: Uint8Array) => boolean;

/** A blocking connect(2) waits while the listener's queue is full; we look again this often. */
const UNIX_RETRY_MS = 10;
const EAGAIN = 11;

/** One buffer for all connections of the thread: `onread` hands it over and reads into it again, copies are made between. */
const fullBuffer = Buffer.allocUnsafeSlow(FULL_READ_BYTES);
const smallBuffer = fullBuffer.subarray(0, SMALL_READ_BYTES);

export function onreadOptions(readBytes: number, onBytes: OnBytes): { buffer: Uint8Array; callback: OnBytes } {
  return { buffer: readBytes > SMALL_READ_BYTES ? fullBuffer : smallBuffer, callback: onBytes };
}

export function dialTcp(
  peer: InternetEndpoint,
  readBytes: number,
  onBytes: OnBytes,
  deadlineMs: number,
): DialledStream {
  const socket = net.connect({
    host: hostText(peer),
    port: peer.port,
    family: peer.ip.length === 4 ? 4 : 6,
    noDelay: true,
    allowHalfOpen: true,
    onread: onreadOptions(readBytes, onBytes),
  });
  return {
    socket,
    isConnected: false,
    deadlineMs,
    addresses: () => ({
      local: fromEndpoint(toLocal(socket.localAddress, socket.localPort)),
      peer: fromEndpoint(toLocal(socket.remoteAddress, socket.remotePort)),
    }),
    reset: () => resetTcp(socket),
  };
}

/**
 * While our end is on its way libuv refuses a reset (uv_tcp_close_reset: EINVAL), and Node takes the handle for closed all
 * the same: it would stay open for ever, and with it the thread. A close is what is left; the kernel answers RST to
 * whatever the peer still sends.
 */
function resetTcp(socket: net.Socket): void {
  if (socket.writableEnded && !socket.writableFinished) socket.destroy();
  else socket.resetAndDestroy();
}

/** For net and dgram: the zone of a link-local address by its name in this namespace. */
export function hostText({ ip, scopeId }: InternetEndpoint): string {
  const zone = scopeId === 0 ? null : interfaceName(scopeId);
  return zone === null ? formatIp(ip) : `${formatIp(ip)}%${zone}`;
}

/** What Node says of a socket's end. */
export function toLocal(address: string | undefined, port: number | undefined): InternetEndpoint {
  const zone = address?.split('%')[1];
  const ip = parseIp(address ?? '') ?? Buffer.alloc(4);
  return { ip, port: port ?? 0, scopeId: zone === undefined ? 0 : interfaceIndex(zone) };
}

export interface UnixDial {
  readonly type: 'stream' | 'seqpacket';
  /** sun_path; a leading zero byte means an abstract name. */
  readonly address: Buffer;
  /** The target's root folder. */
  readonly rootFd: number;
  readonly denyList: DenyList;
  readonly deadlineMs: number;
  /** Aborted when nobody wants the connection any longer. */
  readonly signal: AbortSignal;
}

export interface DialledUnix {
  /** Connected, non-blocking, the caller's. */
  readonly fd: number;
  readonly local: Buffer;
  readonly peer: Buffer;
}

/** Rejects with CONNECTION_FAILED, NOT_PERMITTED, DEADLINE_EXCEEDED or CANCELLED. */
export async function dialUnix(dial: UnixDial): Promise<DialledUnix> {
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
        errno: 110,
      });
    }
    await new Promise((resolve) => setTimeout(resolve, UNIX_RETRY_MS));
  }
}

function tryUnix({ type, address, rootFd, denyList }: UnixDial): DialledUnix {
  const fd = connectUnix(type, rootFd, address);
  try {
    const { local, peer } = unixNames(fd);
    denyList.assertUnix(peer);
    return { fd, local, peer };
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

export function toUnixStream(
  dialled: DialledUnix,
  readBytes: number,
  onBytes: OnBytes,
  deadlineMs: number,
): DialledStream {
  const { fd, local, peer } = dialled;
  // `onread` is documented for the constructor (net.Socket options) and missing in its types.
  const options: net.SocketConstructorOpts & { onread: ReturnType<typeof onreadOptions> } = {
    fd,
    readable: true,
    writable: true,
    allowHalfOpen: true,
    onread: onreadOptions(readBytes, onBytes),
  };
  const socket = new net.Socket(options);
  return {
    socket,
    isConnected: true,
    deadlineMs,
    addresses: () => ({ local: fromUnixName(local), peer: fromUnixName(peer) }),
    // A unix socket has no RST: unread bytes make the peer's next read ECONNRESET.
    reset: () => socket.destroy(),
  };
}

export function peerName(transport: string, peer: InternetEndpoint | Buffer): string {
  return Buffer.isBuffer(peer) ? transport : `${transport} ${endpointText(peer)}`;
}
