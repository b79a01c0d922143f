// A socket of the pool (socket-pool.ts): what it is asked and told, and what the pool knows of it.

import type { AppError } from '#proto/errors.ts';
import type { NativeAgreed, NativeTlsContext } from '../native/index.ts';
import type { JoinEvents } from './endpoint.ts';

/** A socket as the pool sees it. */
export interface PoolMember {
  /** The peer takes bytes, after it did not, or for the first time. */
  onWritable(): void;
  /** Bytes that lie in the pool's memory until the call returns. */
  onRead(bytes: Buffer): void;
  /** The peer's end, or the socket's failure: nothing is read any more. */
  onReadEnd(error: AppError | undefined, isTorn: boolean): void;
  /** Whether bytes are wanted now. */
  readonly isReading: boolean;
  /** Gives the kernel what was written meanwhile. */
  flush(): void;
  /** Of one in TLS: the handshake has ended. An error is told as the connection's as well, by `onReadEnd`. */
  onAgreed?(agreed: NativeAgreed, error: AppError | undefined): void;
}

/** TLS over a socket of which nothing has been read or written. */
export type Secure = Readonly<{
  context: NativeTlsContext;
  /** Empty: none is named. */
  serverName: string;
  /** What we offer as a client; as a server the only one that its client may agree to. */
  protocols: readonly string[];
}>;

/** Of a socket that is the pool's already, from an arrival. */
export type Adopted = Readonly<{ id: number; isReadable: boolean; hasEnd: boolean }>;

/** What the pool knows of one socket. */
export type Membership = {
  /** -1 once it is closed: the number is soon another's. */
  fd: number;
  readonly id: number;
  readonly member: PoolMember;
  /** Something may be there to be read. */
  isReadable: boolean;
  /** Not to be taken for read out before the end has been read. */
  hasEnd: boolean;
  isWaitingForTurn: boolean;
  isFlushDue: boolean;
  isClosed: boolean;
  joined: Joined | undefined;
  /** In TLS: an end may have been read with what preceded it, and the kernel does not tell of it again. */
  readonly isSecure: boolean;
  isInHandshake: boolean;
};

/** `isOfStreams`: they speak HTTP/2. */
export type Joined = Readonly<{ client: Membership; origin: Membership; events: JoinEvents; isOfStreams: boolean }>;
