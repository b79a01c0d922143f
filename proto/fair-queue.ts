// Frames that wait to be sent. Those of connections take turns, so that a small one does not wait behind megabytes of
// another connection: deficit round robin, and who had nothing waiting goes first, once (as FQ-CoDel, RFC 8290, has it). All
// others keep their order among each other, and so do the frames of one connection. Pure.

import { creditFrame, creditOf } from './credits.ts';
import { encodedFrameBytes, type Frame } from './frame.ts';
import { FrameKind } from './gen/v1/frame.ts';

/** Bytes of one lane per turn; the data of one frame of a bulk connection. */
const QUANTUM_BYTES = 64 * 1024;
/** What is not of one outgoing connection. */
const COMMON = 0;

interface Lane {
  readonly id: number;
  readonly frames: Frame[];
  head: number;
  deficitBytes: number;
  /** Had nothing waiting a moment ago. */
  isNew: boolean;
}

export class FairQueue {
  readonly #lanes = new Map<number, Lane>();
  #new: Lane[] = [];
  #old: Lane[] = [];
  /** The goodbye, after all that was said before it. */
  #last: Frame[] = [];
  #bytes = 0;

  /** As they are encoded. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Of one connection, and of nobody else. */
  holdsOnly(id: number): boolean {
    return this.#lanes.size === 1 && this.#lanes.has(id) && this.#last.length === 0;
  }

  push(frame: Frame): void {
    this.#bytes += encodedFrameBytes(frame);
    if (isGoodbye(frame)) {
      this.#last.push(frame);
      return;
    }
    const id = laneOf(frame);
    const lane = this.#lanes.get(id);
    if (lane !== undefined) {
      this.#add(lane, frame);
      return;
    }
    const fresh: Lane = { id, frames: [frame], head: 0, deficitBytes: QUANTUM_BYTES, isNew: true };
    this.#lanes.set(id, fresh);
    this.#new.push(fresh);
  }

  /** What is granted twice in a row is granted in one. */
  #add({ frames, head }: Lane, frame: Frame): void {
    const last = head < frames.length ? frames[frames.length - 1] : undefined;
    if (!isGrant(frame) || last?.id !== frame.id || !isGrant(last)) {
      frames.push(frame);
      return;
    }
    const both = creditFrame(frame.id, creditOf(last) + creditOf(frame));
    this.#bytes += encodedFrameBytes(both) - encodedFrameBytes(last) - encodedFrameBytes(frame);
    frames[frames.length - 1] = both;
  }

  /** The frame whose turn it is, if `mayGo`; null where none is, or it may not. `isNew`: its lane had nothing waiting. */
  take(mayGo: (frame: Frame, isNew: boolean) => boolean): Frame | null {
    for (;;) {
      const lane = this.#new[0] ?? this.#old[0];
      if (lane === undefined) return this.#takeLast(mayGo);
      const frame = lane.frames[lane.head];
      if (frame === undefined) {
        this.#leave(lane);
        continue;
      }
      if (lane.deficitBytes <= 0) {
        lane.deficitBytes += QUANTUM_BYTES;
        this.#rotate(lane);
        continue;
      }
      if (!mayGo(frame, lane.isNew)) return null;
      const bytes = encodedFrameBytes(frame);
      lane.head += 1;
      if (lane.head === lane.frames.length || lane.head > 1024) {
        lane.frames.splice(0, lane.head);
        lane.head = 0;
      }
      lane.deficitBytes -= bytes;
      this.#bytes -= bytes;
      return frame;
    }
  }

  clear(): void {
    this.#lanes.clear();
    this.#new = [];
    this.#old = [];
    this.#last = [];
    this.#bytes = 0;
  }

  #takeLast(mayGo: (frame: Frame, isNew: boolean) => boolean): Frame | null {
    const [frame] = this.#last;
    if (frame === undefined || !mayGo(frame, true)) return null;
    this.#last.shift();
    this.#bytes -= encodedFrameBytes(frame);
    return frame;
  }

  /** An empty lane that was new stays for one round, or it would be new again at once and others never had a turn. */
  #leave(lane: Lane): void {
    if (lane.isNew) this.#rotate(lane);
    else {
      this.#old.shift();
      this.#lanes.delete(lane.id);
    }
  }

  #rotate(lane: Lane): void {
    (lane.isNew ? this.#new : this.#old).shift();
    lane.isNew = false;
    this.#old.push(lane);
  }
}

/** Odd ids are the client's (frame.proto); frames of arrived connections keep their order with those of subscriptions. */
function laneOf({ id, kind }: Frame): number {
  if (id % 2 === 0) return COMMON;
  switch (kind) {
    case FrameKind.FRAME_KIND_CONNECT:
    case FrameKind.FRAME_KIND_CONNECTED:
    case FrameKind.FRAME_KIND_DATA:
    case FrameKind.FRAME_KIND_CREDIT:
    case FrameKind.FRAME_KIND_HALF_CLOSE:
    case FrameKind.FRAME_KIND_RESET:
      return id;
    default:
      return COMMON;
  }
}

function isGrant({ kind }: Frame): boolean {
  return kind === FrameKind.FRAME_KIND_CREDIT;
}

function isGoodbye({ id, kind }: Frame): boolean {
  return id === 0 && (kind === FrameKind.FRAME_KIND_SESSION_CLOSE || kind === FrameKind.FRAME_KIND_SESSION_CLOSED);
}
