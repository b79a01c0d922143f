// A credential plugin (client.authentication.k8s.io): a program of the user's that prints a token or a certificate. It is
// started when a credential is first wanted, and again when that one has expired or the server no longer takes it. Our own,
// because the library's waits for a plugin for ever and takes whatever it prints, does not tell it the API version that plugins
// of the clouds insist on (KUBERNETES_EXEC_INFO), gives it no terminal, and starts it for each request where no expiry is given.

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { RequestOptions } from 'node:https';
import path from 'node:path';
import type { User } from '@kubernetes/client-node';
import { AppError } from '#proto/errors.ts';
import { printable } from '../printable.ts';
import type { ClusterSettings } from './config.ts';
import { type Fields, fault, isFields, isTrue, optionalText } from './kubeconfig.ts';
import { type ClusterEntry, isOurs, type OwnAuthenticator, type UserEntry, withToken } from './login.ts';

const API_GROUP = 'client.authentication.k8s.io';
const VERSIONS = ['v1', 'v1beta1'];
/** Tokens of large clouds have 2 KiB. */
const MAX_STDOUT_BYTES = 1 << 20;
const MAX_STDERR_BYTES = 4 << 10;
const DEADLINE_MS = 60_000;
/** Somebody reads a code on the screen, opens a browser and types it there. */
const INTERACTIVE_DEADLINE_MS = 5 * 60_000;
/** A credential that ends this soon is not begun with. */
const EXPIRY_MARGIN_MS = 10_000;

interface Context {
  readonly entry: UserEntry;
  readonly cluster: ClusterEntry;
  readonly settings: ClusterSettings;
}

interface Answer {
  readonly token: string | null;
  readonly certificate: { readonly cert: string; readonly key: string } | null;
  /** Infinity where it says nothing. */
  readonly expiresAtMs: number;
}

export class ExecPlugin implements OwnAuthenticator {
  readonly kind: string;
  readonly #command: string;
  readonly #args: readonly string[];
  readonly #env: NodeJS.ProcessEnv;
  readonly #version: string;
  readonly #isInteractive: boolean;
  readonly #hint: string | null;
  readonly #context: Context;
  #running: Promise<Answer> | null = null;
  #answer: Answer | null = null;

  /** Throws CONFIG_INVALID for an entry that cannot be followed. */
  constructor(exec: Fields, context: Context) {
    const { settings } = context;
    const { user, file } = context.entry;
    const place = `${file}, user ${JSON.stringify(user.name)}, exec`;
    const command = optionalText(exec, 'command', place);
    if (command === null) throw fault(place, 'command is missing');
    this.#context = context;
    this.#command = command.includes('/') ? path.resolve(path.dirname(file), command) : command;
    this.#args = textList(exec['args'], 'args', place);
    this.#version = versionOf(optionalText(exec, 'apiVersion', place), place);
    this.#isInteractive = wantsTerminal(exec, settings.isInteractive, place);
    this.#hint = optionalText(exec, 'installHint', place);
    this.kind = `credential plugin ${path.basename(command)}`;
    this.#env = {
      ...settings.env,
      ...environmentOf(exec['env'], place),
      KUBERNETES_EXEC_INFO: JSON.stringify(this.#info(exec)),
    };
  }

  isAuthProvider(user: User): boolean {
    return isOurs(user);
  }

  /** A certificate of the plugin's goes before one of the user entry. */
  async applyAuthentication(_user: User, options: RequestOptions): Promise<void> {
    const { token, certificate } = await this.#current(options.signal ?? new AbortController().signal);
    if (certificate !== null) Object.assign(options, certificate);
    if (token !== null) options.headers = withToken(options.headers, token);
  }

  renew(): boolean {
    this.#answer = null;
    return true;
  }

  #info(exec: Fields): unknown {
    const spec: Record<string, unknown> = { interactive: this.#isInteractive };
    if (isTrue(exec, 'provideClusterInfo')) {
      const { cluster, more } = this.#context.cluster;
      spec['cluster'] = {
        server: cluster.server,
        'tls-server-name': cluster.tlsServerName,
        'insecure-skip-tls-verify': (cluster.skipTLSVerify && cluster.server.startsWith('https:')) || undefined,
        'certificate-authority-data': cluster.caFile ? readFileSync(cluster.caFile).toString('base64') : cluster.caData,
        'proxy-url': cluster.proxyUrl,
        config: execExtension(more['extensions']),
      };
    }
    return { kind: 'ExecCredential', apiVersion: `${API_GROUP}/${this.#version}`, spec };
  }

