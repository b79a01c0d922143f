// A bucket of NATS's key-value store, over the bus: one memory stream of JetStream, whose last message of a subject is the value of
// a key (ADR-8). Only what we need of it, in four requests: the library's own package of it costs a service 14 ms of its start.
//
// Every write says which revision of its key it follows (0: none), so that of two writers one is told that it is late.

import { AppError } from '#proto/errors.ts';
import { bucketSubject, streamRequest } from '#proto/subjects.ts';
import type { Bus } from './bus.ts';

export interface BucketOptions {
  bucket: string;
  /** A value that nobody writes again for so long is gone. */
  ttlMs: number;
  /** Of keys, values and what goes with them; a write beyond it is refused. */
  maxBytes: number;
  maxValueBytes: number;
}

export interface KeyValue {
  readonly key: string;
  readonly value: Uint8Array;
  readonly revision: number;
}

/** Keys that `list` gives, the most. */
const MAX_LISTED = 4_096;
const NS_PER_MS = 1_000_000;

/** Codes of JetStream's errors. */
const WRONG_LAST_SEQUENCE = 10_071;
const NO_MESSAGE_FOUND = 10_037;
/** Of the stream's bytes, of the server's memory, of one value. */
const FULL = [10_077, 10_023, 10_028, 10_047, 10_054];

const EXPECTED_REVISION = 'Nats-Expected-Last-Subject-Sequence';
const OPERATION = 'KV-Operation';
const EMPTY = new Uint8Array();

interface Answer {
  readonly error?: { readonly err_code?: number; readonly description?: string };
  readonly seq?: number;
  readonly message?: {
    readonly subject?: string;
    readonly seq?: number;
    readonly hdrs?: string;
    readonly data?: string;
  };
  readonly state?: { readonly messages?: number; readonly subjects?: Readonly<Record<string, number>> };
}

export class KeyValues {
  readonly #bus: Bus;
  readonly #options: BucketOptions;

  constructor(bus: Bus, options: BucketOptions) {
    this.#bus = bus;
    this.#options = options;
  }

  /** Makes the bucket, where it is not there. @returns whether something is in it */
  async open(timeoutMs: number): Promise<boolean> {
    const { bucket, ttlMs, maxBytes, maxValueBytes } = this.#options;
    const config = {
      name: `KV_${bucket}`,
      subjects: [bucketSubject(bucket, '>')],
      storage: 'memory',
      retention: 'limits',
      discard: 'new',
      max_msgs_per_subject: 1,
      max_bytes: maxBytes,
      max_msg_size: maxValueBytes,
      max_age: ttlMs * NS_PER_MS,
      duplicate_window: ttlMs * NS_PER_MS,
      max_consumers: 1,
      num_replicas: 1,
      allow_rollup_hdrs: true,
      deny_delete: true,
    };
    const { error, state } = await this.#ask(streamRequest('CREATE', bucket), JSON.stringify(config), timeoutMs);
    if (error !== undefined) throw refused(`bucket ${bucket}`, error);
    return (state?.messages ?? 0) > 0;
  }

  /** @returns the new revision; null when the key is at another one by now */
  put(key: string, value: Uint8Array, revision: number, timeoutMs: number): Promise<number | null> {
    return this.#write(key, value, revision, timeoutMs, {});
  }

  /** Likewise; until its time is over the key has a revision without a value. */
  remove(key: string, revision: number, timeoutMs: number): Promise<number | null> {
    return this.#write(key, EMPTY, revision, timeoutMs, { [OPERATION]: 'DEL' });
  }

  /** Revision 0 and no value when there is none. */
  async get(key: string, timeoutMs: number): Promise<KeyValue> {
    const { bucket } = this.#options;
    const body = JSON.stringify({ last_by_subj: bucketSubject(bucket, key) });
    const { error, message } = await this.#ask(streamRequest('MSG.GET', bucket), body, timeoutMs);
    if (error !== undefined && error.err_code !== NO_MESSAGE_FOUND) throw refused(`key ${key}`, error);
    const isRemoved = message?.hdrs !== undefined && Buffer.from(message.hdrs, 'base64').includes(OPERATION);
    return {
      key,
      value: isRemoved ? EMPTY : Buffer.from(message?.data ?? '', 'base64'),
      revision: message?.seq ?? 0,
    };
  }

  /** Keys that have a value or had one within their time. */
  async list(timeoutMs: number): Promise<string[]> {
    const { bucket } = this.#options;
    const body = JSON.stringify({ subjects_filter: bucketSubject(bucket, '>') });
    const { error, state } = await this.#ask(streamRequest('INFO', bucket), body, timeoutMs);
    if (error !== undefined) throw refused(`bucket ${bucket}`, error);
    const prefix = bucketSubject(bucket, '');
    const keys = Object.keys(state?.subjects ?? {}).map((subject) => subject.slice(prefix.length));
    return keys.slice(0, MAX_LISTED);
  }

  async #write(
    key: string,
    value: Uint8Array,
    revision: number,
    timeoutMs: number,
    headers: Readonly<Record<string, string>>,
  ): Promise<number | null> {
    const subject = bucketSubject(this.#options.bucket, key);
    const expected = { ...headers, [EXPECTED_REVISION]: String(revision) };
    const { error, seq } = await this.#ask(subject, value, timeoutMs, expected);
    if (error?.err_code === WRONG_LAST_SEQUENCE) return null;
    if (error !== undefined || seq === undefined) throw refused(`key ${key}`, error ?? {});
    return seq;
  }

  async #ask(
    subject: string,
    body: string | Uint8Array,
    timeoutMs: number,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Answer> {
    const payload = typeof body === 'string' ? Buffer.from(body) : body;
    const answer = await this.#bus.request(subject, payload, timeoutMs, headers);
    try {
      return Object(JSON.parse(Buffer.from(answer).toString('utf8'))) as Answer;
    } catch (cause) {
      throw new AppError('SERVICE_UNAVAILABLE', `${subject} was answered with something else than JSON`, { cause });
    }
  }
}

function refused(what: string, { err_code: code, description }: NonNullable<Answer['error']>): AppError {
  const isFull = FULL.includes(code ?? 0);
  return new AppError(
    isFull ? 'LIMIT_REACHED' : 'SERVICE_UNAVAILABLE',
    `nats refuses ${what}: ${description ?? 'it does not say why'} (${code ?? 'no code'})`,
  );
}
