// The auth-provider `oidc` of a kubeconfig: its id-token while it is valid. It is not renewed here: the refresh token changes
// with every use, and only who writes the kubeconfig can keep the new one.

import { AppError } from '#proto/errors.ts';
import type { Credentials } from './credentials.ts';
import { type Fields, optionalText } from './kubeconfig.ts';

export function oidcToken(config: Fields, place: string): Credentials {
  const token = optionalText(config, 'id-token', place);
  return {
    kind: 'OpenID Connect token',
    headers: async () => {
      if (token === null) throw expired(place, 'has no id-token');
      const expiresAtS = expiryOf(token);
      if (expiresAtS !== null && expiresAtS * 1000 < Date.now()) {
        throw expired(place, `expired at ${new Date(expiresAtS * 1000).toISOString()}`);
      }
      return { authorization: `Bearer ${token}` };
    },
    certificate: async () => null,
    renew: () => false,
  };
}

/** `exp` of a JSON Web Token (RFC 7519 section 4.1.4); null where it cannot be seen. */
function expiryOf(token: string): number | null {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
    const { exp } = Object(claims) as { exp?: unknown };
    return typeof exp === 'number' ? exp : null;
  } catch {
    return null;
  }
}

function expired(place: string, what: string): AppError {
  return new AppError('UNAUTHENTICATED', `the OpenID Connect login of ${place} ${what}`, {
    data: { advice: '`kubectl get pods` renews it in the kubeconfig; or use the credential plugin kubelogin (exec).' },
  });
}
