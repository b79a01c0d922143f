// What every flow of the local process is to the network it belongs to, and what it finds there.

import type { CreditRoom } from '#proto/credits.ts';
import { ERRNO } from '#proto/errno.ts';
import type { AppError } from '#proto/errors.ts';
import type { Address } from '#proto/socket-address.ts';
import type { NetworkSession } from '../session.ts';
import type { Uplink } from './uplink.ts';

/** The link to the supervisor: LayerLink is one. */
export interface FlowLink {
  /** Bytes that the supervisor has not taken yet. */
  readonly waitingBytes: number;
  send(pieces: Buffer[]): void;
  drained(): Promise<void>;
}

/** A socket of the local process that is connected, or sends, through us. */
export interface Flow {
  /** The body of a FLOW_DATA. Throws WireError for more than was granted. */
  receive(body: Buffer): void;
  /** The supervisor has handed bytes on. */
  handedOn(bytes: number): void;
  halfClose(): void;
  /** The local process is done with it, or nobody waits for its dial any more. Idempotent; sends nothing of the flow. */
  reset(): void;
  /** The supervisor is gone, and with it the local process: what it sent before still goes out, then the flow ends. */
  linkClosed(): void;
  /** What getsockname(2) says in the target. Rejects with the error of the dial. */
  localAddress(): Promise<Address>;
}

export interface FlowHost {
  readonly link: FlowLink;
  readonly session: NetworkSession;
  readonly uplink: Uplink;
  /** Of what connections grant to the agent beyond their beginning. */
  readonly creditRoom: CreditRoom;
  /** The id is free. */
  ended(id: bigint): void;
  /** Something the user should know of a connection that failed; the network says the same only once. */
  tell(error: AppError): void;
  /** Datagrams that the local process did not take in time. */
  lost(datagrams: number): void;
  /** What the target's kernel chose to reach the peer from. */
  learnSource(local: Address | null, peer: Address | null): void;
}

/** Beyond it the agent waits for the supervisor. */
const FULL_LINK_BYTES = 512 * 1024;

/** For the credit of data that was written to the link. */
export function whenTaken(link: FlowLink): void | Promise<void> {
  return link.waitingBytes > FULL_LINK_BYTES ? link.drained() : undefined;
}

/** What connect(2), or a socket that was never heard of again, says of this error. */
export function socketErrno(error: AppError): number {
  if (error.errno !== 0) return error.errno;
  const isOurs = error.code === 'AGENT_LOST' || error.code === 'SERVICE_UNAVAILABLE' || error.code === 'TARGET_GONE';
  return isOurs ? ERRNO.ENETDOWN : error.localErrno;
}

/** What read(2) says on a connection that this error ended. */
export function resetErrno(error: AppError): number {
  return error.errno === 0 ? ERRNO.ECONNRESET : error.errno;
}
