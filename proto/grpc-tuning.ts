// How a session rides on gRPC: path, metadata names, and the HTTP/2 settings without which node moves a fifth of the bytes
// or stands still. Both ends (dial.ts, services/runtime) take them from here.

import type { Settings } from 'node:http2';
import { MOST_CREDIT_BYTES } from './credits.ts';

export type SessionService = 'Gateway' | 'FsEnv' | 'Sniffer' | 'Stealer';

/** `up` or `down`: which of the two calls of a session this is. */
export const DIRECTION_KEY = 'mirrord-direction';
/** `Bearer TOKEN` (token.ts). */
export const AUTHORIZATION_KEY = 'authorization';
/** In the head of an accepted call's answer: that the server knows the key too (token.ts, proofOfKey). */
export const PROOF_KEY = 'mirrord-proof';
/** Asked for, and granted in the answer: for how long the session is kept without connections. Of renewal, as these three: */
export const GRACE_KEY = 'mirrord-grace-ms';
/** Which of the client's tries to go on this is. */
export const ATTEMPT_KEY = 'mirrord-attempt';
/** That this attempt is the client's own (token.ts, proofOfReturn). */
export const RETURN_KEY = 'mirrord-return';
/** The last batch that the writer of the header has received. */
export const RECEIVED_KEY = 'mirrord-received';

/** A header that is a number as we write them; null for none and for any other text. */
export function readCount(header: string | string[] | undefined): number | null {
  if (typeof header !== 'string' || !/^(?:0|[1-9][0-9]{0,15})$/.test(header)) return null;
  const count = Number(header);
  return Number.isSafeInteger(count) ? count : null;
}

/** In the trailers of a call that failed: an ErrorDetail. */
export const ERROR_KEY = 'mirrord-error-bin';

/** A peer that has not opened, answered and closed within these is not served further. */
export const PAIRING_DEADLINE_MS = 10_000;

/** In MB, as node wants it: above all that a session may have on its way, so that our own limits are the ones that act. */
export const SESSION_MEMORY_MB = 64;

export function sessionPath(service: SessionService): string {
  return `/mirrord.v1.${service}/Session`;
}

/**
 * HTTP/2 window in bytes that a call begins with, stream and connection alike; on a unix socket there is no round trip. Node
 * peers that both write on one connection can wait for each other for ever once the window is beyond the socket's kernel
 * buffer, so either connection of a session carries bulk in one direction only, and its DATA goes past node.
 */
export function windowBytes(address: string): number {
  return address.startsWith('unix:') ? 1024 * 1024 : 4 * 1024 * 1024;
}

/** What of a grown window is granted again in one. */
export const GROWN_STEP_BYTES = 2 * 1024 * 1024;

/**
 * What it grows to when a call that is known has brought one window: above what a session has on its way and what is not
 * granted again yet, as the first is.
 */
export function grownWindowBytes(address: string): number {
  return address.startsWith('unix:') ? windowBytes(address) : MOST_CREDIT_BYTES + GROWN_STEP_BYTES + 1024 * 1024;
}

/** Whole messages (MAX_BATCH_BYTES) in one frame, so that they lie in one piece when they arrive. */
export const MAX_HTTP2_FRAME_BYTES = 464 * 1024;

export function http2Settings(address: string): Settings {
  return {
    initialWindowSize: windowBytes(address),
    maxFrameSize: MAX_HTTP2_FRAME_BYTES,
    enablePush: false,
    // A connection of ours carries one call; the rest is room for a call that is being refused.
    maxConcurrentStreams: 8,
  };
}
