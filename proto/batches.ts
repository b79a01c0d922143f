// What of a session's frames leaves in one batch: what overtakes, then the queue as far as credit and distance allow, and what goes
// along with it.

import { creditFrame, type ReceiveCredit } from './credits.ts';
import type { FairQueue } from './fair-queue.ts';
import { dataBytes, encodedBytes, encodedFrameBytes, type Frame } from './frame.ts';
import type { RoundTrips } from './round-trips.ts';
import type { SendWindow } from './send-window.ts';

/**
 * A batch is sent when this much waits, or when the event loop turns: above it nothing is gained. The first frame of a turn
 * does not wait for the others, which may never come: a question alone on the stream would wait twice on its way.
 */
export const FLUSH_BYTES = 64 * 1024;

export class Batches {
  readonly #queue: FairQueue;
  readonly #sendWindow: SendWindow;
  readonly #receiveCredit: ReceiveCredit;
  readonly #roundTrips: RoundTrips;
  readonly #now: () => number;

  constructor(
    queue: FairQueue,
    sendWindow: SendWindow,
    receiveCredit: ReceiveCredit,
    roundTrips: RoundTrips,
    now: () => number,
  ) {
    this.#queue = queue;
    this.#sendWindow = sendWindow;
    this.#receiveCredit = receiveCredit;
    this.#roundTrips = roundTrips;
    this.#now = now;
  }

  /** Behind the urgent ones, in their array. None where nothing may go. */
  take(urgent: Frame[]): Frame[] {
    const urgentFrames = urgent.length;
    const frames = urgent;
    let batchBytes = encodedBytes(frames);
    const mayGo = (frame: Frame, isNew: boolean) => {
      if (frames.length > 0 && batchBytes + encodedFrameBytes(frame) > FLUSH_BYTES) return false;
      return this.#sendWindow.take(dataBytes(frame), isNew, this.#now());
    };
    for (let frame = this.#queue.take(mayGo); frame !== null; frame = this.#queue.take(mayGo)) {
      frames.push(frame);
      batchBytes += encodedFrameBytes(frame);
    }
    return frames.length === 0 ? frames : this.with(frames, urgentFrames);
  }

  /** What goes with them: a PING ahead of bulk, behind what is asked already, and credit. */
  with(frames: Frame[], pingAt: number): Frame[] {
    const measured = (roundTripMs: number) => this.#sendWindow.measured(roundTripMs, this.#now());
    if (this.#sendWindow.takePing(this.#now())) frames.splice(pingAt, 0, this.#roundTrips.ask(measured));
    const dueBytes = this.#receiveCredit.due();
    if (dueBytes > 0) frames.push(creditFrame(0, dueBytes));
    return frames;
  }
}
