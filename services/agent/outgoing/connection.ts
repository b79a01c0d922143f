// What every kind of connection is to the session it belongs to, and the frames they all send.

import { CONNECTION_CREDIT_BYTES, type CreditRoom } from '#proto/credits.ts';
import { AppError, toErrorDetail } from '#proto/errors.ts';
import { type Frame, makeFrame, NO_BYTES } from '#proto/frame.ts';
import { ErrorDetail } from '#proto/gen/v1/error.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { Connected, type SocketAddress } from '#proto/gen/v1/network.ts';
import type { BulkOrder } from '#proto/sockets/bulk-order.ts';
import { BULK_READ_BYTES } from '#proto/sockets/read-buffers.ts';

/** A dialled connection or socket. Frames that come for one that is over are dropped by the session. */
export interface Connection {
  /** DATA, HALF_CLOSE or RESET of the client. */
  receive(frame: Frame): void;
  /** CREDIT of the client: it has handed on what we sent. */
  grant(bytes: number): void;
  /** The session is closing: what the client has sent still goes out, then the connection ends. */
  finish(): void;
  /** Ends now, as by the death of the process that held it; sends nothing to the client. Idempotent. */
  destroy(): void;
}

/** The session, as its connections see it. */
export interface ConnectionHost {
  /** Of what connections grant to the client beyond their beginning. */
  readonly creditRoom: CreditRoom;
  send(frame: Frame): void;
  /** As SessionStream has it. */
  carry(order: BulkOrder): boolean;
  /** The way to the client is full: stop reading, and go on when `resume` is called. */
  readonly isFull: boolean;
  /** So full that connections with little to say stop as well. */
  readonly isStuffed: boolean;
  /** While it is full: a datagram may still be sent, and waits. */
  readonly mayWait: boolean;
  whenWritable(resume: () => void): void;
  forgetWriter(resume: () => void): void;
  /** The id is free; frames of it no longer come here and are no longer sent. */
  release(id: number): void;
  /** Every descriptor is closed and every byte has been handed on or dropped. */
  ended(id: number, connection: Connection): void;
  /** Datagrams that could not be handed on. Counted, shown in the agent's log. */
  lost(datagrams: number): void;
}

/** Most connections carry bulk or little; both are well served by one size for the many and one for the fast. */
const FULL_READ_BYTES = BULK_READ_BYTES;
export const SMALL_READ_BYTES = 16 * 1024;

/** Never more than half the credit, or a client that grants in steps of half of it would wait for us for ever. */
export function readSizeFor(creditBytes: number): number {
  return creditBytes >= CONNECTION_CREDIT_BYTES ? FULL_READ_BYTES : SMALL_READ_BYTES;
}

export function connectedFrame(id: number, local: SocketAddress, peer: SocketAddress | undefined, creditBytes: number) {
  const head = Connected.encode({ local, peer, creditBytes }).finish();
  return makeFrame(id, FrameKind.FRAME_KIND_CONNECTED, head);
}

export function dataFrame(id: number, data: Uint8Array, head: Uint8Array = NO_BYTES): Frame {
  return makeFrame(id, FrameKind.FRAME_KIND_DATA, head, data);
}

export function halfCloseFrame(id: number): Frame {
  return makeFrame(id, FrameKind.FRAME_KIND_HALF_CLOSE);
}

export function resetFrame(id: number, error: AppError): Frame {
  return makeFrame(id, FrameKind.FRAME_KIND_RESET, ErrorDetail.encode(toErrorDetail(error)).finish());
}

/** For an error that a datagram socket survives. */
export function errorFrame(id: number, error: AppError): Frame {
  return makeFrame(id, FrameKind.FRAME_KIND_ERROR, ErrorDetail.encode(toErrorDetail(error)).finish());
}

/** Errno of a Node system error: `errno` is negative there. What is none becomes a BUG. */
export function toConnectionError(what: string, thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown;
  const errno = thrown instanceof Error && 'errno' in thrown ? Math.abs(Number(thrown.errno)) : 0;
  const name = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : String(thrown);
  if (!Number.isInteger(errno) || errno === 0) return new AppError('BUG', `${what}: ${name}`, { cause: thrown });
  return new AppError('CONNECTION_FAILED', `${what}: ${name}`, { errno, cause: thrown });
}
