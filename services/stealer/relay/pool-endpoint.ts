// A TCP connection as an endpoint of the relay. Half-closed connections live on, and one that both sides have ended is released
// even when its peer never says so. What the kernel does not take waits here; the relay is told, and reads no more of it.

import { ERRNO } from '#proto/errno.ts';
import type { AppError } from '#proto/errors.ts';
import { type NativeAgreed, type NativeArrival, SOCKET_ENDS, SOCKET_READABLE } from '../native/index.ts';
import type { Endpoint, EndpointEvents, JoinEvents, RestingStreams } from './endpoint.ts';
import type { Adopted, Membership, PoolMember, Secure } from './pool-member.ts';
import { type SocketPool, socketError, socketPool } from './socket-pool.ts';

/** How long a socket whose own direction has ended may wait for its peer's end, in ms. Like the kernel's tcp_fin_timeout. */
const HALF_CLOSED_MS = 60_000;
/** Pieces that are smaller wait for their neighbours: head and body that came in one read leave in one write. */
const JOINED_BYTES = 16 * 1024;

export type PoolEndpointOptions = Readonly<{
  pool?: SocketPool;
  /** The descriptor is of the pool already. */
  adopted?: Adopted;
  /** The socket is being connected, or in its handshake, which may take so long, in ms. */
  dialMs?: number;
  /** It is connected, or never will be. Called once. */
  onDialled?: () => void;
  /** Its peer speaks TLS; needs `dialMs`. */
  secure?: Secure;
  /** Told of its handshake, once, before the connection's end if it failed. Null: it is over without one. */
  onAgreed?: (agreed: NativeAgreed | null, error: AppError | undefined) => void;
}>;

export class PoolEndpoint implements Endpoint, PoolMember {
  readonly #pool: SocketPool;
  #membership: Membership | undefined;
  #events: EndpointEvents | undefined;
  /** Why there is nothing to be written to: told when what the peer has said before it was read. */
  #failure: AppError | undefined;
  /** Not given to the kernel yet, as it may lie beside what comes next. */
  #piece: Buffer | undefined;
  /** What the kernel did not take. */
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #isDialling: boolean;
  #isPaused = false;
  #hasReadEnd = false;
  #isEnding = false;
  #endsTorn = false;
  #isTorn = false;
  #hasEnded = false;
  #isOver = false;
  /** It is over, and nobody has listened. */
  #isUntold = false;
  #onDialled: (() => void) | undefined;
  #onAgreed: PoolEndpointOptions['onAgreed'];
  #timer: NodeJS.Timeout | undefined;

  /** @param from a descriptor, the endpoint's from here on; an error when there is none: it is told as the connection's */
  constructor(from: number | AppError, options: PoolEndpointOptions = {}) {
    const { pool = socketPool(), adopted, dialMs, onDialled, secure, onAgreed } = options;
    this.#pool = pool;
    this.#onDialled = onDialled;
    this.#onAgreed = onAgreed;
    this.#isDialling = dialMs !== undefined;
    if (typeof from !== 'number') this.#failure = from;
    else this.#join(from, secure, adopted);
    if (this.#failure !== undefined) this.#failSoon(this.#failure);
    else if (dialMs !== undefined) this.#startTimer(dialMs, () => this.#fail(socketError('connect', -ERRNO.ETIMEDOUT)));
  }

  #join(fd: number, secure: Secure | undefined, adopted: Adopted | undefined): void {
    try {
      this.#membership = this.#pool.add(fd, this, secure, adopted);
    } catch (thrown) {
      this.#failure = thrown as AppError;
    }
  }

  get isTorn(): boolean {
    return this.#isTorn;
  }

  get isReading(): boolean {
    return this.#events !== undefined && !this.#isPaused && !this.#hasReadEnd && !this.#isOver;
  }

