// The API of a cluster over HTTP/1.1: objects, pages of lists, watches and upgrades. Who is asked, as whom and over which agent is
// the Kubernetes library's; its generated calls are not used: they have no limit for an answer, no pages of Tables, a handshake for
// each, and cost as much time to load as a start may take more (docs/benchmarks.md). Every call here has a deadline and a limit, is
// counted with its bytes, and fails with an AppError; the server's own refusals as StatusError.

import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { createGunzip } from 'node:zlib';
import { AppError } from '#proto/errors.ts';
import { VERSION } from '#proto/version.ts';
import type { ClusterAccess } from './config.ts';
import { ask } from './connection.ts';
import { ConnectionPool } from './connection-pool.ts';
import { Deadline } from './deadline.ts';
import { parseJson } from './parse-json.ts';
import { readBody } from './read-body.ts';
import { NO_RETRY, type Patience, Retries, type RetryPolicy } from './retry.ts';
import { StatusError, toStatusError } from './status.ts';
import { isStale, type Upgraded, type UpgradeOptions, upgradeOnce } from './upgrade.ts';

export interface CallOptions {
  readonly query?: Readonly<Record<string, string | number | undefined>>;
  readonly accept?: string;
  /** Of each attempt, from the first byte sent to the last received. */
  readonly deadlineMs?: number;
  /** Of the answer, uncompressed. */
  readonly limitBytes?: number;
  readonly signal?: AbortSignal;
}

export interface WatchOptions extends CallOptions {
  /** After which the server ends the watch, and the iteration with it. */
  readonly timeoutS: number;
}

/** What this client has cost the API server and the line to it. */
export interface Traffic {
  readonly calls: number;
  readonly sentBytes: number;
  /** Heads and bodies as they came over the line. */
  readonly receivedBytes: number;
}

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
export type PatchKind = 'merge' | 'strategic-merge' | 'json';

const DEADLINE_MS = 20_000;
/** A page of 500 whole pods has 5 MB. */
const LIMIT_BYTES = 16 * 1024 * 1024;
/** A refusal that is longer says nothing more. */
const LIMIT_REFUSAL_BYTES = 64 * 1024;
/** Beyond the end that the server was asked for. */
const WATCH_MARGIN_MS = 15_000;
/** Callers watch anew at once: where something on the way ends a watch as soon as it is there, they ask four times a second. */
const WATCH_PACE_MS = 250;

interface Sent {
  readonly response: IncomingMessage;
  readonly body: Readable;
  /** Must be called when the body has been read, or not. */
  readonly done: () => void;
}

export class KubeApi implements AsyncDisposable {
  readonly access: ClusterAccess;
  readonly #pool: ConnectionPool;
  readonly #retries: Retries;
  readonly #closing = new AbortController();
  #calls = 0;
  #sentBytes = 0;
  #receivedBytes = 0;
  #quickestMs = Number.POSITIVE_INFINITY;

  constructor(access: ClusterAccess, retry: RetryPolicy = NO_RETRY) {
    this.access = access;
    this.#retries = new Retries(retry);
    this.#pool = new ConnectionPool(access);
  }

