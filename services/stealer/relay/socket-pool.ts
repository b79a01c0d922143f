// The data path of all connections that pass through this process: one epoll descriptor on the event loop, one piece of memory
// that every socket is read into. What is read is handed on while it lies there: the kernel takes it from the same memory, or
// what it does not take is copied. A socket costs no system call but its reads and writes. Of two that are joined nothing is told
// as long as what comes is plain (native/exchanges.h).

import { ERRNO, errnoName } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import {
  FIRST_ARRIVAL_ID,
  type NativeSockets,
  PAIR_ASKED,
  PAIR_ASKED_HEAD,
  PAIR_FINAL,
  PAIR_LAST,
  PAIR_PARTED,
  PAIR_READ,
  PAIR_REST,
  PAIR_UNSENT,
  SOCKET_ENDS,
  SOCKET_READABLE,
  SOCKET_WRITABLE,
  SOCKETS_PER_WAIT,
  stealerAddon,
  TOLD_MORE,
  WORDS_PER_SOCKET,
} from '../native/index.ts';
import { type Door, type DoorOptions, Doors } from './doors.ts';
import type { JoinEvents, RestingStreams } from './endpoint.ts';
import type { Adopted, Membership, PoolMember, Secure } from './pool-member.ts';
import { Screens } from './screens.ts';

/** Bytes of one read. */
const READ_BYTES = 256 * 1024;
/** The same while much waits: what one read brings is what a receiver that is not read may keep here. */
const SMALL_READ_BYTES = 16 * 1024;
/** Bytes that wait for all receivers together before reads become small. */
const MANY_WAITING_BYTES = 64 * 1024 * 1024;
/** Reads of one socket before it is another's turn. */
const READS_PER_TURN = 4;

function askedOf(mask: number): 'GET' | 'HEAD' | undefined {
  if ((mask & PAIR_ASKED) === 0) return undefined;
  return (mask & PAIR_ASKED_HEAD) === 0 ? 'GET' : 'HEAD';
}

export const socketError = (what: string, negative: number): AppError =>
  new AppError('CONNECTION_FAILED', `${what}: ${errnoName(-negative)}`, { errno: -negative });

export class SocketPool {
  readonly #native: NativeSockets;
  readonly #memory = Buffer.from(new ArrayBuffer(READ_BYTES));
  readonly #told = new Uint32Array(SOCKETS_PER_WAIT * WORDS_PER_SOCKET);
  readonly screens = new Screens(() => this.#native);
  readonly #members = new Map<number, Membership>();
  readonly #doors: Doors;
  readonly #isMemoryWiped: boolean;
  #lastId = 0;
  /** Those that can go on without being told by the kernel. */
  #turns: Membership[] = [];
  #isTurnDue = false;
  #flushes: Membership[] = [];
  /** True while what members write is flushed right after. */
  #isBusy = false;
  /** Of all members: bytes that the kernel has not taken. */
  waitingBytes = 0;

  /** @param isMemoryWiped what was read is overwritten right after its use: who kept it is found out */
  constructor({ isMemoryWiped = false } = {}) {
    this.#isMemoryWiped = isMemoryWiped;
    const { screens } = this;
    const onTold = (count: number) => this.#onTold(count);
    const onHead = () => screens.isUnwanted();
    const { lines, facts } = screens.head;
    this.#native = new (stealerAddon().Sockets)(this.#memory, this.#told, onTold, lines, facts, onHead);
    this.#doors = new Doors(this.#native, (count) => this.#onTold(count));
  }

  get size(): number {
    return this.#members.size;
  }

  /** @throws AppError CONNECTION_FAILED */
  openDoor(options: DoorOptions): Door {
    const door = this.#doors.open(options, () => this.#rewatch());
    this.#rewatch();
    return door;
  }

  /** Connections of a screen that came in at a door and that nobody has taken over. */
  arrivalsOf(screen: number): number {
    return this.#native.arrivalsOf(screen);
  }

  /** The event loop lives as long as a member does, or a door. */
  #rewatch(): void {
    this.#native.watch(this.#members.size + this.#doors.size > 0);
  }

  #newId(): number {
    do this.#lastId = (this.#lastId + 1) % FIRST_ARRIVAL_ID;
    while (this.#members.has(this.#lastId));
    return this.#lastId;
  }

