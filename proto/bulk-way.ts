// Bulk that goes straight from a connection's socket into the session's, past the queue (sockets/bulk-order.ts): whether it may,
// and who waits to be asked again because there was no room. Who waits has read nothing, so nothing of it lies here. And the other
// way (sockets/bulk-delivery.ts): to whom.

import type { FrameTransport } from './carrier.ts';
import type { ReceiveCredit } from './credits.ts';
import type { FairQueue } from './fair-queue.ts';
import type { Frame } from './frame.ts';
import type { SendWindow } from './send-window.ts';
import type { BulkDelivery, BulkTaker } from './sockets/bulk-delivery.ts';
import type { BulkOrder } from './sockets/bulk-order.ts';
import { BULK_READ_BYTES } from './sockets/read-buffers.ts';

export class BulkWay {
  readonly #transport: FrameTransport;
  readonly #queue: FairQueue;
  readonly #sendWindow: SendWindow;
  readonly #receiveCredit: ReceiveCredit;
  readonly #waiters = new Set<() => void>();
  /** Whose bulk came last. */
  #taker: BulkTaker | null = null;

  constructor(transport: FrameTransport, queue: FairQueue, sendWindow: SendWindow, receiveCredit: ReceiveCredit) {
    this.#transport = transport;
    this.#queue = queue;
    this.#sendWindow = sendWindow;
    this.#receiveCredit = receiveCredit;
  }

  /** True: carried, or it waits for the order's `onRoom`; false: it is to be read and sent, as others have something to say. */
  carry(order: BulkOrder, isTransportFull: boolean, nowMs: number): boolean {
    const queue = this.#queue;
    const sendWindow = this.#sendWindow;
    if (queue.bytes > 0 && !queue.holdsOnly(order.connection)) return false;
    if (queue.bytes > 0 || isTransportFull) return this.#wait(order);
    // Those go with a batch that is written.
    if (sendWindow.isPingDue || this.#receiveCredit.isDue) return false;
    if (!order.limit(sendWindow.framesOf(BULK_READ_BYTES, nowMs))) return this.#wait(order);
    if (this.#transport.carry?.(order) !== true) return false;
    for (let frame = 0; frame < order.frames; frame++) sendWindow.carried(order.bytesOf(frame), nowMs);
    order.done();
    return order.isWaiting ? this.#wait(order) : true;
  }

  /** There may be room. */
  wake(isTransportFull: boolean): void {
    if (this.#waiters.size === 0 || isTransportFull || this.#queue.bytes > 0) return;
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const resume of waiters) resume();
  }

  /** It was handed on. */
  noted({ taker }: Frame): void {
    if (taker !== undefined) this.#taker = taker;
  }

  /** True: more for whoever had the last bulk may be delivered. He who cannot take it is not asked again before more of it was handed on. */
  offer(delivery: BulkDelivery): boolean {
    if (this.#taker === null) return false;
    if (delivery.limit(this.#receiveCredit.grantedBytes) && this.#taker.offer(delivery)) return true;
    this.#taker = null;
    return false;
  }

  /** Throws PROTOCOL_VIOLATION as credits do. */
  delivered(delivery: BulkDelivery): void {
    this.#receiveCredit.received(delivery.bytes);
    this.#taker?.delivered(delivery);
  }

  close(): void {
    this.#taker = null;
    this.#waiters.clear();
  }

  #wait(order: BulkOrder): true {
    this.#waiters.add(order.onRoom);
    return order.wait();
  }
}
