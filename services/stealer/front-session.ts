// One session as it came to this stealer: from its agent, or from a stealer that joined us. It is served here while this process
// holds its target, and by the stealer that does otherwise: then frames pass through unread but for what is needed to go on
// with another holder when that one is gone.
//
// Buffers: the head of each subscription; frames are passed on while the other side takes them, as the agent does.

import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { AppError } from '#proto/errors.ts';
import { type Frame, makeFrame } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { AttachTarget } from '#proto/gen/v1/fs_env.ts';
import { IncomingFacts, JoinTarget, Subscribe } from '#proto/gen/v1/incoming.ts';
import { LEASE_MS } from '#proto/liveness.ts';
import { decodeHead, type SessionHandlers, type SessionStream } from '#proto/session-stream.ts';
import { VERSION } from '#proto/version.ts';
import type { Look } from '#runtime/standstill.ts';
import { TargetHandle } from '#runtime/target-handle.ts';
import type { Leases } from './leases/leases.ts';
import { StealSession } from './session.ts';
import { takenText } from './share/meeting-place.ts';
import { ownerOfName } from './share/name-owner.ts';
import { Passage } from './share/passage.ts';
import { joinHolder, PEER_VERSION } from './share/peer-door.ts';
import { endSilentHolder, lookAtHolder } from './share/silent-holder.ts';
import type { StolenTarget, StolenTargets } from './stolen-target.ts';

/** For somebody to hold the target: its holder is going, or another one is coming. The agent waits for 10 s. */
const PATIENCE_MS = 8_000;
/** For what is no matter of a moment, mostly: a stranger has the name, or the last redirect is still on its way out. */
const SHORT_PATIENCE_MS = 500;
const AGAIN_MS = 20;

export type FrontSessionOptions = Readonly<{
  sessionId: string;
  stream: SessionStream;
  targets: StolenTargets;
  leases: Pick<Leases, 'formerPlace'>;
  logger: Logger;
  /** Came from a stealer that joined us for the target with this namespace: it is served here or not at all. */
  joinedFor: string | null;
}>;

export class FrontSession implements SessionHandlers {
  readonly #options: FrontSessionOptions;
  readonly #passage: Passage;
  #attach: AttachTarget | null = null;
  #handle: TargetHandle | null = null;
  /** At most one of both. */
  #held: StealSession | null = null;
  #joined: SessionStream | null = null;
  #isOpened = false;
  #isClosed = false;
  /** Of how the target came to be held here, for the user. */
  #notes: readonly string[] = [];

  constructor(options: FrontSessionOptions) {
    this.#options = options;
    this.#passage = new Passage((frame) => options.stream.send(frame));
  }

