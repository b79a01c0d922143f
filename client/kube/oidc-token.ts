// What can be read of an OpenID Connect token without its provider, and what is said when it is of no use. Pure.

import { AppError } from '#proto/errors.ts';

/** `exp` of a JSON Web Token (RFC 7519 section 4.1.4), in milliseconds; null where it cannot be seen. */
export function expiryOf(token: string): number | null {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
    const { exp } = Object(claims) as { exp?: unknown };
    return typeof exp === 'number' ? exp * 1_000 : null;
  } catch {
    return null;
  }
}

export function expired(place: string, what: string, cause?: unknown): AppError {
  return new AppError('UNAUTHENTICATED', `the OpenID Connect login of ${place} ${what}`, {
    cause,
    data: { advice: 'log in anew with the tool that wrote it; or use the credential plugin kubelogin (exec).' },
  });
}
