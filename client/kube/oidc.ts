// The auth-provider `oidc` of a kubeconfig: its id-token while it is valid, and a new one for its refresh-token then, as kubectl
// does it. Refresh tokens may change with every use, so the new one is written where the old one stood, or nothing is asked.

import type { ClusterSettings } from './config.ts';
import type { Credentials } from './credentials.ts';
import { type Entry, type Fields, optionalText } from './kubeconfig.ts';
import { expired, expiryOf } from './oidc-token.ts';

/** A token that ends while it is on its way is none. */
const EARLY_MS = 10_000;

export function oidcCredentials(config: Fields, user: Entry, place: string, settings: ClusterSettings): Credentials {
  const hasRefresh = optionalText(config, 'refresh-token', place) !== null;
  let token = optionalText(config, 'id-token', place);
  let isRefused = false;
  let renewing: Promise<string> | null = null;
  const renewed = (signal: AbortSignal) => {
    const refused = isRefused ? token : null;
    renewing ??= import('./oidc-renewal.ts')
      .then(({ renewLogin }) => renewLogin({ user, place, settings, refused, signal }))
      .finally(() => {
        renewing = null;
      });
    return renewing;
  };
  return {
    kind: 'OpenID Connect token',
    headers: async (signal) => {
      const endsMs = token === null ? 0 : (expiryOf(token) ?? Number.POSITIVE_INFINITY);
      if (token === null || isRefused || endsMs - EARLY_MS < Date.now()) {
        if (!hasRefresh) {
          const ended = `expired at ${new Date(endsMs).toISOString()}`;
          throw expired(place, `${token === null ? 'has no id-token' : ended}, and there is no refresh-token`);
        }
        token = await renewed(signal);
        isRefused = false;
      }
      return { authorization: `Bearer ${token}` };
    },
    certificate: async () => null,
    renew: () => {
      if (!hasRefresh || isRefused) return false;
      isRefused = true;
      return true;
    },
  };
}