  get traffic(): Traffic {
    return { calls: this.#calls, sentBytes: this.#sentBytes, receivedBytes: this.#receivedBytes };
  }

  /** Of the answers over connections that were there: about the round trip, and never less; 0 before there was one. */
  get quickestMs(): number {
    return Number.isFinite(this.#quickestMs) ? this.#quickestMs : 0;
  }

  /** With it, a server that restarts is waited for, but not in what changes an object. */
  set patience(patience: Patience | null) {
    this.#retries.patience = patience;
  }

  /** Repeated by the retry policy where the failure may pass. */
  get<T>(path: string, options: CallOptions = {}): Promise<T> {
    return this.#retries.run(() => this.#call<T>('GET', path, options), this.#repeated(options, true));
  }

  /** An answer that is no JSON: a log. */
  async getText(path: string, options: CallOptions = {}): Promise<string> {
    const sent = await this.#send('GET', path, { accept: '*/*', ...options });
    try {
      return await readBody(sent.body, options.limitBytes ?? LIMIT_BYTES);
    } catch (error) {
      sent.body.destroy();
      throw this.#toError(error, `get ${path}`, options.signal, options.deadlineMs);
    } finally {
      sent.done();
    }
  }

  create<T>(path: string, body: unknown, options: CallOptions = {}): Promise<T> {
    return this.#call<T>('POST', path, options, JSON.stringify(body), 'application/json');
  }

  /** For what may be asked twice though it changes something: a server that restarts is waited for. */
  patiently<T>(act: () => Promise<T>, options: Pick<CallOptions, 'signal'>): Promise<T> {
    return this.#retries.run(act, this.#repeated(options));
  }

  patch<T>(path: string, kind: PatchKind, body: unknown, options: CallOptions = {}): Promise<T> {
    return this.#call<T>('PATCH', path, options, JSON.stringify(body), `application/${kind}-patch+json`);
  }

  /** `body`: DeleteOptions. Resolves with false when there was nothing to delete. */
  async delete(path: string, body: unknown = {}, options: CallOptions = {}): Promise<boolean> {
    try {
      await this.#call('DELETE', path, options, JSON.stringify(body), 'application/json');
      return true;
    } catch (error) {
      if (error instanceof StatusError && error.httpStatus === 404) return false;
      throw error;
    }
  }

  /**
   * One page after another, each asked for when the one before has been used. A list whose continuation has expired goes
   * on where the server says, though not of the same moment. `sizeOf` is given the number of the page, from 0.
   */
  async *pages<T extends { metadata?: { continue?: string } }>(
    path: string,
    sizeOf: (page: number) => number,
    options: CallOptions = {},
  ): AsyncGenerator<T, void, undefined> {
    let next: string | undefined = '';
    for (let number = 0; next !== undefined; number += 1) {
      const query: CallOptions['query'] = { ...options.query, limit: sizeOf(number), continue: next || undefined };
      try {
        const page: T = await this.get<T>(path, { ...options, query });
        next = page.metadata?.continue || undefined;
        yield page;
      } catch (error) {
        const hasMoved: boolean =
          error instanceof StatusError && error.httpStatus === 410 && error.continuation !== next;
        if (!hasMoved || next === '') throw error;
        next = (error as StatusError).continuation || undefined;
        if (next === undefined) throw error;
      }
    }
  }

  /**
   * Changes as the server reports them, until it ends the watch (then the iteration ends, and the caller lists or watches
   * anew) or `signal` aborts it. Throws StatusError with reason `Expired` for a version that is too old. A server that is waited
   * for ends a watch by its end.
   */
  async *watch<T>(path: string, options: WatchOptions): AsyncGenerator<{ type: string; object: T }, void, undefined> {
    const query = { ...options.query, watch: 'true', timeoutSeconds: options.timeoutS };
    const deadlineMs = options.timeoutS * 1000 + WATCH_MARGIN_MS;
    const ask = () => this.#send('GET', path, { ...options, query, deadlineMs });
    const beganMs = performance.now();
    const { body, done } = await this.#retries.run(ask, this.#repeated(options));
    try {
      let rest = '';
      for await (const chunk of body.setEncoding('utf8') as AsyncIterable<string>) {
        const lines = (rest + chunk).split('\n');
        rest = lines.pop() ?? '';
        if (rest.length > (options.limitBytes ?? LIMIT_BYTES)) throw tooLong(path, options.limitBytes ?? LIMIT_BYTES);
        for (const line of lines) {
          if (line.trim() === '') continue;
          const event = parseJson<{ type: string; object: T }>(line, path);
          if (event.type === 'ERROR') throw watchError(event.object, path);
          yield event;
        }
      }
    } catch (error) {
      const failure = this.#toError(error, `watch ${path}`, options.signal);
      if (!this.#retries.isWaitedFor(failure)) throw failure;
    } finally {
      done();
    }
    const restMs = WATCH_PACE_MS - (performance.now() - beganMs);
    // Who gives up meanwhile is told so by the next one.
    if (restMs > 0) await sleep(restMs, undefined, this.#repeated(options)).catch(() => undefined);
  }

  /** A connection of its own, handed over by HTTP's Upgrade; its frames are the caller's. Rejects with the server's Status. */
  upgrade(path: string, options: CallOptions & UpgradeOptions): Promise<Upgraded> {
    return this.#retries.run(() => this.#upgrade(path, options), this.#repeated(options));
  }

  async #upgrade(path: string, options: CallOptions & UpgradeOptions): Promise<Upgraded> {
    const { deadlineMs = DEADLINE_MS } = options;
    const deadline = this.#within(deadlineMs, options.signal);
    const what = `open ${path}`;
    try {
      const over = { access: this.access, pool: this.#pool };
      for (let attempt = 0; ; ) {
        this.#calls += 1;
        const outcome = await upgradeOnce(over, this.#url(path, options.query), options, deadline);
        if (outcome === 'stale') continue;
        if (!(outcome instanceof StatusError)) return outcome;
        if (outcome.httpStatus !== 401 || attempt > 0 || !this.access.login.renew()) throw outcome;
        attempt += 1;
      }
    } catch (error) {
      throw this.#toError(error, what, options.signal, deadlineMs);
    } finally {
      deadline.release();
    }
  }

  async #call<T>(method: Method, path: string, options: CallOptions, body?: string, type?: string): Promise<T> {
    const sent = await this.#send(method, path, options, body, type);
    const limitBytes = options.limitBytes ?? LIMIT_BYTES;
    try {
      const text = await readBody(sent.body, limitBytes);
      return parseJson<T>(text, path);
    } catch (error) {
      sent.body.destroy();
      throw this.#toError(error, `${verbOf(method)} ${path}`, options.signal, options.deadlineMs);
    } finally {
      sent.done();
    }
  }

  /** Resolves with a successful answer; its body is still to be read, within the same deadline. */
  async #send(method: Method, path: string, options: CallOptions, body?: string, type?: string): Promise<Sent> {
    const { deadlineMs = DEADLINE_MS } = options;
    const act = `${verbOf(method)} ${path}`;
    const deadline = this.#within(deadlineMs, options.signal);
    try {
      for (let attempt = 0; ; attempt += 1) {
        const response = await this.#exchange(method, path, options, deadline, body, type);
        // The server had closed that connection before our words reached it.
        if (response === 'stale') continue;
        const status = response.statusCode ?? 0;
        const stream = this.#counted(response);
        if (status >= 200 && status < 300) return { response, body: stream, done: () => deadline.release() };
        const text = await readBody(stream, LIMIT_REFUSAL_BYTES);
        if (status === 401 && attempt === 0 && this.access.login.renew()) {
          this.#pool.destroyIdle();
          continue;
        }
        throw toStatusError(status, text, act, response.headers['retry-after']);
      }
    } catch (error) {
      deadline.release();
      throw this.#toError(error, act, options.signal, deadlineMs);
    }
  }

  async #exchange(
    method: Method,
    path: string,
    { query, accept = 'application/json' }: CallOptions,
    deadline: Deadline,
    body?: string,
    type?: string,
  ): Promise<IncomingMessage | 'stale'> {
    const { agent, headers, auth } = await deadline.without((signal) => this.#pool.prepare(signal));
    const { signal } = deadline;
    const url = this.#url(path, query);
    return new Promise((resolve, reject) => {
      const options = {
        agent,
        auth,
        method,
        path: url.pathname + url.search,
        signal,
        headers: {
          ...headers,
          host: url.host,
          accept,
          'accept-encoding': 'gzip',
          'user-agent': `mirrord/${VERSION}`,
          ...(body === undefined ? {} : { 'content-type': type, 'content-length': Buffer.byteLength(body) }),
        },
      };
      this.#calls += 1;
      this.#sentBytes += Buffer.byteLength(body ?? '') + url.pathname.length + url.search.length;
      const sent = ask(this.access, options, (error) => {
        // Each try uses up a connection that was open, so this ends.
        if (isIdempotent(method) && isStale(sent, error)) resolve('stale');
        else reject(error);
      });
      const sentMs = performance.now();
      sent.once('response', (response: IncomingMessage) => {
        if (sent.reusedSocket) this.#quickestMs = Math.min(this.#quickestMs, performance.now() - sentMs);
        resolve(response);
      });
      sent.end(body);
    });
  }

  #url(path: string, query: CallOptions['query'] = {}): URL {
    const url = new URL(this.access.server);
    url.pathname = url.pathname.replace(/\/$/, '') + path;
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    return url;
  }

  #counted(response: IncomingMessage): Readable {
    this.#receivedBytes += headBytes(response);
    response.on('data', (chunk: Buffer) => {
      this.#receivedBytes += chunk.length;
    });
    if (response.headers['content-encoding'] !== 'gzip') return response;
    const plain = createGunzip();
    response.once('error', (error) => plain.destroy(error));
    const cut = Object.assign(new Error('the server ended in mid-answer'), { code: 'ECONNRESET' });
    response.once('aborted', () => plain.destroy(cut));
    plain.once('close', () => response.destroyed || response.resume());
    return response.pipe(plain);
  }

  #within(deadlineMs: number, asked: AbortSignal | undefined): Deadline {
    return new Deadline(deadlineMs, [this.#closing.signal, ...(asked === undefined ? [] : [asked])]);
  }

  #toError(error: unknown, act: string, asked: AbortSignal | undefined, deadlineMs = DEADLINE_MS): AppError {
    if (asked?.aborted || this.#closing.signal.aborted) {
      return new AppError('CANCELLED', `${act}: given up`, { cause: error });
    }
    if (error instanceof AppError) return error;
    if (Object(error).name === 'AbortError') {
      const what = `the API server did not ${act} within ${Math.round(deadlineMs / 1000)} s`;
      return new AppError('DEADLINE_EXCEEDED', what, { cause: error, data: { advice: BUSY } });
    }
    const why = error instanceof Error ? error.message : String(error);
    return new AppError('SERVICE_UNAVAILABLE', `the API server could not be asked to ${act}: ${why}`, {
      cause: error,
      data: { advice: BUSY },
    });
  }

  #repeated({ signal: asked }: CallOptions, isCounted = false): { signal: AbortSignal; isCounted: boolean } {
    const signals = [this.#closing.signal, ...(asked === undefined ? [] : [asked])];
    return { signal: AbortSignal.any(signals), isCounted };
  }

  /** Ends what is under way (CANCELLED) and closes every connection but upgraded ones. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#pool.destroy();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

const BUSY =
  'the API server or the way to it is slow or broken; try again, and see whether `kubectl get pods` answers.';

function verbOf(method: Method): string {
  return { GET: 'get', POST: 'create', PUT: 'replace', PATCH: 'change', DELETE: 'delete' }[method];
}

function isIdempotent(method: Method): boolean {
  return method === 'GET' || method === 'DELETE' || method === 'PUT';
}

function headBytes({ rawHeaders }: IncomingMessage): number {
  return rawHeaders.reduce((sum, text) => sum + text.length + 2, 17);
}

function tooLong(path: string, limitBytes: number): AppError {
  return new AppError('LIMIT_REACHED', `${path}: an event is longer than ${limitBytes} bytes`);
}

function watchError(status: unknown, path: string): StatusError {
  const { code } = Object(status) as { code?: unknown };
  return toStatusError(typeof code === 'number' ? code : 500, JSON.stringify(status), `watch ${path}`, undefined);
}
