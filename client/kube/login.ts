// As whom a cluster is asked. The Kubernetes library knows tokens, passwords, certificates and proxies, and makes of them what a
// request bears; what it cannot do within our promises joins it as an authenticator (exec-plugin.ts, oidc.ts). It is asked for
// each request, because files are renewed and plugins' answers expire.

import type { OutgoingHttpHeaders } from 'node:http';
import type { RequestOptions } from 'node:https';
import path from 'node:path';
import { type Cluster, KubeConfig, type User } from '@kubernetes/client-node';
import { AppError } from '#proto/errors.ts';
import type { ClusterSettings } from './config.ts';
import { ExecPlugin } from './exec-plugin.ts';
import { type Fields, fault, isFields, optionalText, requireFile } from './kubeconfig.ts';
import { OidcLogin } from './oidc.ts';

export type Authenticator = Parameters<KubeConfig['addAuthenticator']>[0];

/** Authenticators of ours are asked only for what none of the library's own takes for its. */
const OURS = 'mirrord';

/** One that can be told that the server did not know us. */
export interface OwnAuthenticator extends Authenticator {
  readonly kind: string;
  /** Forgets what may be stale. False when there is nothing newer to be had. */
  renew(): boolean;
}

export interface UserEntry {
  readonly user: User;
  /** Of its fields, what the library does not read. */
  readonly more: Fields;
  readonly file: string;
}

export interface ClusterEntry {
  readonly cluster: Cluster;
  readonly more: Fields;
  readonly file: string;
}

const TEXTS = ['token', 'username', 'password', 'certData', 'certFile', 'keyData', 'keyFile'] as const;

export class Login {
  /** In a few words, for people and without the secret: `token`, `client certificate`. */
  readonly kind: string;
  readonly #cluster: Cluster;
  readonly #user: User;
  readonly #own: OwnAuthenticator | null;
  readonly #impersonation: OutgoingHttpHeaders;
  readonly #place: string;