  onFrame(received: Frame): void | Promise<void> {
    const frame = this.#options.joinedFor === null ? this.#withPlace(received) : received;
    if (this.#held !== null) return this.#held.onFrame(frame);
    if (frame.kind === FrameKind.FRAME_KIND_SESSION_OPEN) {
      this.#open(frame);
    } else if (frame.kind === FrameKind.FRAME_KIND_SESSION_CLOSE) {
      this.#options.stream.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_CLOSED));
      this.#options.stream.end();
      this.#joined?.destroy();
    } else if (this.#attach === null) {
      throw new AppError('PROTOCOL_VIOLATION', 'a frame before the session is open');
    } else {
      return this.#passage.up(frame, this.#joined);
    }
    return undefined;
  }

  /** Only we know which place a session of our agent had; it had one when our forerunner was killed and the lease still runs. */
  #withPlace(frame: Frame): Frame {
    if (frame.kind !== FrameKind.FRAME_KIND_SUBSCRIBE || this.#handle === null) return frame;
    const wanted = decodeHead(Subscribe.decode, frame.head);
    const { leases, sessionId } = this.#options;
    const standing = wanted.isAgain
      ? leases.formerPlace(this.#handle.namespaceKey, wanted.port, sessionId, frame.id)
      : undefined;
    if (standing === wanted.standing) return frame;
    return makeFrame(frame.id, frame.kind, Subscribe.encode({ ...wanted, standing }).finish());
  }

  onClosed(error: AppError | null): void {
    this.#isClosed = true;
    this.#held?.onClosed(error);
    if (this.#handle !== null && this.#held !== null) this.#options.targets.detach(this.#handle);
    this.#joined?.destroy();
    this.#passage.forget();
    this.#handle?.close();
    this.#options.logger.info({ code: error?.code }, 'session closed');
  }

  #open({ head }: Frame): void {
    if (this.#attach !== null) throw new AppError('PROTOCOL_VIOLATION', 'the session is opened a second time');
    const { joinedFor, stream, logger } = this.#options;
    this.#attach = joinedFor === null ? decodeHead(AttachTarget.decode, head) : this.#attachOfPeer(head);
    const { pid, startTimeTicks } = this.#attach;
    try {
      this.#handle = TargetHandle.open({ pid, startTimeTicks }, () => this.#held?.onTargetEnded());
    } catch (thrown) {
      const error = AppError.from(thrown, 'BUG');
      logger.info({ target: pid, code: error.code }, 'target refused');
      stream.fail(error);
      return;
    }
    void this.#find();
  }

  #attachOfPeer(head: Uint8Array): AttachTarget {
    const { version, release, attach, nextId } = decodeHead(JoinTarget.decode, head);
    if (version !== PEER_VERSION) {
      throw new AppError(
        'UNSUPPORTED',
        `the target's connections are held by a stealer of mirrord ${VERSION}, which speaks version ${PEER_VERSION} with its ` +
          `like; this one, of mirrord ${release}, speaks ${version}: use the same mirrord in both agents`,
      );
    }
    if (attach === undefined) throw new AppError('PROTOCOL_VIOLATION', 'a stealer joins for no target');
    if (nextId > 0) this.#passage.nextId = nextId;
    return attach;
  }

  /**
   * Where the target is held: here, if that can be.
   *
   * @param before of a holder that has been silent
   */
  async #find(before: Look | null = null): Promise<void> {
    const { stream, logger, joinedFor } = this.#options;
    const startedMs = performance.now();
    let silence = before;
    while (!this.#isClosed) {
      try {
        if (this.#hold() || (await this.#join())) return;
        throw new AppError('SERVICE_UNAVAILABLE', 'the target is not held here any more');
      } catch (thrown) {
        let error = AppError.from(thrown, 'BUG');
        if (error.code === 'DEADLINE_EXCEEDED' && joinedFor === null) {
          try {
            silence = this.#meetSilence(silence);
            continue;
          } catch (met) {
            error = AppError.from(met, 'BUG');
          }
        }
        if (joinedFor !== null || !mayChange(error, performance.now() - startedMs)) {
          error = await this.#explained(error);
          logger.info({ target: this.#attach?.pid, code: error.code, reason: error.message }, 'target refused');
          // Lost later, it is told as a loss, and the agent tries again.
          stream.fail(this.#isOpened ? lost(error) : error);
          return;
        }
      }
      await delay(AGAIN_MS);
    }
  }

  /**
   * Whoever holds the target has not answered: once it is looked at, the second time it loses what it holds.
   *
   * @returns what was seen; null when the target is free
   */
  #meetSilence(before: Look | null): Look | null {
    const { namespaceFd } = this.#handle as TargetHandle;
    if (before === null) return lookAtHolder(namespaceFd);
    const who = endSilentHolder(namespaceFd, before);
    this.#options.logger.warn({ who }, 'ended a holder that stood still');
    this.#notes = [`${who}: it was ended, and its sessions come here`];
    return null;
  }

  /** With the process that keeps us out, where the refusal does not name it. */
  async #explained(error: AppError): Promise<AppError> {
    if (error.code !== 'SERVICE_UNAVAILABLE') return error;
    const owner = await ownerOfName(this.#attach?.pid ?? 0);
    if (owner === null) return error;
    return new AppError('NOT_PERMITTED', takenText(`${owner} has it and takes nobody in (${error.message})`), {
      cause: error,
    });
  }

  #hold(): boolean {
    const { sessionId, stream, targets, logger, joinedFor } = this.#options;
    const handle = this.#handle as TargetHandle;
    if (joinedFor !== null && handle.namespaceKey !== joinedFor) {
      throw new AppError('PROTOCOL_VIOLATION', 'a stealer joins for a target in another network');
    }
    const target = targets.attach(handle, joinedFor === null);
    if (target === null) return false;
    const pid = this.#attach?.pid ?? 0;
    const held = new StealSession({
      sessionId,
      // What we tell it again has been answered before.
      stream: {
        send: (frame) => this.#passage.isAnswered(frame) || stream.send(frame),
        end: () => stream.end(),
        get heardMs() {
          return stream.heardMs;
        },
      },
      pid,
      target,
      nextId: this.#passage.nextId,
      notes: this.#notes,
      logger,
    });
    if (!this.#isOpened) this.#opened(makeFrame(0, FrameKind.FRAME_KIND_SESSION_OPENED, factsHead(target)));
    for (const frame of this.#passage.again()) held.onFrame(frame);
    this.#held = held;
    this.#passage.forget();
    logger.info({ target: pid }, 'target is held here');
    return true;
  }

  /** False for who may not. */
  async #join(): Promise<boolean> {
    const { sessionId, logger, joinedFor } = this.#options;
    if (joinedFor !== null) return false;
    let settle: { resolve: (opened: Frame) => void; reject: (error: AppError) => void } | null = null;
    const opened = new Promise<Frame>((resolve, reject) => {
      settle = { resolve, reject };
    });
    opened.catch(() => undefined);
    let joined: SessionStream | null = null;
    joined = await joinHolder({
      namespaceFd: (this.#handle as TargetHandle).namespaceFd,
      sessionId,
      attach: this.#attach as AttachTarget,
      nextId: this.#passage.nextId ?? 0,
      onFrame: (frame) => {
        if (frame.kind === FrameKind.FRAME_KIND_SESSION_OPENED) settle?.resolve(frame);
        return this.#passage.down(frame, this.#options.stream);
      },
      onClosed: (error) => {
        settle?.reject(error ?? new AppError('SERVICE_UNAVAILABLE', 'who held the target has gone'));
        if (this.#joined === joined) this.#holderLost(error, joined !== null && isSilent(joined));
      },
    });
    if (this.#isClosed) joined.destroy();
    const frame = await withDeadline(opened, joined);
    if (this.#isClosed || joined.isClosed) return this.#isClosed;
    if (!this.#isOpened) this.#opened(frame);
    this.#joined = joined;
    for (const again of this.#passage.again()) joined.send(again);
    logger.info({ target: this.#attach?.pid }, 'target is held by another stealer, which is joined');
    return true;
  }

  /** Its lease is over, which counts as the first of two questions. */
  #lookAtSilent(): Look | null {
    try {
      return lookAtHolder((this.#handle as TargetHandle).namespaceFd);
    } catch {
      // It has gone by now, or will be asked what it is.
      return null;
    }
  }

  #opened(frame: Frame): void {
    this.#isOpened = true;
    this.#options.stream.send(frame);
  }

  #holderLost(error: AppError | null, isByItsSilence: boolean): void {
    this.#joined = null;
    if (this.#isClosed) return;
    this.#options.logger.info({ code: error?.code }, 'who held the target has gone');
    this.#passage.holderLost();
    void this.#find(isByItsSilence ? this.#lookAtSilent() : null);
  }
}

/** For the time of a lease. */
const isSilent = ({ heardMs }: SessionStream): boolean => performance.now() - heardMs >= LEASE_MS;

const factsHead = ({ method, notes }: StolenTarget): Uint8Array =>
  IncomingFacts.encode({ method, notes: [...notes] }).finish();

function lost(cause: AppError): AppError {
  return new AppError('SERVICE_UNAVAILABLE', `nobody holds the target's connections: ${cause.message}`, { cause });
}

/** Whether another try may hear something else. */
function mayChange({ code }: AppError, waitedMs: number): boolean {
  if (code === 'SERVICE_UNAVAILABLE' || code === 'DEADLINE_EXCEEDED') return waitedMs < PATIENCE_MS;
  return (code === 'NOT_PERMITTED' || code === 'LIMIT_REACHED') && waitedMs < SHORT_PATIENCE_MS;
}

async function withDeadline(opened: Promise<Frame>, joined: SessionStream): Promise<Frame> {
  const late = setTimeout(() => {
    const said = 'the stealer that holds the target does not answer';
    joined.destroy(new AppError('DEADLINE_EXCEEDED', said));
  }, PATIENCE_MS);
  try {
    return await opened;
  } finally {
    clearTimeout(late);
  }
}