  /** @param fd the pool's from here on. @throws AppError CONNECTION_FAILED, and has closed it */
  add(fd: number, member: PoolMember, secure?: Secure, adopted?: Adopted): Membership {
    const membership: Membership = {
      fd,
      id: adopted?.id ?? this.#newId(),
      member,
      isReadable: adopted?.isReadable ?? false,
      hasEnd: adopted?.hasEnd ?? false,
      isWaitingForTurn: false,
      isFlushDue: false,
      isClosed: false,
      joined: undefined,
      isSecure: secure !== undefined,
      isInHandshake: secure !== undefined,
    };
    const error = adopted === undefined ? this.#native.add(fd, membership.id) : 0;
    if (error < 0) {
      this.#native.close(fd, false);
      throw socketError('a connection cannot be watched', error);
    }
    if (secure !== undefined) {
      const protocols = secure.protocols.map((name) => String.fromCharCode(name.length) + name).join('');
      this.#native.secure(fd, secure.context, secure.serverName, protocols);
    }
    this.#members.set(membership.id, membership);
    if (this.#members.size === 1) this.#rewatch();
    return membership;
  }

  close(membership: Membership, isReset: boolean): void {
    if (membership.isClosed) return;
    this.part(membership);
    membership.isClosed = true;
    this.#members.delete(membership.id);
    this.#native.close(membership.fd, isReset);
    membership.fd = -1;
    if (this.#members.size === 0) this.#rewatch();
  }

  /** @returns how many of the bytes the kernel took, or -errno */
  write({ fd }: Membership, bytes: Buffer): number {
    if (!this.isBorrowed(bytes)) return this.#native.write(fd, bytes);
    return this.#native.writeRead(fd, bytes.byteOffset, bytes.length);
  }

  /** True for what was read, and lies here until its member's turn is over. */
  isBorrowed(bytes: Buffer): boolean {
    return bytes.buffer === this.#memory.buffer;
  }

  end({ fd }: Membership, isTorn: boolean): number {
    return this.#native.end(fd, isTorn);
  }

  /** Both are read out, and all has been written. */
  join(client: Membership, origin: Membership, screen: number, events: JoinEvents): boolean {
    if (!this.#native.join(client.fd, client.id, origin.fd, origin.id, screen)) return false;
    this.areJoined(client, origin, events);
    return true;
  }

  /** The same of HTTP/2. */
  joinStreams(
    client: Membership,
    origin: Membership,
    screen: number,
    { highest, open, blocks, table }: RestingStreams,
    events: JoinEvents,
  ): boolean {
    const ends = [client.fd, client.id, origin.fd, origin.id] as const;
    const { limitBytes, fields } = table();
    if (!this.#native.joinStreams(...ends, screen, highest, open, blocks, limitBytes, fields)) return false;
    this.areJoined(client, origin, events, true);
    return true;
  }

  /** They have been since before they were members. */
  areJoined(client: Membership, origin: Membership, events: JoinEvents, isOfStreams = false): void {
    client.joined = { client, origin, events, isOfStreams };
    origin.joined = client.joined;
  }

  part(membership: Membership): void {
    if (membership.joined !== undefined) this.#onParted(membership, this.#native.part(membership.fd));
  }

  #onParted({ joined }: Membership, mask: number): void {
    if (joined === undefined) return;
    joined.client.joined = undefined;
    joined.origin.joined = undefined;
    const left = (mask & PAIR_UNSENT) === 0 ? 0 : this.#native.takeLeft(joined.client.fd);
    const streams = joined.isOfStreams ? this.#native.takeStreams(joined.client.fd) : null;
    joined.events.onParted(askedOf(mask), left, (mask & PAIR_LAST) !== 0, streams);
  }

  /** The member's `flush` is called when this turn is over. */
  flushSoon(membership: Membership): void {
    if (membership.isFlushDue) return;
    membership.isFlushDue = true;
    if (this.#flushes.push(membership) === 1 && !this.#isBusy) queueMicrotask(() => this.#flushAll());
  }

  /** The member reads again: what may have come meanwhile is read in a turn of its own. */
  readSoon(membership: Membership): void {
    if (membership.isReadable && !membership.isWaitingForTurn) this.#addTurn(membership);
  }

  #addTurn(membership: Membership): void {
    membership.isWaitingForTurn = true;
    this.#turns.push(membership);
    if (this.#isTurnDue || this.#isBusy) return;
    this.#isTurnDue = true;
    setImmediate(() => this.#onTurn());
  }

  #onTold(first: number): void {
    const told = this.#told;
    this.#isBusy = true;
    for (let count = first; count > 0; ) {
      for (let at = 0; at < (count & ~TOLD_MORE) * WORDS_PER_SOCKET; at += WORDS_PER_SOCKET) {
        const [id, mask] = [told[at], told[at + 1]] as [number, number];
        const [start, length] = [told[at + 2], told[at + 3]] as [number, number];
        if (this.#doors.onTold(id, mask, start)) continue;
        const membership = this.#members.get(id);
        if (membership !== undefined) this.#onMask(membership, mask, start, length | 0);
      }
      count = (count & TOLD_MORE) === 0 ? 0 : this.#native.more();
    }
    this.#takeTurns();
    this.#rest();
  }

  #onTurn(): void {
    this.#isTurnDue = false;
    this.#isBusy = true;
    this.#takeTurns();
    this.#rest();
  }

  /** Those that are in the queue now; who comes meanwhile waits for the others of the event loop. */
  #takeTurns(): void {
    const turns = this.#turns;
    if (turns.length === 0) return;
    this.#turns = [];
    for (const membership of turns) {
      membership.isWaitingForTurn = false;
      this.#read(membership);
    }
  }

  #rest(): void {
    this.#flushAll();
    this.#isBusy = false;
    if (this.#turns.length === 0 || this.#isTurnDue) return;
    this.#isTurnDue = true;
    setImmediate(() => this.#onTurn());
  }

  #onMask(membership: Membership, mask: number, start: number, count: number): void {
    const { joined } = membership;
    if ((mask & PAIR_PARTED) !== 0) this.#onParted(membership, mask);
    // Told before it was joined.
    else if (joined !== undefined) this.part(membership);
    if ((mask & SOCKET_ENDS) !== 0) membership.hasEnd = true;
    if ((mask & PAIR_REST) !== 0) {
      const rest = this.#memory.subarray(start, start + count);
      joined?.events.onRest(joined.client === membership, rest, (mask & PAIR_FINAL) !== 0);
      this.#endUse(start + count);
      // A read that filled the memory left the rest, of which the kernel does not tell anew.
      membership.isReadable = membership.hasEnd || start + count === READ_BYTES || this.#hasMore(membership);
      if (membership.isReadable && !membership.isWaitingForTurn) this.#addTurn(membership);
      return;
    }
    if ((mask & PAIR_READ) !== 0) {
      this.#onReadAlready(membership, count);
      return;
    }
    if (membership.isInHandshake) {
      this.#shakeHands(membership);
      return;
    }
    if ((mask & SOCKET_WRITABLE) !== 0) membership.member.onWritable();
    if ((mask & SOCKET_READABLE) !== 0) membership.isReadable = true;
    if (membership.isReadable && !membership.isWaitingForTurn) this.#read(membership);
    else this.#flushAll();
  }

  #shakeHands(membership: Membership): void {
    const { fd, member } = membership;
    const result = this.#native.handshake(fd);
    const agreed = result === -ERRNO.EAGAIN ? null : this.#native.agreed(fd);
    if (agreed === null) return;
    membership.isInHandshake = false;
    const error = result < 0 ? socketError('handshake', result) : undefined;
    member.onAgreed?.(agreed, error);
    if (error !== undefined) {
      if (!membership.isClosed) member.onReadEnd(error, false);
      return;
    }
    // What was read in the last step of it is not told anew.
    membership.isReadable = true;
    if (!membership.isClosed) member.onWritable();
    if (!membership.isWaitingForTurn) this.#read(membership);
    this.#flushAll();
  }

  /** The read that parted it from the other one. */
  #onReadAlready(membership: Membership, count: number): void {
    if (count <= 0) {
      this.#onNothing(membership, count);
      return;
    }
    membership.isReadable = count === READ_BYTES || membership.hasEnd || this.#hasMore(membership);
    membership.member.onRead(this.#memory.subarray(0, count));
    this.#endUse(count);
    if (membership.isReadable && !membership.isWaitingForTurn) this.#addTurn(membership);
  }

  /** What was read is given to the kernel, or has been copied. */
  #endUse(bytes: number): void {
    this.#flushAll();
    if (this.#isMemoryWiped) this.#memory.fill(0xdb, 0, bytes);
  }

  #read(membership: Membership): void {
    const { fd, member } = membership;
    for (let reads = 0; reads < READS_PER_TURN; reads++) {
      if (membership.isClosed || !membership.isReadable || !member.isReading) return;
      const most = this.waitingBytes > MANY_WAITING_BYTES ? SMALL_READ_BYTES : READ_BYTES;
      const count = this.#native.read(fd, most);
      if (count <= 0) {
        this.#onNothing(membership, count);
        return;
      }
      // What comes after a short read is told anew; an end that was told already is not.
      if (count < most && !membership.hasEnd) membership.isReadable = this.#hasMore(membership);
      member.onRead(this.#memory.subarray(0, count));
      this.#endUse(count);
    }
    if (membership.isReadable && !membership.isWaitingForTurn) this.#addTurn(membership);
  }

  /** Behind a read that was short. */
  #hasMore({ fd, isSecure }: Membership): boolean {
    return isSecure && this.#native.hasEnd(fd);
  }

  #onNothing(membership: Membership, count: number): void {
    membership.isReadable = false;
    if (count === -ERRNO.EAGAIN) return;
    const isTorn = membership.isSecure && this.#native.isTorn(membership.fd);
    membership.member.onReadEnd(count === 0 ? undefined : socketError('read', count), isTorn);
    this.#flushAll();
  }

  #flushAll(): void {
    if (this.#flushes.length === 0) return;
    const flushes = this.#flushes;
    this.#flushes = [];
    for (const membership of flushes) {
      membership.isFlushDue = false;
      membership.member.flush();
    }
  }
}

let shared: SocketPool | undefined;

/** The pool of this process. */
export function socketPool(): SocketPool {
  shared ??= new SocketPool();
  return shared;
}
