// A target, a nats-server with the bucket of leases, a stealer whose leases are there, and sessions that steal. One stage for each
// test file; `enter` before and `leave` after each test.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { expect } from 'vitest';
import { LEASE_MS } from '../../proto/liveness.ts';
import { LEASE_BUCKET, type ServiceName } from '../../proto/subjects.ts';
import { type NatsChild, startNats } from '../../services/agent/nats-child.ts';
import { Bus } from '../../services/runtime/bus.ts';
import { KeyValues } from '../../services/runtime/key-values.ts';
import { BUCKET_BYTES } from '../../services/stealer/leases/lease-bucket.ts';
import { startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { StealClient, type Stealer, startStealer } from './stealer-harness.ts';

export const PORT = 8080;
export const LIMITS = { bucket: LEASE_BUCKET, ttlMs: LEASE_MS, maxBytes: BUCKET_BYTES, maxValueBytes: 2_048 };
/** For one answer, on a busy machine. */
export const PATIENCE = { timeout: 20_000 };
const logger = pino({ level: 'silent' });

/** As `places` has them. */
export const WHOLE = 'everything';
export const ALICE = 'requests with header "^x-user: alice$"';
export const BOB = 'requests with header "^x-user: bob$"';

export const only = (user: string) => ({
  port: PORT,
  conditions: [{ $case: 'header', value: `^x-user: ${user}$` } as const],
});

type Place = Readonly<{ key: string; value: Buffer; revision: number }>;

export class LeaseStage {
  nats!: NatsChild;
  /** As the stealer sees it, beside it. */
  bucket!: KeyValues;
  readonly #network: TargetNetwork;
  #folder = '';
  #buses: Bus[] = [];
  #stealer!: Stealer;
  #clients: StealClient[] = [];

  private constructor(network: TargetNetwork) {
    this.#network = network;
  }

  static async open(): Promise<LeaseStage> {
    return new LeaseStage(await startNetwork());
  }

  async close(): Promise<void> {
    await this.#network[Symbol.asyncDispose]();
  }

  async enter(): Promise<void> {
    [this.#buses, this.#clients] = [[], []];
    this.#folder = mkdtempSync(path.join(tmpdir(), 'leases-'));
    this.nats = await startNats(this.#folder, logger);
    this.#stealer = await startStealer('auto', await this.busOf('stealer'));
    this.bucket = new KeyValues(await this.busOf('stealer'), LIMITS);
  }

  async leave(): Promise<void> {
    for (const client of this.#clients) client.vanish();
    await expect.poll(() => this.#stealer.liveSessions, PATIENCE).toBe(0);
    await this.#stealer[Symbol.asyncDispose]();
    for (const bus of this.#buses) await bus.close();
    await this.nats.close();
    rmSync(this.#folder, { recursive: true });
  }

  async busOf(who: ServiceName | 'agent'): Promise<Bus> {
    const url = who === 'agent' ? this.nats.url : this.nats.urlOf(who);
    const bus = await Bus.connect({ url, name: 'test', deadlineMs: 10_000, logger });
    this.#buses.push(bus);
    return bus;
  }

  async session(): Promise<StealClient> {
    const client = await StealClient.open(this.#stealer, this.#network.identity, 1);
    this.#clients.push(client);
    return client;
  }

  async placeKeys(): Promise<Place[]> {
    const keys = (await this.bucket.list(5_000)).filter((key) => key.split('.').length === 4);
    const all = await Promise.all(keys.map((key) => this.bucket.get(key, 5_000)));
    return all
      .map(({ key, value, revision }) => ({ key, value: Buffer.from(value), revision }))
      .filter(({ value }) => value.length > 0);
  }

  /** `SESSION holds WHAT`, `SESSION waits WHAT`. */
  async expectPlaces(...wanted: string[]): Promise<void> {
    await expect.poll(() => this.#places().catch(String), PATIENCE).toEqual(wanted.sort());
  }

  async #places(): Promise<string[]> {
    const found: string[] = [];
    for (const { value } of await this.placeKeys()) {
      const { session, what, place } = JSON.parse(value.toString()) as Record<string, string>;
      found.push(`${session} ${place} ${what}`);
    }
    return found.sort();
  }
}
