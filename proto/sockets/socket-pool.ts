// The sockets of this process that are read and written by descriptor: one epoll descriptor on the event loop, from which each
// is told what it is ready for.

import {
  type FdPoll,
  type NativeSockets,
  nativeSockets,
  READABLE,
  SOCKETS_PER_WAIT,
  WORDS_PER_SOCKET,
  watchFd,
} from './addon.ts';

export interface PoolMember {
  /** A sum of SOCKET_READABLE, SOCKET_WRITABLE and SOCKET_ENDS. */
  onReady(mask: number): void;
  /** It asked for a turn. */
  onTurn(): void;
}

export class SocketPool {
  readonly native: NativeSockets;
  readonly #ready = new Uint32Array(SOCKETS_PER_WAIT * WORDS_PER_SOCKET);
  readonly #members = new Map<number, PoolMember>();
  readonly #poll: FdPoll;
  #lastId = 0;
  #turns = new Set<PoolMember>();
  #turn: NodeJS.Immediate | null = null;
  #isLooking = false;

  constructor() {
    this.native = nativeSockets(this.#ready);
    this.#poll = watchFd(this.native.epollFd, () => this.#onReady());
  }

  get size(): number {
    return this.#members.size;
  }

  /** The id to `remove` it by, or -errno. The descriptor stays the caller's. */
  add(fd: number, member: PoolMember): number {
    do this.#lastId = (this.#lastId + 1) >>> 0;
    while (this.#members.has(this.#lastId));
    const failed = this.native.add(fd, this.#lastId);
    if (failed < 0) return failed;
    // The event loop lives as long as a member does.
    if (this.#members.size === 0) this.#poll.start(READABLE);
    this.#members.set(this.#lastId, member);
    return this.#lastId;
  }

  /** Before its descriptor is closed. */
  remove(id: number, fd: number): void {
    const member = this.#members.get(id);
    if (member === undefined) return;
    this.native.remove(fd);
    this.#members.delete(id);
    this.#turns.delete(member);
    if (this.#members.size === 0) this.#poll.start(0);
  }

  /** `onTurn` is called when the others of the event loop have had theirs. */
  turnSoon(member: PoolMember): void {
    this.#turns.add(member);
    this.#turn ??= setImmediate(() => this.#onTurn());
  }

  /** Some have been seen ready that the event loop will not tell of again. */
  lookSoon(): void {
    this.#isLooking = true;
    this.#turn ??= setImmediate(() => this.#onTurn());
  }

  #onReady(): void {
    const words = this.native.ready() * WORDS_PER_SOCKET;
    for (let at = 0; at < words; at += WORDS_PER_SOCKET) {
      this.#members.get(this.#ready[at + 1] as number)?.onReady(this.#ready[at + 2] as number);
    }
  }

  #onTurn(): void {
    this.#turn = null;
    if (this.#isLooking) {
      this.#isLooking = false;
      this.#onReady();
    }
    const turns = this.#turns;
    this.#turns = new Set();
    for (const member of turns) member.onTurn();
  }
}

let shared: SocketPool | undefined;

/** The pool of this process. */
export function socketPool(): SocketPool {
  shared ??= new SocketPool();
  return shared;
}
