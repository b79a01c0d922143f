// Tokens that admit one session: `v1.SESSION_ID.EXPIRES_AT_S.MAC`, where MAC is HMAC-SHA256 over what stands before it, in
// base64url. Every process of a node that holds the session key can check one without asking anybody.

import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { AppError } from './errors.ts';

export const SESSION_KEY_BYTES = 32;
/** Longest token looked at: more than any of ours, less than a header worth hashing. */
const MAX_TOKEN_CHARS = 256;
const SESSION_ID = /^[a-z0-9](?:[a-z0-9-]{2,62}[a-z0-9])$/;
const EXPIRY = /^[1-9][0-9]{0,11}$/;

export interface VerifiedToken {
  readonly sessionId: string;
  readonly expiresAtS: number;
}

export function newSessionId(): string {
  return randomBytes(10).toString('hex');
}

/** A name that may stand in file names, iptables chains and NATS subjects. */
export function isSessionId(text: string): boolean {
  return SESSION_ID.test(text);
}

export function mintToken(key: Uint8Array, sessionId: string, ttlS: number, nowS = Date.now() / 1000): string {
  if (!isSessionId(sessionId)) throw new AppError('BUG', `session id ${JSON.stringify(sessionId)} is not one`);
  const claim = `v1.${sessionId}.${Math.ceil(nowS + ttlS)}`;
  return `${claim}.${mac(key, claim)}`;
}

/** Throws UNAUTHENTICATED, always with the same words: a forger learns nothing from the answer. */
export function verifyToken(key: Uint8Array, token: string, nowS = Date.now() / 1000): VerifiedToken {
  const [version, sessionId = '', expiry = '', given = '', ...rest] = token.slice(0, MAX_TOKEN_CHARS + 1).split('.');
  const expected = Buffer.from(mac(key, `v1.${sessionId}.${expiry}`));
  const claimed = Buffer.alloc(expected.length);
  claimed.write(given);
  const isGenuine = timingSafeEqual(expected, claimed) && given.length === expected.length;
  const isWellFormed = version === 'v1' && rest.length === 0 && isSessionId(sessionId) && EXPIRY.test(expiry);
  const expiresAtS = Number(expiry);
  if (!isGenuine || !isWellFormed || token.length > MAX_TOKEN_CHARS || !(nowS < expiresAtS)) throw refused();
  return { sessionId, expiresAtS };
}

/** Expired or not: enough for one who was admitted with it when it was young, and comes back. */
export function verifyFormerToken(key: Uint8Array, token: string): VerifiedToken {
  return verifyToken(key, token, 0);
}

/** What an end that knows the key answers a token with: who has none may take a place, but not be taken for us. */
export function proofOfKey(key: Uint8Array, token: string): string {
  return mac(key, `proof.${token}`);
}

/** The session key from its file's text: 64 hex digits. The text is never repeated in the error. */
export function parseSessionKey(text: string): Buffer {
  const hex = text.trim();
  if (!/^[0-9a-fA-F]{64}$/.test(hex)) {
    throw new AppError('CONFIG_INVALID', `session key must be 64 hex digits, not ${hex.length} characters`);
  }
  return Buffer.from(hex, 'hex');
}

function mac(key: Uint8Array, claim: string): string {
  if (key.length !== SESSION_KEY_BYTES) throw new AppError('BUG', `session key of ${key.length} bytes`);
  return createHmac('sha256', key).update(claim).digest('base64url');
}

function refused(): AppError {
  return new AppError('UNAUTHENTICATED', 'the session token is not accepted');
}
