// The typed door of sockets.node, and where it lies: streams by descriptor, and an eye on a descriptor for the event loop.

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { errnoName } from '../errno.ts';
import { AppError } from '../errors.ts';

/** What a watched descriptor is ready for, as a sum. */
export const READABLE = 1;
export const WRITABLE = 2;

/** Of `NativeSockets.ready`, as a sum. */
export const SOCKET_READABLE = 1;
export const SOCKET_WRITABLE = 2;
/** The peer's end, an error or urgent data is behind what can be read: a short read is not the last. */
export const SOCKET_ENDS = 4;
/** What lies in the array for each that is ready: its descriptor, its id, what it is ready for. */
export const WORDS_PER_SOCKET = 3;
/** Sockets that one call of `ready` tells of. */
export const SOCKETS_PER_WAIT = 256;
/** Pieces of which one call of `write` takes some. */
export const PIECES_PER_WRITE = 64;

/** Watches a descriptor on this thread's event loop, and owns it. Held by its owner: a collected one is closed. */
export interface FdPoll {
  /** READABLE, WRITABLE, both, or 0 for nothing. */
  start(events: number): void;
  /** Closes the descriptor too. Idempotent, also inside the callback. The end of the thread does it as well. */
  close(): void;
  /** Ends the watch and gives the descriptor back; -1 after the end. */
  detach(): number;
}

/** Sockets of one epoll descriptor, edge-triggered. Numbers below 0 are -errno. */
export interface NativeSockets {
  /** The caller's, who watches and closes it. */
  readonly epollFd: number;
  add(fd: number, id: number): number;
  remove(fd: number): number;
  /** How many have become ready: WORDS_PER_SOCKET of each lie in the array that was given to the constructor. */
  ready(): number;
  /** Another descriptor of the same socket, the caller's: who closes `fd` leaves it alone. */
  share(fd: number): number;
  /** Where it leads to another machine, more may be on its way than the kernel allows for by itself, if it may be asked. */
  reach(fd: number): void;
  /** Into `room` from `at` on. 0 is the peer's end, -EAGAIN says that nothing is there. */
  read(fd: number, room: Uint8Array, at: number, most: number): number;
  /** How many bytes beyond the first `skip` of the pieces the kernel took. */
  write(fd: number, pieces: readonly Uint8Array[], skip: number): number;
  /**
   * Reads bulk from a descriptor and writes it to another as frames (native/bulk.h); `BulkOrder` knows the words. Returns what
   * the last read returned.
   */
  carry(
    fd: number,
    id: number,
    to: number,
    numbers: Float64Array,
    rooms: readonly Uint8Array[],
    count: number,
    report: Uint32Array,
  ): number;
  /**
   * Reads frames of a session from a descriptor and writes the bytes of one connection to another (native/delivery.h); `BulkDelivery`
   * knows the words. Returns what the last read returned.
   */
  deliver(fd: number, id: number, to: number, numbers: Float64Array, room: Uint8Array, report: Uint32Array): number;
  /** FIN. */
  end(fd: number): number;
  close(fd: number, isReset: boolean): void;
}

interface Addon {
  FdPoll: new (fd: number, onReady: (status: number, events: number) => void) => FdPoll;
  Sockets: new (ready: Uint32Array) => NativeSockets;
}

let loaded: Addon | null = null;

/** From the source tree or from a bundle in dist/. */
function addon(): Addon {
  if (loaded !== null) return loaded;
  const places = ['./native/build/sockets.node', '../proto/sockets/native/build/sockets.node'].map((place) =>
    fileURLToPath(new URL(place, import.meta.url)),
  );
  const path = places.find((place) => existsSync(place));
  if (path === undefined) throw new AppError('BUG', `sockets.node is not built: none of ${places.join(', ')}`);
  loaded = createRequire(import.meta.url)(path) as Addon;
  return loaded;
}

export function nativeSockets(ready: Uint32Array): NativeSockets {
  return new (addon().Sockets)(ready);
}

/** Takes the descriptor over, unless it throws. `onReady` is called with 0 or -errno, and a mask of READABLE and WRITABLE. */
export function watchFd(fd: number, onReady: (status: number, events: number) => void): FdPoll {
  try {
    return new (addon().FdPoll)(fd, onReady);
  } catch (cause) {
    const errno = cause instanceof Error && 'errno' in cause ? Number(cause.errno) : 0;
    if (errno === 0) throw AppError.from(cause, 'BUG');
    throw new AppError('BUG', `cannot watch a descriptor: ${errnoName(errno)}`, { errno, cause });
  }
}
