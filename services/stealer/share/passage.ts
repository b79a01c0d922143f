// Frames of one session on their way to the stealer that holds its target and back: passed on as they are, with as much kept of
// them as the next holder must be told.

import { AppError } from '#proto/errors.ts';
import { type Frame, makeFrame } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { type Standing, Subscribe, Subscribed } from '#proto/gen/v1/incoming.ts';
import { incomingServiceOf } from '#proto/incoming.ts';
import { backPressure, errorFrame, lostFrames, MAX_SUBSCRIPTIONS, uncountedFrame } from '#proto/incoming-frames.ts';
import { decodeHead, type SessionStream } from '#proto/session-stream.ts';

type Kept = { readonly wanted: Subscribe; standing: Standing | undefined; isEnding: boolean };

/** Between the ids of connections of one service. */
const ID_STEP = 4;
/** Numbers begin anew somewhere below. */
const LAST_ID = 0xffff_0000;

export class Passage {
  readonly #send: (frame: Frame) => void;
  readonly #subscriptions = new Map<number, Kept>();
  readonly #connections = new Set<number>();
  /** What the next holder numbers connections from; undefined: from the first. */
  nextId: number | undefined;

  /** @param send towards the agent */
  constructor(send: (frame: Frame) => void) {
    this.#send = send;
  }

  /** Of the agent. Without a holder it is kept, or answered in its stead. */
  up(frame: Frame, holder: SessionStream | null): void | Promise<void> {
    const { id, kind } = frame;
    if (kind === FrameKind.FRAME_KIND_SUBSCRIBE) {
      if (this.#subscriptions.size >= MAX_SUBSCRIPTIONS) {
        const error = new AppError(
          'LIMIT_REACHED',
          `${MAX_SUBSCRIPTIONS} ports are stolen, the most a session may have`,
        );
        this.#send(errorFrame(id, error));
        return undefined;
      }
      const wanted = decodeHead(Subscribe.decode, frame.head);
      this.#subscriptions.set(id, { wanted, standing: undefined, isEnding: false });
    } else if (kind === FrameKind.FRAME_KIND_UNSUBSCRIBE) {
      const kept = this.#subscriptions.get(id);
      if (kept === undefined) return undefined;
      kept.isEnding = true;
      if (holder === null) this.#endUncounted(id);
    } else if (!this.#connections.has(id) && !this.#subscriptions.has(id)) {
      return undefined;
    }
    if (holder === null) return undefined;
    holder.send(frame);
    return backPressure(holder);
  }

  /** Of the holder. */
  down(frame: Frame, agent: SessionStream): void | Promise<void> {
    const { id, kind } = frame;
    switch (kind) {
      case FrameKind.FRAME_KIND_SESSION_OPENED:
      case FrameKind.FRAME_KIND_SESSION_CLOSED:
        return undefined;
      case FrameKind.FRAME_KIND_SUBSCRIBED:
        if (this.isAnswered(frame)) return undefined;
        break;
      case FrameKind.FRAME_KIND_ERROR:
      case FrameKind.FRAME_KIND_UNSUBSCRIBED:
        if (!this.#drop(id)) return undefined;
        break;
      case FrameKind.FRAME_KIND_ARRIVED:
        if (incomingServiceOf(id) !== 'stealer' || this.#connections.has(id)) throw violation(frame);
        this.#connections.add(id);
        this.nextId = id < LAST_ID ? id + ID_STEP : undefined;
        break;
      case FrameKind.FRAME_KIND_ENDED:
        if (!this.#connections.delete(id)) throw violation(frame);
        break;
      case FrameKind.FRAME_KIND_SESSION_EVENT:
        break;
      default:
        // RENEWED and LOSSES are about a subscription.
        if (!this.#connections.has(id) && !this.#subscriptions.has(id)) throw violation(frame);
    }
    agent.send(frame);
    return backPressure(agent);
  }

  /** SUBSCRIBED to what was told again: its place is noted, and the agent has heard of it before. */
  isAnswered({ id, kind, head }: Frame): boolean {
    if (kind !== FrameKind.FRAME_KIND_SUBSCRIBED) return false;
    const kept = this.#subscriptions.get(id);
    if (kept === undefined) return false;
    const isAgain = kept.standing !== undefined;
    kept.standing = decodeHead(Subscribed.decode, head).standing;
    return isAgain;
  }

  /** What the next holder is told. */
  again(): Frame[] {
    return [...this.#subscriptions].map(([id, { wanted, standing }]) => {
      const isAgain = wanted.isAgain || standing !== undefined;
      const head = Subscribe.encode({ ...wanted, isAgain, standing: standing ?? wanted.standing }).finish();
      return makeFrame(id, FrameKind.FRAME_KIND_SUBSCRIBE, head);
    });
  }

  /** The holder has gone: what came through it has its end. */
  holderLost(): void {
    const error = new AppError('SERVICE_UNAVAILABLE', 'the stealer that held the target has gone');
    const ends = lostFrames(this.#connections, error);
    this.#connections.clear();
    for (const end of ends) this.#send(end);
    for (const [id, { isEnding }] of [...this.#subscriptions]) if (isEnding) this.#endUncounted(id);
  }

  /** We are the holder now, and nothing passes through here any more. */
  forget(): void {
    for (const id of [...this.#subscriptions.keys()]) this.#drop(id);
    this.#connections.clear();
  }

  /** Keys are overwritten. False when there is none. */
  #drop(id: number): boolean {
    for (const { key, targetKey } of this.#subscriptions.get(id)?.wanted.tls ?? []) {
      key.fill(0);
      targetKey.fill(0);
    }
    return this.#subscriptions.delete(id);
  }

  #endUncounted(id: number): void {
    this.#drop(id);
    this.#send(uncountedFrame(id));
  }
}

function violation({ id, kind }: Frame): AppError {
  return new AppError('PROTOCOL_VIOLATION', `frame of kind ${kind} of connection ${id}, which is not its holder's`);
}