  /** `entry` null: nobody in particular. Throws CONFIG_INVALID for an entry that cannot be followed. */
  constructor(cluster: ClusterEntry, entry: UserEntry | null, settings: ClusterSettings) {
    const { user, more, file } = entry ?? { user: { name: 'nobody' }, more: {}, file: cluster.file };
    this.#place = `${file}, user ${JSON.stringify(user.name)}`;
    for (const name of TEXTS) optionalText(user, name, this.#place);
    this.#cluster = cluster.cluster;
    const { kind, own, ...chosen } = chosenOf({ user, more, file }, cluster, settings, this.#place);
    this.#own = own;
    this.#user = { ...withoutSecrets(user), ...chosen };
    this.#impersonation = impersonationOf(user, more, this.#place);
    const as = optionalText(user, 'impersonateUser', this.#place);
    this.kind = as === null ? kind : `${kind}, acting as ${as}`;
  }

  /**
   * What every request bears: headers, the certificate and an agent for new connections. Rejects with UNAUTHENTICATED where a
   * plugin gives none.
   */
  async options(signal: AbortSignal): Promise<RequestOptions> {
    checkCertificate(this.#user, this.#place);
    try {
      const options = await optionsOf(this.#cluster, this.#user, this.#own, signal);
      return { ...options, headers: { ...options.headers, ...this.#impersonation } };
    } catch (error) {
      if (error instanceof AppError) throw error;
      throw fault(this.#place, String(Object(error).message), error);
    }
  }

  /** The server did not know us: forget what may be stale. False when there is nothing newer to be had. */
  renew(): boolean {
    return this.#own?.renew() ?? false;
  }
}

/** What the library makes of a cluster and a user. It reads a token file once a minute: a fresh one of it reads it now. */
export async function optionsOf(
  cluster: Cluster,
  user: User,
  own: Authenticator | null,
  signal: AbortSignal,
): Promise<RequestOptions> {
  const kube = new KubeConfig();
  kube.loadFromClusterAndUser(cluster, user);
  if (own !== null) kube.addAuthenticator(own);
  const options: RequestOptions = { signal, headers: {}, rejectUnauthorized: !cluster.skipTLSVerify };
  await kube.applyToHTTPSOptions(options);
  const { headers = {}, ...others } = options;
  const named = Object.entries(headers).map(([name, value]) => {
    // A token file may end with a line break, which no header may.
    return [name.toLowerCase(), typeof value === 'string' ? value.trim() : value];
  });
  return { ...others, headers: Object.fromEntries(named) };
}

type Chosen = Pick<User, 'token' | 'username' | 'password' | 'authProvider'> & {
  readonly kind: string;
  readonly own: OwnAuthenticator | null;
};

/** One of what a user offers, in the precedence of kubectl; certificates go beside it. */
function chosenOf(entry: UserEntry, cluster: ClusterEntry, settings: ClusterSettings, place: string): Chosen {
  const { user, more, file } = entry;
  const tokenFile = optionalText(more, 'tokenFile', place);
  if (tokenFile !== null) {
    const config = { tokenFile: path.resolve(path.dirname(file), tokenFile) };
    return { kind: 'token file', own: null, authProvider: { name: 'tokenFile', config } };
  }
  const { token, username, password = '' } = user;
  if (token) return { kind: 'token', own: null, token };
  if (username) return { kind: 'password', own: null, username, password };
  const provider: unknown = user.authProvider;
  // Already made by the library: the service account of a pod.
  if (Object(provider).name === 'tokenFile') return { kind: 'token file', own: null, authProvider: provider };
  const own = isFields(user.exec)
    ? new ExecPlugin(user.exec, { entry, cluster, settings })
    : isFields(provider)
      ? providerOf(provider, entry, place, settings)
      : null;
  if (own !== null) return { kind: own.kind, own, authProvider: { name: OURS } };
  return { kind: user.certData || user.certFile ? 'client certificate' : 'no credentials', own: null };
}

export function isOurs(user: User): boolean {
  return Object(user.authProvider).name === OURS;
}

export function withToken(headers: RequestOptions['headers'], token: string): OutgoingHttpHeaders {
  return { ...(headers as OutgoingHttpHeaders | undefined), authorization: `Bearer ${token}` };
}

/** Data goes before a file, where the library has it the other way round. */
function withoutSecrets({ name, certData, certFile, keyData, keyFile, impersonateUser }: User): User {
  return {
    name,
    ...(certData ? { certData } : certFile ? { certFile } : {}),
    ...(keyData ? { keyData } : keyFile ? { keyFile } : {}),
    ...(impersonateUser ? { impersonateUser } : {}),
  };
}

/** Both halves, or none. */
function checkCertificate({ certData, certFile, keyData, keyFile }: User, place: string): void {
  const [hasCert, hasKey] = [Boolean(certData || certFile), Boolean(keyData || keyFile)];
  if (hasKey && !hasCert) throw fault(place, 'client-key is set but client-certificate is not');
  if (hasCert && !hasKey) throw fault(place, 'client-certificate is set but client-key is not');
  requireFile(certFile, 'client-certificate', place);
  requireFile(keyFile, 'client-key', place);
}

/** Those that were compiled into kubectl until 1.26; only oidc is left there, and here. */
function providerOf(provider: Fields, entry: UserEntry, place: string, settings: ClusterSettings): OwnAuthenticator {
  const name = optionalText(provider, 'name', place);
  if (name === 'oidc' && isFields(provider['config'])) {
    return new OidcLogin(provider['config'], entry, place, settings);
  }
  const plugin = name === 'gcp' ? 'gke-gcloud-auth-plugin' : name === 'azure' ? 'kubelogin' : 'a credential plugin';
  throw fault(place, `auth-provider ${JSON.stringify(name)} is gone from Kubernetes since 1.26; use ${plugin} (exec)`);
}

/** `as-uid`, `as-groups` and `as-user-extra` to the headers of "User impersonation"; the library knows only `as`. */
function impersonationOf(user: User, more: Fields, place: string): OutgoingHttpHeaders {
  const name = optionalText(user, 'impersonateUser', place);
  const uid = optionalText(more, 'as-uid', place);
  const groups = Array.isArray(more['as-groups']) ? more['as-groups'].map(String) : [];
  const extra = isFields(more['as-user-extra']) ? Object.entries(more['as-user-extra']) : [];
  if (name === null && (uid !== null || groups.length > 0 || extra.length > 0)) {
    throw fault(place, 'as-uid, as-groups and as-user-extra want as');
  }
  return {
    ...(uid === null ? {} : { 'impersonate-uid': uid }),
    ...(groups.length === 0 ? {} : { 'impersonate-group': groups }),
    ...Object.fromEntries(
      extra.map(([key, values]) => [
        `impersonate-extra-${encodeURIComponent(key.toLowerCase())}`,
        (Array.isArray(values) ? values : [values]).map(String),
      ]),
    ),
  };
}
