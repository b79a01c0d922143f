// The bucket of leases on the bus of this stealer's agent, as a copy that is kept true: what is to be in it is said here, and
// written as soon as NATS takes it, again after NATS was away, and again for as long as its owner is heard. Nothing waits for it
// but a claim, and that not for long.

import type { Logger } from 'pino';
import { AppError } from '#proto/errors.ts';
import { LEASE_MS, LEASE_REFRESH_MS } from '#proto/liveness.ts';
import { LEASE_BUCKET } from '#proto/subjects.ts';
import type { Bus } from '#runtime/bus.ts';
import { type KeyValue, KeyValues } from '#runtime/key-values.ts';

/** Of a claim, for NATS; then who holds the target decides alone. */
export const CLAIM_MS = 1_000;
/** Of some 1,400 places, and of all ports. */
export const BUCKET_BYTES = 1 << 20;
const MAX_VALUE_BYTES = 2_048;
/** For one request that no claim waits for. */
const WRITE_MS = 1_000;
/** When a stealer starts. */
const OPEN_MS = 500;
/** Of one write, while somebody else writes the same key. */
const MAX_TRIES = 8;
const AT_ONCE = 32;

export interface Lease {
  value(): string;
  /** When its owner was last heard, as performance.now() has it. */
  heardMs(): number;
}

interface Entry {
  lease: Lease;
  /** Of its key in the bucket, as far as we know. */
  revision: number;
  isDirty: boolean;
  /** When it was to be written last. */
  isRefused: boolean;
  /** What its owner said by then is in it. */
  writtenMs: number;
}

export class LeaseBucket {
  readonly #logger: Logger;
  readonly #entries = new Map<string, Entry>();
  /** Keys that are to go, with their revisions. */
  readonly #leaving = new Map<string, number>();
  #values: KeyValues | null = null;
  /** Why nothing can be written; null when it can. */
  #absence: string | null = 'there is no bus';
  #isWriting = false;
  /** Told: something is refused. */
  #isRefusalTold = false;
  #isClosed = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** Makes the bucket, before the first claim. @returns what a stealer before us has left in it */
  async useBus(bus: Bus): Promise<KeyValue[]> {
    const limits = { ttlMs: LEASE_MS, maxBytes: BUCKET_BYTES, maxValueBytes: MAX_VALUE_BYTES };
    const values = new KeyValues(bus, { bucket: LEASE_BUCKET, ...limits });
    this.#values = values;
    bus.onStatus((status) => {
      if (status === 'connected') void this.#openAnew();
      else this.#isAway(`nats is ${status}`);
    });
    try {
      const isUsed = await values.open(OPEN_MS);
      this.#absence = null;
      return isUsed ? await leftIn(values) : [];
    } catch (thrown) {
      this.#isAway(AppError.from(thrown, 'BUG').message);
      return [];
    }
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  /**
   * Writes a key that others may write at the same time; what it says is asked for anew when another one was first.
   *
   * @param judge throws when by now it is not to be written; not asked again once it has been
   * @returns why it is not in the bucket, in words; null when it is
   */
  async decide(key: string, untilMs: number, lease: Lease, judge: () => void): Promise<string | null> {
    const entry = this.#entryOf(key, lease);
    const values = await this.#opened(untilMs);
    if (values === null) return this.#absence;
    try {
      for (let tries = 0; tries < MAX_TRIES; tries++) {
        judge();
        entry.lease = lease;
        const revision = await values.put(key, Buffer.from(lease.value()), entry.revision, leftOf(untilMs));
        if (revision !== null) {
          this.#written(entry, revision);
          return null;
        }
        entry.revision = (await values.get(key, leftOf(untilMs))).revision;
        this.#logger.warn({ key, revision: entry.revision }, 'somebody else wrote a lease');
      }
      return 'somebody else writes the same leases';
    } catch (thrown) {
      const { code, message } = AppError.from(thrown, 'BUG');
      if (code !== 'LIMIT_REACHED') this.#isAway(message);
      return message;
    }
  }

  /** To be in the bucket from now on, until `drop`. */
  keep(key: string, lease: Lease): void {
    const entry = this.#entryOf(key, lease);
    entry.lease = lease;
    entry.isDirty = true;
    this.#write();
  }

  drop(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#leaving.set(key, entry.revision);
    this.#write();
  }

  #entryOf(key: string, lease: Lease): Entry {
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      entry = { lease, revision: this.#leaving.get(key) ?? 0, isDirty: false, isRefused: false, writtenMs: 0 };
      this.#leaving.delete(key);
      this.#entries.set(key, entry);
      this.#refreshLater();
    }
    return entry;
  }

