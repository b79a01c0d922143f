// Bulk that goes straight from a connection's socket into the session's, past the queue (sockets/bulk-order.ts): whether it may,
// and who waits to be asked again because there was no room. Who waits has read nothing, so nothing of it lies here.

import type { FrameTransport } from './carrier.ts';
import type { ReceiveCredit } from './credits.ts';
import type { FairQueue } from './fair-queue.ts';
import type { SendWindow } from './send-window.ts';
import type { BulkOrder } from './sockets/bulk-order.ts';
import { BULK_READ_BYTES } from './sockets/read-buffers.ts';

export class BulkWay {
  readonly #transport: FrameTransport;
  readonly #queue: FairQueue;
  readonly #sendWindow: SendWindow;
  readonly #receiveCredit: ReceiveCredit;
  readonly #waiters = new Set<() => void>();

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

  close(): void {
    this.#waiters.clear();
  }

  #wait(order: BulkOrder): true {
    this.#waiters.add(order.onRoom);
    return order.wait();
  }
}
