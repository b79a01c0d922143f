// What a session stream is made with: its transport, how its peer is called, and who hears of frames and the end.

import type { FrameTransport } from './carrier.ts';
import { AppError, type AppErrorCode } from './errors.ts';
import type { Frame } from './frame.ts';
import { LIVENESS_TIMES, type LivenessTimes } from './liveness.ts';

export interface SessionHandlers {
  /**
   * Every frame that is not the stream's own (CREDIT of id 0, PING, PONG, SESSION_ERROR). The data's credit is given back
   * when this returns, or when the promise it returns settles: return one while the bytes wait to be handed on. What it
   * throws fails the session. Head and data are views into a received batch: copy what is kept for long.
   */
  onFrame(frame: Frame): void | Promise<void>;
  /** Once, at the end. null: both sides had agreed to close (SESSION_CLOSED). */
  onClosed(error: AppError | null): void;
  /** The connection is gone and another is waited for; or it has come. */
  onParked?(isParked: boolean): void;
}

export interface SessionStreamOptions extends SessionHandlers {
  transport: FrameTransport;
  /** How the peer is called in messages: "agent", "client", "fs-env". */
  peer: string;
  /** Code of the error when the peer vanishes. */
  lostCode: AppErrorCode;
  creditBytes?: number;
  liveness?: LivenessTimes;
  now?: () => number;
}

/** Why it ends when the peer is silent for too long, or has announced its silence and does not come back. */
export function silenceError(
  silence: 'lost' | 'overslept',
  { lostCode, peer, liveness = LIVENESS_TIMES }: SessionStreamOptions,
): AppError {
  if (silence === 'lost') return new AppError(lostCode, `the ${peer} has been silent for too long`);
  const minutes = Math.round(liveness.suspendedLostAfterMs / 60_000);
  return new AppError(lostCode, `the ${peer} was stopped (Ctrl-Z) for more than ${minutes} minutes`);
}

export function goneError({ lostCode, peer }: SessionStreamOptions): AppError {
  return new AppError(lostCode, `the ${peer} ended the stream without closing the session`);
}