  #written(entry: Entry, revision: number): void {
    entry.revision = revision;
    entry.isDirty = false;
    entry.isRefused = false;
    entry.writtenMs = performance.now();
  }

  #refreshLater(): void {
    if (this.#isClosed || this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      // Who was not heard since is not written again: that lease runs out.
      for (const entry of this.#entries.values()) entry.isDirty ||= entry.lease.heardMs() > entry.writtenMs;
      if (this.#absence !== null && this.#values !== null) void this.#openAnew();
      else this.#write();
      if (this.#entries.size > 0 || this.#leaving.size > 0) this.#refreshLater();
    }, LEASE_REFRESH_MS);
    this.#timer.unref();
  }

  /** One pass at a time; what changes meanwhile is for the next. */
  #write(): void {
    if (this.#isWriting || this.#isClosed || this.#values === null || this.#absence !== null) return;
    this.#isWriting = true;
    void this.#writeAll(this.#values).then((failures) => {
      this.#isWriting = false;
      if (failures === null) return;
      const away = failures.find(({ code }) => code !== 'LIMIT_REACHED');
      if (away !== undefined) {
        this.#isAway(away.message);
        return;
      }
      this.#tellRefusal(failures[0]?.message);
      // What is refused is not asked for again until its owner is heard: the others have their turn.
      this.#write();
    });
  }

  /** Once for all that are refused, however often they are, until none is. */
  #tellRefusal(reason: string | undefined): void {
    if (reason !== undefined && !this.#isRefusalTold) this.#logger.warn({ reason }, 'leases cannot be written');
    this.#isRefusalTold = [...this.#entries.values()].some(({ isRefused }) => isRefused);
  }

  /** @returns what came to nothing; null when there was nothing to be written */
  async #writeAll(values: KeyValues): Promise<AppError[] | null> {
    const leaving = [...this.#leaving].slice(0, AT_ONCE);
    for (const [key] of leaving) this.#leaving.delete(key);
    const dirty = [...this.#entries].filter(([, { isDirty }]) => isDirty).slice(0, AT_ONCE);
    if (leaving.length + dirty.length === 0) return null;
    const all = await Promise.allSettled([
      ...leaving.map(([key, revision]) => this.#remove(values, key, revision)),
      ...dirty.map(([key, entry]) => this.#put(values, key, entry)),
    ]);
    return all.flatMap((one) => (one.status === 'rejected' ? [AppError.from(one.reason, 'BUG')] : []));
  }

  /** Whoever holds the target says what is so: what another one wrote is written over. */
  async #put(values: KeyValues, key: string, entry: Entry): Promise<void> {
    const startedMs = performance.now();
    entry.isDirty = false;
    try {
      for (let tries = 0; tries < MAX_TRIES; tries++) {
        const revision = await values.put(key, Buffer.from(entry.lease.value()), entry.revision, WRITE_MS);
        if (revision !== null) {
          entry.revision = revision;
          entry.isRefused = false;
          entry.writtenMs = startedMs;
          return;
        }
        entry.revision = (await values.get(key, WRITE_MS)).revision;
      }
    } catch (thrown) {
      entry.isRefused = AppError.from(thrown, 'BUG').code === 'LIMIT_REACHED';
      entry.isDirty = !entry.isRefused;
      throw thrown;
    }
  }

  /** What has another revision by now is somebody else's, or gone. */
  async #remove(values: KeyValues, key: string, revision: number): Promise<void> {
    const removed = revision === 0 ? null : await values.remove(key, revision, WRITE_MS);
    const again = this.#entries.get(key);
    if (removed !== null && again !== undefined) again.revision = removed;
  }

  async #opened(untilMs: number): Promise<KeyValues | null> {
    if (this.#absence !== null && this.#values !== null) await this.#openWithin(untilMs);
    return this.#absence === null ? this.#values : null;
  }

  async #openWithin(untilMs: number): Promise<void> {
    while (this.#absence !== null && !this.#isClosed && performance.now() < untilMs) {
      await this.#openAnew(leftOf(untilMs));
      if (this.#absence !== null) await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }

  /** NATS is back, perhaps another one: everything is written that is to be there. */
  async #openAnew(timeoutMs = WRITE_MS): Promise<void> {
    const values = this.#values;
    if (values === null || this.#isClosed) return;
    try {
      await values.open(timeoutMs);
      if (this.#absence !== null) this.#logger.info('leases are written again');
      this.#absence = null;
      for (const entry of this.#entries.values()) entry.isDirty = true;
      this.#write();
    } catch (thrown) {
      this.#isAway(AppError.from(thrown, 'BUG').message);
    }
  }

  #isAway(reason: string): void {
    if (this.#absence === null) this.#logger.warn({ reason }, 'leases cannot be written: those that stand go on');
    this.#absence = reason;
  }
}

const AGAIN_MS = 50;

const leftOf = (untilMs: number): number => Math.max(1, untilMs - performance.now());

async function leftIn(values: KeyValues): Promise<KeyValue[]> {
  const keys = await values.list(OPEN_MS);
  const found: KeyValue[] = [];
  for (let at = 0; at < keys.length; at += AT_ONCE) {
    const some = keys.slice(at, at + AT_ONCE);
    found.push(...(await Promise.all(some.map((key) => values.get(key, OPEN_MS)))));
  }
  return found;
}