  listen(events: EndpointEvents): void {
    this.#events = events;
    if (this.#isUntold) queueMicrotask(() => events.onClosed(this.#failure));
    this.#isUntold = false;
    this.#readSoon();
  }

  write(bytes: Buffer): boolean {
    if (bytes.length === 0 || this.#isOver || this.#isEnding || this.#failure !== undefined) return true;
    const last = this.#piece;
    if (last !== undefined && last.buffer === bytes.buffer && last.byteOffset + last.length === bytes.byteOffset) {
      this.#piece = Buffer.from(last.buffer, last.byteOffset, last.length + bytes.length);
    } else {
      this.flush();
      this.#piece = bytes;
    }
    if (this.#piece.length >= JOINED_BYTES) this.flush();
    else if (this.#membership !== undefined) this.#pool.flushSoon(this.#membership);
    return this.#waitingBytes === 0;
  }

  end(isTorn = false): void {
    if (this.#isOver || this.#isEnding) return;
    this.flush();
    this.#isEnding = true;
    this.#endsTorn = isTorn;
    this.#endIfWritten();
  }

  destroy(): void {
    this.#release(!this.#isDialling);
  }

  pause(): void {
    this.#isPaused = true;
    // Nobody may read again, and the failure must be told.
    if (this.#failure !== undefined) this.#failSoon(this.#failure);
  }

  resume(): void {
    this.#isPaused = false;
    this.#readSoon();
  }

  join(origin: Endpoint, screen: number, events: JoinEvents): boolean {
    if (!(origin instanceof PoolEndpoint) || origin.#pool !== this.#pool) return false;
    const client = this.#restingMembership();
    const other = origin.#restingMembership();
    return client !== undefined && other !== undefined && this.#pool.join(client, other, screen, events);
  }

  joinStreams(origin: Endpoint, screen: number, streams: RestingStreams, events: JoinEvents): boolean {
    if (!(origin instanceof PoolEndpoint) || origin.#pool !== this.#pool) return false;
    const client = this.#restingMembership();
    const other = origin.#restingMembership();
    if (client === undefined || other === undefined) return false;
    return this.#pool.joinStreams(client, other, screen, streams, events);
  }

  isJoined(origin: Endpoint, events: JoinEvents): boolean {
    const other = origin instanceof PoolEndpoint ? origin.#membership : undefined;
    if (this.#membership === undefined || other === undefined) return false;
    this.#pool.areJoined(this.#membership, other, events);
    return true;
  }

  part(): void {
    if (this.#membership !== undefined) this.#pool.part(this.#membership);
  }

  /** Undefined while anything is to be read, written or waited for. */
  #restingMembership(): Membership | undefined {
    this.flush();
    const isBusy = this.#waitingBytes > 0 || this.#isDialling || this.#isEnding || this.#failure !== undefined;
    const one = this.#membership;
    if (one === undefined || isBusy || !this.isReading) return undefined;
    return one.isReadable || one.hasEnd || one.isWaitingForTurn ? undefined : one;
  }

  #readSoon(): void {
    if (this.#membership !== undefined && this.isReading) this.#pool.readSoon(this.#membership);
  }

  // ---- from the pool

  flush(): void {
    const bytes = this.#piece;
    this.#piece = undefined;
    if (bytes === undefined || this.#isOver || this.#membership === undefined) return;
    if (this.#waitingBytes > 0) {
      this.#keep(bytes);
      return;
    }
    const taken = this.#pool.write(this.#membership, bytes);
    if (taken < 0) this.#onWriteFailure(taken);
    else if (taken < bytes.length) this.#keep(bytes.subarray(taken));
  }

  onWritable(): void {
    if (this.#isDialling) {
      this.#stopTimer();
      this.#endDialling();
    }
    const hadToWait = this.#waitingBytes > 0;
    this.#writeWaiting();
    if (this.#waitingBytes > 0 || this.#isOver) return;
    this.#endIfWritten();
    if (hadToWait) this.#events?.onDrain();
  }

  onAgreed(agreed: NativeAgreed, error: AppError | undefined): void {
    const tell = this.#onAgreed;
    this.#onAgreed = undefined;
    tell?.(agreed, error);
  }

  onRead(bytes: Buffer): void {
    this.#timer?.refresh();
    this.#events?.onData(bytes);
  }

  onReadEnd(error: AppError | undefined, isTorn: boolean): void {
    this.#isTorn = isTorn;
    const failure = this.#failure ?? error;
    if (failure !== undefined) {
      this.#fail(failure);
      return;
    }
    this.#hasReadEnd = true;
    this.#events?.onEnd();
    if (this.#hasEnded) this.#close();
  }

  // ---- ends

  #keep(bytes: Buffer): void {
    this.#waiting.push(this.#pool.isBorrowed(bytes) ? Buffer.from(bytes) : bytes);
    this.#count(bytes.length);
  }

  #count(bytes: number): void {
    this.#waitingBytes += bytes;
    this.#pool.waitingBytes += bytes;
  }

  #writeWaiting(): void {
    while (this.#waitingBytes > 0 && this.#membership !== undefined) {
      const bytes = this.#waiting.length === 1 ? (this.#waiting[0] as Buffer) : Buffer.concat(this.#waiting);
      const taken = this.#pool.write(this.#membership, bytes);
      if (taken < 0) {
        this.#onWriteFailure(taken);
        return;
      }
      this.#count(-taken);
      this.#waiting = taken === bytes.length ? [] : [bytes.subarray(taken)];
      if (taken < bytes.length) return;
    }
  }

  /** The peer may have said something before it went: an answer that did not wait for the whole request. */
  #onWriteFailure(negative: number): void {
    this.#failure = socketError('write', negative);
    this.#dropWaiting();
    const membership = this.#membership;
    if (this.isReading && membership !== undefined) {
      membership.isReadable = true;
      membership.hasEnd = true;
      this.#pool.readSoon(membership);
    } else this.#failSoon(this.#failure);
  }

  #endIfWritten(): void {
    if (!this.#isEnding || this.#hasEnded || this.#isDialling || this.#waitingBytes > 0 || this.#isOver) return;
    this.#hasEnded = true;
    if (this.#membership !== undefined) this.#pool.end(this.#membership, this.#endsTorn);
    this.#startTimer(HALF_CLOSED_MS, () => this.#close());
    // Not within a call of the relay's.
    if (this.#hasReadEnd) queueMicrotask(() => this.#close());
  }

  #failSoon(error: AppError): void {
    queueMicrotask(() => this.#fail(error));
  }

  #fail(error: AppError): void {
    if (this.#isOver) return;
    this.#failure = error;
    this.#release(false);
    this.#isUntold = this.#events === undefined;
    this.#events?.onClosed(error);
  }

  #close(): void {
    if (this.#isOver) return;
    this.#release(false);
    this.#events?.onClosed(undefined);
  }

  #release(isReset: boolean): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#stopTimer();
    this.#dropWaiting();
    if (this.#membership !== undefined) this.#pool.close(this.#membership, isReset);
    this.#endDialling();
    const tell = this.#onAgreed;
    this.#onAgreed = undefined;
    tell?.(null, this.#failure);
  }

  /** It is not what it should be: over, and told so. */
  fail(error: AppError): void {
    this.#fail(error);
  }

  #endDialling(): void {
    this.#isDialling = false;
    const tell = this.#onDialled;
    this.#onDialled = undefined;
    tell?.();
  }

  #dropWaiting(): void {
    this.#piece = undefined;
    this.#waiting = [];
    this.#count(-this.#waitingBytes);
  }

  #startTimer(ms: number, act: () => void): void {
    this.#stopTimer();
    this.#timer = setTimeout(act, ms).unref();
  }

  #stopTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

/** @param onDialled as of PoolEndpointOptions; not called for one that is connected */
export function adoptArrival(
  arrival: NativeArrival,
  { pool = socketPool(), dialMs, onDialled }: Readonly<{ pool?: SocketPool; dialMs: number; onDialled: () => void }>,
): Readonly<{ client: PoolEndpoint; origin: PoolEndpoint }> {
  const { clientMask, isDialling } = arrival;
  const [isReadable, hasEnd] = [(clientMask & SOCKET_READABLE) !== 0, (clientMask & SOCKET_ENDS) !== 0];
  const adopted = { id: arrival.originId, isReadable: false, hasEnd: false };
  const dial = isDialling ? { dialMs, onDialled } : {};
  return {
    client: new PoolEndpoint(arrival.clientFd, { pool, adopted: { id: arrival.clientId, isReadable, hasEnd } }),
    origin: new PoolEndpoint(arrival.originFd, { pool, adopted, ...dial }),
  };
}
