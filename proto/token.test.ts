import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AppError } from './errors.ts';
import {
  isSessionId,
  mintToken,
  newSessionId,
  newSigningKey,
  parsePublicKey,
  parseSessionKey,
  proofOfKey,
  proofOfReturn,
  signToken,
  verifyReturn,
  verifyToken,
} from './token.ts';

const key = Buffer.alloc(32, 1);
const nowS = 1_800_000_000;
const token = mintToken(key, 'session-one', 60, nowS);

/** Every refusal reads the same. */
function expectRefused(act: () => unknown): void {
  let thrown: unknown;
  try {
    act();
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(AppError);
  expect(thrown).toMatchObject({ code: 'UNAUTHENTICATED', message: 'the session token is not accepted' });
}

test('a token admits its session until it expires', () => {
  expect(verifyToken(key, token, nowS + 59)).toEqual({ sessionId: 'session-one', expiresAtS: nowS + 60 });
  expectRefused(() => verifyToken(key, token, nowS + 60));
});

describe('is refused:', () => {
  const [version, id, expiry, mac] = token.split('.') as [string, string, string, string];
  test.each([
    ['the token of another key', mintToken(Buffer.alloc(32, 2), 'session-one', 60, nowS)],
    ['another session id', [version, 'session-two', expiry, mac].join('.')],
    ['a later expiry', [version, id, `${nowS + 9_999}`, mac].join('.')],
    ['another version', ['v2', id, expiry, mac].join('.')],
    ['a part more', `${token}.x`],
    ['a longer MAC', `${token}A`],
    ['a shorter MAC', token.slice(0, -1)],
    ['no MAC', [version, id, expiry, ''].join('.')],
    ['nothing', ''],
    ['a very long text', 'v1.'.repeat(10_000)],
    ['letters of two bytes', [version, id, expiry, 'ü'.repeat(43)].join('.')],
  ])('%s', (_, forged) => expectRefused(() => verifyToken(key, forged, nowS)));

  test('every change of one character', () => {
    fc.assert(
      fc.property(fc.nat(token.length - 1), fc.constantFrom('A', '0', '.', '-', 'z'), (at, character) => {
        const changed = token.slice(0, at) + character + token.slice(at + 1);
        if (changed !== token) expectRefused(() => verifyToken(key, changed, nowS));
      }),
    );
  });

  test('any text', () => {
    fc.assert(fc.property(fc.string(), (text) => expectRefused(() => verifyToken(key, text, nowS))));
  });
});

test('a new session id may stand in a name', () => {
  expect(isSessionId(newSessionId())).toBe(true);
  for (const bad of ['', 'abc', 'UPPER-case', 'with.dot', '-edge', 'edge-', 'x'.repeat(65)]) {
    expect(isSessionId(bad), bad).toBe(false);
  }
});

test('a key is 64 hex digits, and a bad one is not repeated in the error', () => {
  expect(parseSessionKey(`${'ab'.repeat(32)}\n`)).toEqual(Buffer.alloc(32, 0xab));
  expect(() => parseSessionKey('geheim')).toThrow('not 6 characters');
});

test('a proof of the key is of one key and one token, and no token', () => {
  const [one, other] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
  const token = mintToken(one, 'session-one', 60);
  const proof = proofOfKey(one, token);
  expect(proofOfKey(other, token)).not.toBe(proof);
  expect(proofOfKey(one, mintToken(one, 'session-two', 60))).not.toBe(proof);
  expect(token).not.toContain(proof);
});

describe('a signed token', () => {
  const { privateKey, publicKey } = newSigningKey();
  const door = parsePublicKey(publicKey);
  const signed = signToken(privateKey, 'session-one', 60, nowS);

  test('admits its session until it expires, where the public key is known', () => {
    expect(verifyToken(door, signed, nowS + 59)).toEqual({ sessionId: 'session-one', expiresAtS: nowS + 60 });
    expectRefused(() => verifyToken(door, signed, nowS + 60));
  });

  test('is refused when one character is changed, or another key signed it', () => {
    fc.assert(
      fc.property(fc.nat(signed.length - 1), fc.constantFrom('A', '0', '.', '-', 'z', '='), (at, character) => {
        const changed = signed.slice(0, at) + character + signed.slice(at + 1);
        if (changed !== signed) expectRefused(() => verifyToken(door, changed, nowS));
      }),
    );
    expectRefused(() => verifyToken(door, `${signed}=`, nowS));
    expectRefused(() => verifyToken(door, signToken(newSigningKey().privateKey, 'session-one', 60, nowS), nowS));
  });

  test('and a minted one do not open the doors of each other', () => {
    expectRefused(() => verifyToken(door, token, nowS));
    expectRefused(() => verifyToken(key, signed, nowS));
    expectRefused(() =>
      verifyToken(door, mintToken(Buffer.from(publicKey).subarray(0, 32), 'session-one', 60, nowS), nowS),
    );
  });

  test('comes back with a proof of its own private key for each attempt', () => {
    const proof = proofOfReturn(privateKey, signed, 1, 7);
    verifyReturn(door, signed, 1, 7, proof);
    expectRefused(() => verifyReturn(door, signed, 2, 7, proof));
    expectRefused(() => verifyReturn(door, signed, 1, 8, proof));
    expectRefused(() => verifyReturn(door, signed, 1, 7, signed.split('.')[3] ?? ''));
    expectRefused(() => verifyReturn(door, signed, 1, 7, proofOfReturn(newSigningKey().privateKey, signed, 1, 7)));
  });

  test('comes from a key whose public half is no secret and whose text must be one', () => {
    expect(publicKey).toMatch(/^[A-Za-z0-9+/]{59}=$/);
    for (const text of ['', 'nonsense', Buffer.alloc(44).toString('base64')]) {
      expect(() => parsePublicKey(text)).toThrow(/is no Ed25519 key/);
    }
  });
});
