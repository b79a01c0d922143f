// A new id-token for the refresh-token of a kubeconfig (OpenID Connect Core section 12), written back to it under the lock that
// kubectl takes: whoever comes second finds what the first has brought.

import { constants } from 'node:fs';
import { access, open, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import type { Agent } from 'node:https';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '#proto/errors.ts';
import type { ClusterSettings } from './config.ts';
import { ask as askServer } from './connection.ts';
import { keeping } from './connection-pool.ts';
import { type Fields, isFields, optionalText, requireFile } from './kubeconfig.ts';
import { optionsOf } from './login.ts';
import { expired, expiryOf } from './oidc-token.ts';
import { proxyAddressText, proxyFromEnvironment } from './proxy.ts';
import { readBody } from './read-body.ts';

export interface Renewal {
  readonly user: { readonly name: string };
  /** Where it stands. */
  readonly file: string;
  readonly place: string;
  readonly settings: ClusterSettings;
  /** A token that the cluster does not take, whatever it says of itself. */
  readonly refused: string | null;
  readonly signal: AbortSignal;
}

const DEADLINE_MS = 20_000;
const LIMIT_BYTES = 256 * 1024;
const LOCK_TRIES = 50;
const LOCK_PAUSE_MS = 100;

/** Resolves with an id-token. Rejects with UNAUTHENTICATED where there is no way to one, or no place to keep what comes with it. */
export async function renewLogin(renewal: Renewal): Promise<string> {
  const { user, place, refused } = renewal;
  const file = await realpath(renewal.file);
  const unlock = await lock(file, place);
  try {
    const text = await readFile(file, 'utf8');
    const { parseYaml, withValues } = await import('./parse-yaml.ts');
    const isJson = text.trimStart().startsWith('{');
    const kubeconfig = (isJson ? JSON.parse(text) : parseYaml(text)) as Fields;
    const at = indexOf(kubeconfig, user.name);
    const config = configOf(kubeconfig, at);
    const known = optionalText(config, 'id-token', place);
    if (known !== null && known !== refused && (expiryOf(known) ?? 0) > Date.now() + 10_000) return known;
    const tokens = await ask(config, renewal);
    if (isJson) {
      Object.assign(config, tokens);
      await replace(file, `${JSON.stringify(kubeconfig, null, 2)}\n`);
    } else {
      const place = ['users', at, 'user', 'auth-provider', 'config'];
      const values = Object.entries(tokens).map(([key, value]) => ({ path: [...place, key], value }));
      await replace(file, withValues(text, values));
    }
    return tokens['id-token'];
  } finally {
    await unlock();
  }
}

/** The lock of client-go: a file beside it that only one can make. */
async function lock(file: string, place: string): Promise<() => Promise<void>> {
  const name = `${file}.lock`;
  try {
    await access(file, constants.W_OK);
    for (let attempt = 1; ; attempt += 1) {
      try {
        await (await open(name, 'wx', 0o600)).close();
        return () => rm(name, { force: true });
      } catch (error) {
        if (Object(error).code !== 'EEXIST' || attempt === LOCK_TRIES) throw error;
        await sleep(LOCK_PAUSE_MS);
      }
    }
  } catch (error) {
    const why =
      Object(error).code === 'EEXIST'
        ? `${name} is there; remove it when no kubectl runs`
        : `${file} cannot be written`;
    throw expired(place, `has expired, and a renewed one could not be kept: ${why}`, error);
  }
}

async function replace(file: string, text: string): Promise<void> {
  const { mode } = await stat(file);
  const fresh = `${file}.${process.pid}.new`;
  try {
    await writeFile(fresh, text, { mode: mode & 0o777, flag: 'wx' });
    await rename(fresh, file);
  } finally {
    await rm(fresh, { force: true });
  }
}

function indexOf(kubeconfig: Fields, user: string): number {
  const users: unknown = kubeconfig['users'];
  return Array.isArray(users) ? users.findIndex((one) => Object(one).name === user) : -1;
}

function configOf(kubeconfig: Fields, at: number): Fields {
  const users = kubeconfig['users'] as { user?: { 'auth-provider'?: { config?: unknown } } }[] | undefined;
  const config = users?.[at]?.user?.['auth-provider']?.config;
  return isFields(config) ? config : {};
}

type Tokens = Readonly<Record<string, string>> & { readonly 'id-token': string };

async function ask(config: Fields, { file, place, settings, signal }: Renewal): Promise<Tokens> {
  const need = (name: string) => {
    const value = optionalText(config, name, place);
    if (value !== null) return value;
    throw expired(place, `has expired, and ${name} is not set, without which it is not renewed`);
  };
  const [issuer, client, refresh] = [need('idp-issuer-url'), need('client-id'), need('refresh-token')];
  const secret = optionalText(config, 'client-secret', place) ?? '';
  const authority = authorityOf(config, file, place);
  const late = AbortSignal.any([signal, AbortSignal.timeout(DEADLINE_MS)]);
  const http: Provider = { authority, settings, place, signal: late };
  const found = await call(http, `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`);
  const endpoint = found.body['token_endpoint'];
  if (typeof endpoint !== 'string')
    throw expired(place, `has expired, and ${issuer} names no token endpoint (${found.status})`);
  const form = { grant_type: 'refresh_token', refresh_token: refresh };
  const escaped = `${encodeURIComponent(client)}:${encodeURIComponent(secret)}`;
  const basic = { authorization: `Basic ${Buffer.from(escaped).toString('base64')}` };
  let answer = await call(http, endpoint, form, basic);
  // Some providers take a client's name and secret in the form only (RFC 6749 section 2.3.1).
  if (answer.status === 400 || answer.status === 401) {
    const named = { ...form, client_id: client, ...(secret === '' ? {} : { client_secret: secret }) };
    answer = await call(http, endpoint, named);
  }
  const { id_token: idToken, refresh_token: nextRefresh, error, error_description: words } = answer.body;
  if (typeof idToken !== 'string') {
    const why = [error, words].filter((text) => typeof text === 'string').join(': ') || 'it gives no id_token';
    throw expired(place, `has expired, and ${issuer} does not renew it (${answer.status}, ${why.slice(0, 300)})`);
  }
  return { 'id-token': idToken, ...(typeof nextRefresh === 'string' ? { 'refresh-token': nextRefresh } : {}) };
}

type Authority = { readonly caData: string } | { readonly caFile: string } | Record<never, never>;

function authorityOf(config: Fields, file: string, place: string): Authority {
  const name = 'idp-certificate-authority';
  const caData = optionalText(config, `${name}-data`, place);
  if (caData !== null) return { caData };
  const named = optionalText(config, name, place);
  if (named === null) return {};
  const caFile = path.resolve(path.dirname(file), named);
  requireFile(caFile, name, place);
  return { caFile };
}

interface Provider {
  readonly authority: Authority;
  readonly settings: ClusterSettings;
  readonly place: string;
  readonly signal: AbortSignal;
}

interface Answer {
  readonly status: number;
  readonly body: Fields;
}

/** A form is posted. Nothing secret goes over a line that is not this machine's own or TLS. */
async function call(
  { authority, settings, place, signal }: Provider,
  address: string,
  form: Readonly<Record<string, string>> | null = null,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const url = URL.canParse(address) ? new URL(address) : null;
  const isLoopback = /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(url?.hostname ?? '');
  const isOpen = url?.protocol === 'http:';
  if (url === null || !(url.protocol === 'https:' || (isOpen && isLoopback))) {
    throw expired(place, `has expired, and its provider ${JSON.stringify(address)} is no https address`);
  }
  try {
    const proxy = settings.useProxy ? proxyFromEnvironment(url, settings.env) : null;
    const to = { server: url, contextName: null, proxy, isInsecure: false };
    const proxied = proxy === null ? {} : { proxyUrl: proxyAddressText(proxy) };
    const cluster = { name: 'provider', server: url.origin, skipTLSVerify: isOpen, ...authority, ...proxied };
    const agent: Agent = keeping(to, await optionsOf(cluster, { name: 'nobody' }, null, signal));
    try {
      const body = form === null ? null : new URLSearchParams(form).toString();
      const type = {
        'content-type': 'application/x-www-form-urlencoded',
        'content-length': Buffer.byteLength(body ?? ''),
      };
      return await new Promise<Answer>((resolve, reject) => {
        const options = {
          agent,
          method: body === null ? 'GET' : 'POST',
          path: url.pathname + url.search,
          signal,
          headers: { host: url.host, accept: 'application/json', ...headers, ...(body === null ? {} : type) },
        };
        const sent = askServer(to, options, reject);
        sent.once('response', (response) => {
          const status = response.statusCode ?? 0;
          readBody(response, LIMIT_BYTES).then((text) => resolve({ status, body: fieldsOf(text) }), reject);
        });
        sent.end(body ?? undefined);
      });
    } finally {
      agent.destroy();
    }
  } catch (thrown) {
    const { code, message } = AppError.from(thrown, 'SERVICE_UNAVAILABLE');
    if (code === 'CANCELLED') throw thrown;
    throw expired(place, `has expired, and its provider at ${url.origin} cannot be asked: ${message}`, thrown);
  }
}

function fieldsOf(text: string): Fields {
  try {
    const value: unknown = JSON.parse(text);
    return isFields(value) ? value : {};
  } catch {
    return {};
  }
}
