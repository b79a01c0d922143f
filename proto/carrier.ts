// What carries a session: the transport that a session stream writes to, and the pair of calls below it, which a session
// that can be renewed has several of in its life.

import type { AppError } from './errors.ts';
import type { BatchBytes, Frame } from './frame.ts';
import type { Message } from './grpc-message.ts';
import type { Lease } from './receive-blocks.ts';
import type { BulkTaker } from './sockets/bulk-delivery.ts';
import type { BulkOrder } from './sockets/bulk-order.ts';

/** Carries batches. Its owner calls `receive`, `transportDrained`, `peerEnded` and `transportEnded` of the stream. */
export interface FrameTransport {
  /** False when the peer is behind: the next write comes after `transportDrained`. */
  write(batch: readonly Frame[]): boolean;
  /** Bulk that is read and written at once, each frame a batch. True: done, or it waits; false: it has to be written. */
  carry?(order: BulkOrder): boolean;
  /** Nothing more will be written; the peer sees the end after all that was. */
  end(): void;
  /** Cuts both directions now. */
  destroy(error: AppError | null): void;
  /** The peer is silent. True: the transport leaves this connection and waits for another (`transportParked`). */
  renew?(error: AppError): boolean;
}

/** Who is told what a carrier brings: a session stream, or the transport between. */
export interface CarrierOwner extends BulkTaker {
  /** As `OnMessage` has it. */
  receive(batch: BatchBytes, lease?: Lease): boolean;
  transportDrained(): void;
  /** The peer will send nothing more. */
  peerEnded(): void;
  /** The connection is gone; null when it ended without a fault. */
  transportEnded(error: AppError | null): void;
  /** The peer has ended the session, in its own words. */
  refused(error: AppError): void;
  /** What came is no message of ours. */
  failed(error: AppError): void;
}

/** The two calls of one attempt. */
export interface Carrier extends FrameTransport {
  writeMessage(message: Message): boolean;
  /** From here on what it brings is told to the owner. */
  attach(owner: CarrierOwner): void;
  /** As `destroy`, once the last word has left or shortly after. */
  depart(lastWord: Message, error: AppError): void;
  /** Cuts both calls without a word: the peer is to think of a broken connection. */
  drop(): void;
}
