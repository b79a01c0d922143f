// One connection on its way to one session: bytes as far as credit goes, what must wait within a limit, and gaps for what
// could not. Never makes anybody wait.

import { SendCredit } from '#proto/credits.ts';
import { type Frame, MAX_DATA_BYTES, makeFrame, NO_BYTES } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { Ended, EndReason, Gap, HalfClosed, LossReason } from '#proto/gen/v1/incoming.ts';
import type { Counts } from './counts.ts';
import type { Outlet } from './outlet.ts';

/** What all copies of one subscription share. */
export interface CopyShare {
  readonly outlet: Outlet;
  readonly counts: Counts;
  /** Of the subscription; taken beside the connection's own. */
  readonly credit: SendCredit;
  /** Bytes that wait for credit, of all copies. */
  queuedBytes: number;
  readonly maxQueuedBytes: number;
  /** Those that wait for the subscription's credit. */
  readonly starved: Set<Copy>;
  onEnded(copy: Copy): void;
}

type Mark =
  | { kind: 'gap'; bytes: number; datagrams: number; reason: LossReason; isAnswer: boolean }
  | { kind: 'half-close'; isAnswer: boolean; isUnanswered: boolean }
  | { kind: 'ended'; reason: EndReason; atNs: bigint; isUnanswered: boolean };

type Item = { kind: 'bytes'; bytes: Buffer; isAnswer: boolean } | Mark;

/** Smaller pieces are copied: a view of a few bytes would hold its whole batch. */
const COPY_BELOW_BYTES = 16 * 1024;

export class Copy {
  readonly id: number;
  readonly #share: CopyShare;
  readonly #credit: SendCredit;
  readonly #isDatagrams: boolean;
  readonly #connectionBytes: number;
  readonly #lossReasons = new Set<LossReason>();
  #queue: Item[] = [];
  #sentBytes = 0;
  #lostBytes = 0;
  /** Of the stream, lost ones included; requests and answers. */
  readonly #offsets = [0, 0];
  #hasEnd = false;
  #isOver = false;

