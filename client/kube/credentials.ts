// As whom the cluster is asked: what a user entry of a kubeconfig offers, in the precedence of kubectl. A credential is asked
// for each request and connection, because files are renewed and plugins' answers expire.

import { readFile } from 'node:fs/promises';
import type { ClusterSettings } from './config.ts';
import { ExecPlugin } from './exec-plugin.ts';
import { dataOrFile, type Entry, type Fields, fault, isFields, optionalPath, optionalText } from './kubeconfig.ts';
import { oidcCredentials } from './oidc.ts';

/** Several values of one name are several headers. */
export type Headers = Readonly<Record<string, string | string[]>>;

export interface ClientCertificate {
  readonly cert: Buffer;
  readonly key: Buffer;
}

export interface Credentials {
  /** In a few words, for people and without the secret: `token`, `client certificate`. */
  readonly kind: string;
  /** What every request bears. Rejects with UNAUTHENTICATED where a plugin gives none. */
  headers(signal: AbortSignal): Promise<Headers>;
  /** What a TLS connection bears; null for none. */
  certificate(signal: AbortSignal): Promise<ClientCertificate | null>;
  /** The server did not know us: forget what may be stale. False when there is nothing newer to be had. */
  renew(): boolean;
}

/** `user` null: nobody in particular. */
export function credentialsOf(user: Entry | null, cluster: Entry, settings: ClusterSettings): Credentials {
  if (user === null) return anonymous;
  const base = baseOf(user, cluster, settings);
  const impersonation = impersonationOf(user.fields, user.file);
  if (Object.keys(impersonation).length === 0) return base;
  return {
    kind: `${base.kind}, acting as ${String(impersonation['impersonate-user'])}`,
    headers: async (signal) => ({ ...(await base.headers(signal)), ...impersonation }),
    certificate: (signal) => base.certificate(signal),
    renew: () => base.renew(),
  };
}

const anonymous: Credentials = {
  kind: 'no credentials',
  headers: async () => ({}),
  certificate: async () => null,
  renew: () => false,
};

function baseOf(user: Entry, cluster: Entry, settings: ClusterSettings): Credentials {
  const { fields, file } = user;
  const place = `${file}, user ${JSON.stringify(user.name)}`;
  const certificate = certificateOf(user, place);
  const tokenFile = optionalPath(user, 'tokenFile');
  if (tokenFile !== null) return withCertificate(tokenFileCredentials(tokenFile), certificate);
  const token = optionalText(fields, 'token', place);
  if (token !== null) return withCertificate(fixed('token', { authorization: `Bearer ${token}` }), certificate);
  const name = optionalText(fields, 'username', place);
  if (name !== null) {
    const password = optionalText(fields, 'password', place) ?? '';
    const authorization = `Basic ${Buffer.from(`${name}:${password}`).toString('base64')}`;
    return withCertificate(fixed('password', { authorization }), certificate);
  }
  if (isFields(fields['exec'])) return new ExecPlugin(fields['exec'], { user, cluster, settings, certificate });
  if (isFields(fields['auth-provider'])) return providerOf(fields['auth-provider'], user, place, settings);
  return certificate === null ? anonymous : withCertificate({ ...anonymous, kind: 'client certificate' }, certificate);
}

/** Both halves, or none. */
function certificateOf(user: Entry, place: string): (() => ClientCertificate) | null {
  const { fields } = user;
  const has = (name: string) => Boolean(fields[`${name}-data`] || fields[name]);
  if (!has('client-certificate') && !has('client-key')) return null;
  return () => {
    const cert = dataOrFile(user, 'client-certificate');
    const key = dataOrFile(user, 'client-key');
    if (cert === null) throw fault(place, 'client-key is set but client-certificate is not');
    if (key === null) throw fault(place, 'client-certificate is set but client-key is not');
    return { cert, key };
  };
}

function withCertificate(base: Credentials, certificate: (() => ClientCertificate) | null): Credentials {
  return certificate === null ? base : { ...base, certificate: async () => certificate() };
}

function fixed(kind: string, headers: Headers): Credentials {
  return { ...anonymous, kind, headers: async () => headers };
}

/** Read for every request: kubelets and cloud tools renew it in place. */
export function tokenFileCredentials(file: string): Credentials {
  return {
    ...anonymous,
    kind: 'token file',
    headers: async () => {
      const token = await readFile(file, 'utf8').catch((error: unknown) => {
        throw fault(file, `the token cannot be read: ${String(Object(error).message)}`, error);
      });
      return { authorization: `Bearer ${token.trim()}` };
    },
  };
}

/** Those that were compiled into kubectl until 1.26; only oidc is left there, and here. */
function providerOf(provider: Fields, user: Entry, place: string, settings: ClusterSettings): Credentials {
  const name = optionalText(provider, 'name', place);
  if (name === 'oidc' && isFields(provider['config'])) {
    return oidcCredentials(provider['config'], user, place, settings);
  }
  const plugin = name === 'gcp' ? 'gke-gcloud-auth-plugin' : name === 'azure' ? 'kubelogin' : 'a credential plugin';
  throw fault(place, `auth-provider ${JSON.stringify(name)} is gone from Kubernetes since 1.26; use ${plugin} (exec)`);
}

/** `as`, `as-uid`, `as-groups` and `as-user-extra` to the headers of "User impersonation". */
function impersonationOf(fields: Fields, place: string): Headers {
  const user = optionalText(fields, 'as', place);
  const uid = optionalText(fields, 'as-uid', place);
  const groups = Array.isArray(fields['as-groups']) ? fields['as-groups'].map(String) : [];
  const extra = isFields(fields['as-user-extra']) ? Object.entries(fields['as-user-extra']) : [];
  if (user === null && (uid !== null || groups.length > 0 || extra.length > 0)) {
    throw fault(place, 'as-uid, as-groups and as-user-extra want as');
  }
  return {
    ...(user === null ? {} : { 'impersonate-user': user }),
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
