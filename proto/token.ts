// Tokens that admit one session, in two versions. `v1.SESSION_ID.EXPIRES_AT_S.MAC`: HMAC-SHA256 over what stands before it,
// in base64url; every process of a node that holds the session key can mint and check one without asking anybody.
// `v2.SESSION_ID.EXPIRES_AT_S.SIGNATURE`: Ed25519, for an agent in a pod, which is told the public key where everybody who
// may read pods can read it. A door takes one version, that of the key it was given.

import {
  createHmac,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  timingSafeEqual,
  verify,
} from 'node:crypto';
import { AppError } from './errors.ts';

export const SESSION_KEY_BYTES = 32;
/** Longest token looked at: more than any of ours, less than a header worth hashing. */
const MAX_TOKEN_CHARS = 256;
const SESSION_ID = /^[a-z0-9](?:[a-z0-9-]{2,62}[a-z0-9])$/;
const EXPIRY = /^[1-9][0-9]{0,11}$/;

/** What a door checks tokens with: the shared session key, or the public key of the one client it is for. */
export type AdmissionKey = Uint8Array | KeyObject;

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

/** The public key is in base64, DER of SPKI. The private one never leaves the process that calls this. */
export function newSigningKey(): { privateKey: KeyObject; publicKey: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return { privateKey, publicKey: publicKey.export({ format: 'der', type: 'spki' }).toString('base64') };
}

/** Throws CONFIG_INVALID for what is no Ed25519 key. */
export function parsePublicKey(text: string): KeyObject {
  try {
    const key = createPublicKey({ key: Buffer.from(text, 'base64'), format: 'der', type: 'spki' });
    if (key.asymmetricKeyType === 'ed25519') return key;
  } catch {
    // Refused below: what the library says of it helps nobody.
  }
  throw new AppError('CONFIG_INVALID', `public key of ${text.length} characters is no Ed25519 key in base64`);
}

export function signToken(privateKey: KeyObject, sessionId: string, ttlS: number, nowS = Date.now() / 1000): string {
  if (!isSessionId(sessionId)) throw new AppError('BUG', `session id ${JSON.stringify(sessionId)} is not one`);
  const claim = `v2.${sessionId}.${Math.ceil(nowS + ttlS)}`;
  return `${claim}.${sign(null, Buffer.from(claim), privateKey).toString('base64url')}`;
}

/** Throws UNAUTHENTICATED, always with the same words: a forger learns nothing from the answer. */
export function verifyToken(key: AdmissionKey, token: string, nowS = Date.now() / 1000): VerifiedToken {
  const [version, sessionId = '', expiry = '', given = '', ...rest] = token.slice(0, MAX_TOKEN_CHARS + 1).split('.');
  const wanted = key instanceof Uint8Array ? 'v1' : 'v2';
  const claim = `${wanted}.${sessionId}.${expiry}`;
  const isGenuine = key instanceof Uint8Array ? hasMac(key, claim, given) : hasSignature(key, claim, given);
  const isWellFormed = version === wanted && rest.length === 0 && isSessionId(sessionId) && EXPIRY.test(expiry);
  const expiresAtS = Number(expiry);
  if (!isGenuine || !isWellFormed || token.length > MAX_TOKEN_CHARS || !(nowS < expiresAtS)) throw refused();
  return { sessionId, expiresAtS };
}

/** Expired or not: enough for one who was admitted with it when it was young, and comes back. */
export function verifyFormerToken(key: AdmissionKey, token: string): VerifiedToken {
  return verifyToken(key, token, 0);
}

/**
 * What an end that knows the key answers a token with: who has none may take a place, but not be taken for us. Empty for a
 * public key, which proves nothing: there the cluster's API vouches for who is reached.
 */
export function proofOfKey(key: AdmissionKey, token: string): string {
  return key instanceof Uint8Array ? mac(key, `proof.${token}`) : '';
}

/**
 * What a client shows beside its token when it comes back: made for this one attempt with what only it has, the session key
 * or its private key. Who saw the calls of an earlier attempt has the token, and cannot make the next.
 */
export function proofOfReturn(key: AdmissionKey, token: string, attempt: number, received: number): string {
  const claim = returnClaim(token, attempt, received);
  return key instanceof Uint8Array ? mac(key, claim) : sign(null, Buffer.from(claim), key).toString('base64url');
}

/** Throws UNAUTHENTICATED in the words of a token that is refused. `key` is the door's. */
export function verifyReturn(key: AdmissionKey, token: string, attempt: number, received: number, given: string): void {
  const claim = returnClaim(token, attempt, received);
  const isGenuine = key instanceof Uint8Array ? hasMac(key, claim, given) : hasSignature(key, claim, given);
  if (!isGenuine) throw refused();
}

/** No token and no proof of a key begins with this word. */
function returnClaim(token: string, attempt: number, received: number): string {
  return `return.${token}.${attempt}.${received}`;
}

/** The session key from its file's text: 64 hex digits. The text is never repeated in the error. */
export function parseSessionKey(text: string): Buffer {
  const hex = text.trim();
  if (!/^[0-9a-fA-F]{64}$/.test(hex)) {
    throw new AppError('CONFIG_INVALID', `session key must be 64 hex digits, not ${hex.length} characters`);
  }
  return Buffer.from(hex, 'hex');
}

function hasMac(key: Uint8Array, claim: string, given: string): boolean {
  const expected = Buffer.from(mac(key, claim));
  const claimed = Buffer.alloc(expected.length);
  claimed.write(given);
  return timingSafeEqual(expected, claimed) && given.length === expected.length;
}

/** In its one spelling only: base64url has several for the same bytes. */
function hasSignature(key: KeyObject, claim: string, given: string): boolean {
  const signature = Buffer.from(given, 'base64url');
  return signature.toString('base64url') === given && verify(null, Buffer.from(claim), key, signature);
}

function mac(key: Uint8Array, claim: string): string {
  if (key.length !== SESSION_KEY_BYTES) throw new AppError('BUG', `session key of ${key.length} bytes`);
  return createHmac('sha256', key).update(claim).digest('base64url');
}

function refused(): AppError {
  return new AppError('UNAUTHENTICATED', 'the session token is not accepted');
}