  constructor(id: number, connectionBytes: number, isDatagrams: boolean, share: CopyShare) {
    this.id = id;
    this.#share = share;
    this.#credit = new SendCredit(connectionBytes);
    this.#isDatagrams = isDatagrams;
    this.#connectionBytes = connectionBytes;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  bytes(bytes: Buffer, isAnswer: boolean): void {
    if (this.#hasEnd) return;
    if (this.#isDatagrams && bytes.length > this.#connectionBytes) {
      this.gap(0, LossReason.LOSS_REASON_CLIENT_SLOW, isAnswer, bytes.length);
      return;
    }
    if (this.#queue.length === 0 && this.#send(bytes, isAnswer)) return;
    const rest = this.#queue.length === 0 ? bytes.subarray(this.#sentOf) : bytes;
    if (this.#share.queuedBytes + rest.length > this.#share.maxQueuedBytes) {
      this.gap(this.#isDatagrams ? 0 : rest.length, LossReason.LOSS_REASON_CLIENT_SLOW, isAnswer, rest.length);
      return;
    }
    this.#share.queuedBytes += rest.length;
    this.#queue.push({ kind: 'bytes', bytes: Buffer.from(rest), isAnswer });
    this.#waitForRoom();
  }

  /** 0 bytes: it is not known how many. Of datagrams one is lost. */
  gap(bytes: number, reason: LossReason, isAnswer: boolean, lostBytes = bytes): void {
    if (this.#hasEnd) return;
    const isFirst = !this.#lossReasons.has(reason);
    this.#lossReasons.add(reason);
    this.#lostBytes += lostBytes;
    this.#share.counts.lost(reason, {
      connections: isFirst ? 1 : 0,
      bytes: lostBytes,
      packets: this.#isDatagrams ? 1 : 0,
    });
    const datagrams = this.#isDatagrams ? 1 : 0;
    const last = this.#queue.at(-1);
    if (last?.kind === 'gap' && last.reason === reason && last.isAnswer === isAnswer && bytes > 0 === last.bytes > 0) {
      last.bytes += bytes;
      last.datagrams += datagrams;
      return;
    }
    this.#add({ kind: 'gap', bytes, datagrams, reason, isAnswer });
  }

  halfClose(isAnswer: boolean, isUnanswered = false): void {
    if (!this.#hasEnd) this.#add({ kind: 'half-close', isAnswer, isUnanswered });
  }

  /** After what waits. */
  end(reason: EndReason, atNs: bigint, isUnanswered = false): void {
    if (this.#hasEnd) return;
    this.#hasEnd = true;
    this.#add({ kind: 'ended', reason, atNs, isUnanswered });
  }

  /** The client wants no more of it. */
  reset(): void {
    if (this.#isOver) return;
    this.#drop();
    this.#hasEnd = true;
    const reason = EndReason.END_REASON_CLIENT_RESET;
    this.#sendItem({ kind: 'ended', reason, atNs: now(), isUnanswered: false });
  }

  /** Nobody is there any more. */
  abandon(): void {
    this.#drop();
    this.#hasEnd = true;
    this.#isOver = true;
  }

  grant(bytes: number): void {
    this.#credit.grant(bytes);
    this.#share.credit.grant(bytes);
    this.pump();
    this.#wakeStarved();
  }

  /** What was sent and not granted again: the id is over, and nobody grants on it any more. */
  #giveBack(): void {
    const bytes = this.#connectionBytes - this.#credit.availableBytes;
    if (bytes <= 0) return;
    this.#share.credit.grant(bytes);
    this.#wakeStarved();
  }

  #wakeStarved(): void {
    if (this.#share.starved.size === 0) return;
    const starved = [...this.#share.starved];
    this.#share.starved.clear();
    for (const copy of starved) copy.pump();
  }

  pump(): void {
    while (!this.#isOver) {
      const item = this.#queue[0];
      if (item === undefined) return;
      if (item.kind === 'bytes') {
        const isSent = this.#send(item.bytes, item.isAnswer);
        this.#share.queuedBytes -= this.#sentOf;
        if (!isSent) {
          item.bytes = item.bytes.subarray(this.#sentOf);
          this.#waitForRoom();
          return;
        }
      } else {
        if (this.#share.outlet.isBehind) {
          this.#share.outlet.wait(this);
          return;
        }
        this.#sendItem(item);
      }
      this.#queue.shift();
    }
  }

  /** How much the last `#send` sent. */
  #sentOf = 0;

  /** As much as credit allows; true when that was all of it. A datagram goes whole or not at all. */
  #send(bytes: Buffer, isAnswer: boolean): boolean {
    this.#sentOf = 0;
    const { credit, outlet } = this.#share;
    do {
      if (outlet.isBehind) return false;
      const left = bytes.length - this.#sentOf;
      const available = Math.min(this.#credit.availableBytes, credit.availableBytes, MAX_DATA_BYTES);
      const count = Math.min(left, available);
      if (count < left && (count === 0 || this.#isDatagrams)) return false;
      this.#credit.take(count);
      credit.take(count);
      const part = bytes.subarray(this.#sentOf, this.#sentOf + count);
      const kind = isAnswer ? FrameKind.FRAME_KIND_ANSWER : FrameKind.FRAME_KIND_DATA;
      outlet.send(makeFrame(this.id, kind, NO_BYTES, count < COPY_BELOW_BYTES ? Buffer.from(part) : part));
      this.#sentOf += count;
      this.#count(count, isAnswer);
    } while (this.#sentOf < bytes.length);
    return true;
  }

  #count(bytes: number, isAnswer: boolean): void {
    this.#offsets[isAnswer ? 1 : 0] = this.#offsetOf(isAnswer) + bytes;
    if (isAnswer) return;
    this.#sentBytes += bytes;
    this.#share.counts.bytes += bytes;
    if (this.#isDatagrams) this.#share.counts.datagrams += 1;
  }

  #offsetOf(isAnswer: boolean): number {
    return this.#offsets[isAnswer ? 1 : 0] as number;
  }

  #waitForRoom(): void {
    const { outlet, credit, starved } = this.#share;
    if (outlet.isBehind) outlet.wait(this);
    else if (credit.availableBytes <= this.#credit.availableBytes) starved.add(this);
  }

  #add(item: Mark): void {
    if (this.#queue.length === 0 && !this.#share.outlet.isBehind) {
      this.#sendItem(item);
      return;
    }
    this.#queue.push(item);
    this.#waitForRoom();
  }

  #sendItem(item: Mark): void {
    if (item.kind === 'gap') this.#offsets[item.isAnswer ? 1 : 0] = this.#offsetOf(item.isAnswer) + item.bytes;
    this.#share.outlet.send(this.#frameOf(item));
    if (item.kind !== 'ended') return;
    this.#isOver = true;
    this.#share.onEnded(this);
    this.#giveBack();
  }

  #frameOf(item: Mark): Frame {
    switch (item.kind) {
      case 'half-close': {
        if (item.isAnswer) return makeFrame(this.id, FrameKind.FRAME_KIND_ANSWER);
        const head = HalfClosed.encode({ isUnanswered: item.isUnanswered }).finish();
        return makeFrame(this.id, FrameKind.FRAME_KIND_HALF_CLOSE, head);
      }
      case 'gap': {
        const { bytes, datagrams, reason, isAnswer } = item;
        const offset = BigInt(this.#offsetOf(isAnswer));
        const head = Gap.encode({ bytes: BigInt(bytes), datagrams, reason, isAnswer, offset }).finish();
        return makeFrame(this.id, FrameKind.FRAME_KIND_GAP, head);
      }
      case 'ended': {
        const head = Ended.encode({
          reason: item.reason,
          error: undefined,
          bytes: BigInt(this.#sentBytes),
          lostBytes: BigInt(this.#lostBytes),
          atNs: item.atNs,
          isUnanswered: item.isUnanswered,
        }).finish();
        return makeFrame(this.id, FrameKind.FRAME_KIND_ENDED, head);
      }
    }
  }

  #drop(): void {
    for (const item of this.#queue) if (item.kind === 'bytes') this.#share.queuedBytes -= item.bytes.length;
    this.#queue = [];
    this.#share.starved.delete(this);
    this.#share.outlet.forget(this);
  }
}

function now(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}
