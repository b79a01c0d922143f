// The auth-provider `oidc` of a kubeconfig: its id-token while it is valid, and a new one for its refresh-token then, as kubectl
// does it. Refresh tokens may change with every use, so the new one is written where the old one stood, or nothing is asked. The
// library's own keeps it in memory and so loses it, knows no client secret and no authority of a provider, and waits for ever.

import type { RequestOptions } from 'node:https';
import type { User } from '@kubernetes/client-node';
import type { ClusterSettings } from './config.ts';
import { type Fields, optionalText } from './kubeconfig.ts';
import { isOurs, type OwnAuthenticator, type UserEntry, withToken } from './login.ts';
import { expired, expiryOf } from './oidc-token.ts';

/** A token that ends while it is on its way is none. */
const EARLY_MS = 10_000;

export class OidcLogin implements OwnAuthenticator {
  readonly kind = 'OpenID Connect token';
  readonly #entry: UserEntry;
  readonly #place: string;
  readonly #settings: ClusterSettings;
  readonly #hasRefresh: boolean;
  #token: string | null;
  #isRefused = false;
  #renewing: Promise<string> | null = null;

  constructor(config: Fields, entry: UserEntry, place: string, settings: ClusterSettings) {
    this.#entry = entry;
    this.#place = place;
    this.#settings = settings;
    this.#hasRefresh = optionalText(config, 'refresh-token', place) !== null;
    this.#token = optionalText(config, 'id-token', place);
  }

  isAuthProvider(user: User): boolean {
    return isOurs(user);
  }

  async applyAuthentication(_user: User, options: RequestOptions): Promise<void> {
    const token = await this.#current(options.signal ?? new AbortController().signal);
    options.headers = withToken(options.headers, token);
  }

  renew(): boolean {
    if (!this.#hasRefresh || this.#isRefused) return false;
    this.#isRefused = true;
    return true;
  }

  async #current(signal: AbortSignal): Promise<string> {
    const token = this.#token;
    const endsMs = token === null ? 0 : (expiryOf(token) ?? Number.POSITIVE_INFINITY);
    if (token !== null && !this.#isRefused && endsMs - EARLY_MS >= Date.now()) return token;
    if (!this.#hasRefresh) {
      const ended = `expired at ${new Date(endsMs).toISOString()}`;
      throw expired(this.#place, `${token === null ? 'has no id-token' : ended}, and there is no refresh-token`);
    }
    this.#token = await this.#renewed(signal);
    this.#isRefused = false;
    return this.#token;
  }

  /** One renewal serves everybody who waits. */
  #renewed(signal: AbortSignal): Promise<string> {
    const renewal = {
      user: this.#entry.user,
      file: this.#entry.file,
      place: this.#place,
      settings: this.#settings,
      refused: this.#isRefused ? this.#token : null,
      signal,
    };
    this.#renewing ??= import('./oidc-renewal.ts')
      .then(({ renewLogin }) => renewLogin(renewal))
      .finally(() => {
        this.#renewing = null;
      });
    return this.#renewing;
  }
}
