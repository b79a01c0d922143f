// experimental.latency: what streams of the outgoing network say comes later than it would, by so many milliseconds each way.
// Each piece waits on its own, so that waits do not add up, and order is kept. The dial is not delayed.

import { AppError } from '#proto/errors.ts';
import { dataPieces, type Frame, makeFrame } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import type { ConnectionReceiver, NetworkSession } from '../session.ts';
import { withResolvers } from '../with-resolvers.ts';

export interface Latency {
  readonly transmitMs: number;
  readonly receiveMs: number;
}

const DELAYED: ReadonlySet<number> = new Set([
  FrameKind.FRAME_KIND_DATA,
  FrameKind.FRAME_KIND_HALF_CLOSE,
  FrameKind.FRAME_KIND_RESET,
]);

/** The same session, seen through the delay. What waits in it is bounded by the credit of its connections. */
export class DelayedSession implements NetworkSession {
  readonly #session: NetworkSession;
  readonly #up: DelayLine;
  readonly #down: DelayLine;
  readonly #receivers = new Map<number, DelayedReceiver>();

  constructor(session: NetworkSession, { transmitMs, receiveMs }: Latency) {
    this.#session = session;
    this.#up = new DelayLine(transmitMs, session);
    this.#down = new DelayLine(receiveMs);
  }

  get lost() {
    return this.#session.lost;
  }

  get bufferedBytes(): number {
    return this.#session.bufferedBytes;
  }

  openConnection(receiver: ConnectionReceiver): number {
    const delayed = new DelayedReceiver(receiver, this.#down);
    const id = this.#session.openConnection(delayed);
    this.#receivers.set(id, delayed);
    return id;
  }

  closeConnection(id: number): void {
    this.#receivers.get(id)?.forget();
    this.#receivers.delete(id);
    this.#session.closeConnection(id);
  }

  send(frame: Frame): void {
    if (!DELAYED.has(frame.kind)) this.#session.send(frame);
    else this.#up.add(() => this.#session.send(frame));
  }

  async drained(): Promise<void> {
    await this.#up.emptied();
    await this.#session.drained();
  }
}

class DelayedReceiver implements ConnectionReceiver {
  readonly #receiver: ConnectionReceiver;
  readonly #line: DelayLine;
  #isOver = false;

  constructor(receiver: ConnectionReceiver, line: DelayLine) {
    this.#receiver = receiver;
    this.#line = line;
  }

  receive(frame: Frame): void | Promise<void> {
    if (!DELAYED.has(frame.kind)) return this.#receiver.receive(frame);
    // It lies in a batch that is read into again.
    const later = makeFrame(frame.id, frame.kind, Buffer.from(frame.head), Buffer.concat(dataPieces(frame)));
    frame.isUsedUp = true;
    this.#line.add(() => void this.#hand(later));
    return undefined;
  }

  /** The session, which would fail by what is refused, is not asking any more: the connection does. */
  async #hand(frame: Frame): Promise<void> {
    try {
      if (!this.#isOver) await this.#receiver.receive(frame);
    } catch (thrown) {
      if (!this.#isOver) this.lost(AppError.from(thrown, 'BUG'));
    }
  }

  lost(error: Parameters<ConnectionReceiver['lost']>[0]): void {
    this.#isOver = true;
    this.#receiver.lost(error);
  }

  /** What still waits is for nobody. */
  forget(): void {
    this.#isOver = true;
  }
}

type Waiting = Readonly<{ atMs: number; act: () => void }>;

/** What was let into the line at once would be more than the session takes at once. */
const FULL_BYTES = 4 * 1024 * 1024;

/** Acts in the order in which they came, each so many milliseconds later, or when the session has room. */
class DelayLine {
  readonly #ms: number;
  readonly #session: NetworkSession | null;
  #waiting: Waiting[] = [];
  #timer: NodeJS.Timeout | undefined;
  #onEmpty: (() => void)[] = [];

  constructor(ms: number, session: NetworkSession | null = null) {
    this.#ms = ms;
    this.#session = session;
  }

  get #isFull(): boolean {
    return this.#session?.lost === null && this.#session.bufferedBytes > FULL_BYTES;
  }

  add(act: () => void): void {
    if (this.#ms === 0) {
      act();
      return;
    }
    this.#waiting.push({ atMs: performance.now() + this.#ms, act });
    this.#timer ??= setTimeout(() => this.#release(), this.#ms);
  }

  async emptied(): Promise<void> {
    if (this.#waiting.length === 0) return;
    const { promise, resolve } = withResolvers();
    this.#onEmpty.push(() => resolve(undefined));
    await promise;
  }

  #release(): void {
    const nowMs = performance.now();
    let acted = 0;
    for (const { atMs, act } of this.#waiting) {
      if (atMs > nowMs || this.#isFull) break;
      acted += 1;
      act();
    }
    this.#waiting.splice(0, acted);
    const [next] = this.#waiting;
    if (next !== undefined && this.#isFull) {
      void this.#session?.drained().then(() => this.#release());
      return;
    }
    this.#timer = next === undefined ? undefined : setTimeout(() => this.#release(), Math.max(1, next.atMs - nowMs));
    if (next === undefined) for (const resolve of this.#onEmpty.splice(0)) resolve();
  }
}