  /** One run serves everybody who waits. */
  async #current(signal: AbortSignal): Promise<Answer> {
    if (this.#answer !== null && this.#answer.expiresAtMs - EXPIRY_MARGIN_MS > Date.now()) return this.#answer;
    this.#running ??= this.#run(signal).finally(() => {
      this.#running = null;
    });
    this.#answer = await this.#running;
    return this.#answer;
  }

  async #run(signal: AbortSignal): Promise<Answer> {
    const stdout = await this.#output(signal);
    let value: unknown;
    try {
      value = JSON.parse(stdout);
    } catch {
      throw this.#failure('its output is no JSON');
    }
    return this.#read(value);
  }

  #read(value: unknown): Answer {
    const { kind, apiVersion, status } = Object(value) as Fields;
    if (kind !== 'ExecCredential') throw this.#failure('its output is no ExecCredential');
    if (apiVersion !== `${API_GROUP}/${this.#version}`) {
      throw this.#failure(
        `it answers in ${JSON.stringify(apiVersion)}, and ${API_GROUP}/${this.#version} was asked for`,
      );
    }
    if (!isFields(status)) throw this.#failure('its output has no status');
    const text = (name: string) => (typeof status[name] === 'string' && status[name] !== '' ? status[name] : null);
    const [token, cert, key, expiry] = [
      text('token'),
      text('clientCertificateData'),
      text('clientKeyData'),
      text('expirationTimestamp'),
    ];
    if (token === null && (cert === null || key === null)) {
      throw this.#failure('its output has neither a token nor a certificate with its key');
    }
    const expiresAtMs = expiry === null ? Number.POSITIVE_INFINITY : Date.parse(expiry);
    if (Number.isNaN(expiresAtMs)) throw this.#failure('its expirationTimestamp is no time');
    const certificate = cert === null || key === null ? null : { cert, key };
    return { token, certificate, expiresAtMs };
  }

  #output(signal: AbortSignal): Promise<string> {
    return new Promise((resolve, reject) => {
      const inherit = this.#isInteractive ? 'inherit' : null;
      const child = spawn(this.#command, this.#args, {
        env: this.#env,
        stdio: [inherit ?? 'ignore', 'pipe', inherit ?? 'pipe'],
      });
      const deadlineMs = this.#isInteractive ? INTERACTIVE_DEADLINE_MS : DEADLINE_MS;
      const chunks: Buffer[] = [];
      let size = 0;
      let stderr = '';
      let fate: AppError | null = null;
      const stop = (error: AppError) => {
        fate ??= error;
        child.kill('SIGKILL');
        // A grandchild may hold the pipes open; nobody reads them any more.
        child.stdout?.destroy();
        child.stderr?.destroy();
      };
      const timer = setTimeout(() => stop(this.#failure(`it took more than ${deadlineMs / 1000} s`)), deadlineMs);
      const onAbort = () => stop(new AppError('CANCELLED', `${this.kind} was stopped`));
      signal.addEventListener('abort', onAbort, { once: true });
      if (signal.aborted) onAbort();
      child.stdout?.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > MAX_STDOUT_BYTES) stop(this.#failure(`it printed more than ${MAX_STDOUT_BYTES} bytes`));
        else chunks.push(chunk);
      });
      child.stderr?.on('data', (chunk: Buffer) => {
        stderr = (stderr + chunk.toString()).slice(-MAX_STDERR_BYTES);
      });
      const finish = (settle: () => void) => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        settle();
      };
      child.on('error', (error: NodeJS.ErrnoException) => finish(() => reject(fate ?? this.#notStarted(error))));
      child.on('close', (code, killedBy) =>
        finish(() => {
          if (fate !== null) reject(fate);
          else if (code === 0) resolve(Buffer.concat(chunks).toString());
          else reject(this.#failure(`it ended with ${code === null ? killedBy : `exit code ${code}`}`, stderr));
        }),
      );
    });
  }

  #notStarted(error: NodeJS.ErrnoException): AppError {
    if (error.code !== 'ENOENT') return this.#failure(`it could not be started: ${error.message}`);
    return this.#failure('there is no such program', '', this.#hint === null ? undefined : printable(this.#hint));
  }

  #failure(what: string, stderr = '', hint?: string): AppError {
    const { user } = this.#context.entry;
    const said = stderr.trim() === '' ? '' : `: ${printable(stderr.trim())}`;
    return new AppError('UNAUTHENTICATED', `${this.kind} of user ${JSON.stringify(user.name)} failed: ${what}${said}`, {
      data: { advice: hint ?? 'log in again, as for kubectl: `kubectl get pods` must work with the same context.' },
    });
  }
}

function versionOf(apiVersion: string | null, place: string): string {
  const version = apiVersion?.startsWith(`${API_GROUP}/`) ? apiVersion.slice(API_GROUP.length + 1) : null;
  if (version !== null && VERSIONS.includes(version)) return version;
  throw fault(
    place,
    `apiVersion is ${JSON.stringify(apiVersion)}; it must be ${API_GROUP}/ with ${VERSIONS.join(' or ')}`,
  );
}

function wantsTerminal(exec: Fields, hasTerminal: boolean, place: string): boolean {
  const mode = optionalText(exec, 'interactiveMode', place) ?? 'IfAvailable';
  if (mode === 'Always' && !hasTerminal) {
    throw fault(place, 'interactiveMode is Always, and there is no terminal to ask on');
  }
  return mode !== 'Never' && hasTerminal;
}

function textList(value: unknown, name: string, place: string): string[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw fault(place, `${name} is no list`);
  return value.map(String);
}

function environmentOf(value: unknown, place: string): Record<string, string> {
  if (value === undefined || value === null) return {};
  if (!Array.isArray(value)) throw fault(place, 'env is no list');
  return Object.fromEntries(
    value.map((entry: unknown) => {
      const { name, value: text } = Object(entry) as Fields;
      if (typeof name !== 'string') throw fault(place, 'an entry of env has no name');
      return [name, String(text ?? '')];
    }),
  );
}

/** What a cluster entry keeps for the plugin. */
function execExtension(extensions: unknown): unknown {
  if (!Array.isArray(extensions)) return undefined;
  const found = extensions.find((entry: unknown) => Object(entry).name === `${API_GROUP}/exec`);
  return found === undefined ? undefined : Object(found).extension;
}
