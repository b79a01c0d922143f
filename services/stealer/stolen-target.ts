// The stolen ports of one target's network namespace, shared by all sessions of that target: one redirect, one listener.

import { closeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { AppError } from '#proto/errors.ts';
import type { Standing, Subscribe } from '#proto/gen/v1/incoming.ts';
import type { OlderConnection, RenewalOptions, RenewalResult } from '#runtime/older-connections.ts';
import type { Way } from '#runtime/redirect-ways.ts';
import type { TargetHandle } from '#runtime/target-handle.ts';
import type { Leases, TargetLeases } from './leases/leases.ts';
import { type Accepted, Redirect } from './redirect.ts';
import { Claim } from './share/meeting-place.ts';
import { requestTotals, StolenPort } from './stolen-port.ts';
import type { Subscription } from './subscription.ts';

/** Ports that all sessions together may steal from one target; the kernel's map holds as many. */
export const MAX_PORTS = 1_024;
/** A probe of a target that is down sees a port that answers for so long. */
const LOOK_MS = 200;
/** Of a target that is down. A connection in this time after it is back goes to it with all its requests. */
const FIRST_LOOK_FOR_RETURN_MS = 10;
/** Requests that pass through us when the process is to end; whoever wants that kills it after 3 s. */
const RETIRE_MS = 1_500;
const RETIRE_STEP_MS = 10;

type Added = Readonly<{ notes: string[]; older: readonly OlderConnection[] }>;

export class StolenTarget {
  readonly #redirect: Redirect;
  readonly #leases: TargetLeases;
  /** Those that are nobody's any more as well, as connections may be on their way to them: the one that is so for longest first. */
  readonly #ports = new Map<number, StolenPort>();
  /** Of claims that are not decided. */
  readonly #claimed: StolenPort[] = [];
  #downSinceMs = Number.POSITIVE_INFINITY;
  #lookTimer: NodeJS.Timeout | undefined;
  #isClosed = false;
  #isReleased = false;

  constructor(handle: TargetHandle, way: Way, leases: TargetLeases) {
    this.#leases = leases;
    this.#redirect = Redirect.open(handle.namespaceFd, way, {
      onAccepted: (accepted) => this.#accept(accepted),
      // Only ports that are stolen are passed by, and they stay.
      onArrival: (arrival) => this.#ports.get(arrival.local.port)?.takeOver(arrival),
    });
  }

  /** How connections come here, for people. */
  get method(): string {
    return this.#redirect.method;
  }

  /** What is not as good as it could be, for people. */
  get notes(): readonly string[] {
    return this.#redirect.notes;
  }

  /**
   * Waits for its turn at the port and for its lease; who had his place before has it at once.
   *
   * @returns facts for its user, and what was connected before the port was taken
   * @throws AppError LIMIT_REACHED when somebody else has what it wants, or there are too many ports
   */
  claim(subscription: Subscription): Promise<Added> {
    const port = this.#portOf(subscription);
    this.#claimed.push(port);
    const claimed = this.#leases.claim(subscription, port, () => {
      this.#look();
      const notes = port.add(subscription);
      return { notes, older: port.older };
    });
    return claimed.finally(() => {
      this.#claimed.splice(this.#claimed.indexOf(port), 1);
    });
  }

  /** A place that its session lost by silence is none to come back to. */
  standingOf(sessionId: string, id: number, { port, standing }: Subscribe): Standing | undefined {
    return this.#leases.takeLost(sessionId, port, id) ? undefined : standing;
  }

  #portOf(subscription: Subscription): StolenPort {
    let port = this.#ports.get(subscription.port);
    if (port === undefined) {
      if (this.#ports.size >= MAX_PORTS) this.#forgetOne();
      port = new StolenPort(subscription.port, this.#redirect, this.#leases, () => this.#releaseWhenIdle());
      this.#ports.set(subscription.port, port);
    }
    return port;
  }

  /** @throws AppError LIMIT_REACHED when all are somebody's */
  #forgetOne(): void {
    for (const [number, port] of this.#ports) {
      if (!port.isIdle || port.connections > 0 || this.#claimed.includes(port)) continue;
      this.#ports.delete(number);
      port.release();
      return;
    }
    throw new AppError('LIMIT_REACHED', `${MAX_PORTS} ports of this target are stolen, the most there may be`);
  }

  /** Closes connections that are older than the redirect, one after the other, until its signal. */
  async renew(options: Omit<RenewalOptions, 'namespaceFd'>): Promise<RenewalResult> {
    return await this.#redirect.renew(options);
  }

  /**
   * @param isGone the session is: what it has of open connections ends too
   * @param isSilent it was not heard for the time of a lease
   */
  remove(subscription: Subscription, isGone: boolean, isSilent = false): void {
    if (isSilent) this.#leases.lose(subscription);
    const port = this.#ports.get(subscription.port);
    if (port === undefined) return;
    port.remove(subscription);
    if (isGone) port.revoke(subscription);
    this.#ports.delete(subscription.port);
    this.#ports.set(subscription.port, port);
  }

  /** No session is left: new connections go to the target, and those that pass through us go on until they end. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#lookTimer);
    this.#redirect.close();
    this.#releaseWhenIdle();
  }

  countPassed(): void {
    for (const port of this.#ports.values()) port.countPassed();
  }

  /** Nothing passes through us any more. */
  get isReleased(): boolean {
    return this.#isReleased;
  }

  /** The process is about to end. @returns whether an answer is due to somebody */
  retire(): boolean {
    return [...this.#ports.values()].filter((port) => port.retire()).length > 0;
  }

  /** Whether somebody of the target listens where sessions steal. */
  #look(): void {
    clearTimeout(this.#lookTimer);
    const listening = this.#redirect.listening();
    for (const port of this.#ports.values()) {
      try {
        port.targetListens(listening === null || listening.has(port.port));
      } catch {
        // The kernel was busy with the rules of somebody else (legacy_nat.cc): the next look tries again.
      }
    }
    this.#lookTimer = setTimeout(() => this.#look(), this.#untilNextLook()).unref();
  }

  /** The longer a target has been down, the less often. */
  #untilNextLook(): number {
    const isAnyDown = [...this.#ports.values()].some((port) => port.isDown);
    this.#downSinceMs = isAnyDown ? Math.min(this.#downSinceMs, performance.now()) : Number.POSITIVE_INFINITY;
    if (!isAnyDown) return LOOK_MS;
    return Math.min(LOOK_MS, Math.max(FIRST_LOOK_FOR_RETURN_MS, (performance.now() - this.#downSinceMs) / 100));
  }

  #releaseWhenIdle(): void {
    if (!this.#isClosed || this.#isReleased) return;
    for (const port of this.#ports.values()) if (port.connections > 0) return;
    this.#isReleased = true;
    for (const port of this.#ports.values()) port.release();
    this.#redirect.release();
  }

  #accept(accepted: Accepted): void {
    const port = this.#ports.get(accepted.local.port);
    if (port !== undefined && !port.isIdle) {
      port.accept(accepted);
    } else if (port !== undefined) {
      port.passOn(accepted);
    } else {
      // Somebody found the listener's own port.
      closeSync(accepted.fd);
    }
  }
}

type Entry = { readonly target: StolenTarget; readonly closeDoor: () => void; sessions: number };

/** Targets whose connections this process holds, by their namespace, each as long as a session needs it. */
export class StolenTargets {
  readonly #targets = new Map<string, Entry>();
  /** No session's any more, but connections may pass through us. */
  readonly #left = new Set<StolenTarget>();
  readonly #way: Way;
  readonly #leases: Leases;
  readonly #serve: (claim: Claim, namespaceKey: string) => () => void;

  /** @param serve hands sessions of other stealers in; returns what ends that */
  constructor(way: Way, leases: Leases, serve: (claim: Claim, namespaceKey: string) => () => void) {
    this.#way = way;
    this.#leases = leases;
    this.#serve = serve;
  }

  /**
   * For one session, until `detach`.
   *
   * @param mayHold begin to hold it when nobody does
   * @returns null when it is not ours: another stealer holds it, or nobody does
   * @throws AppError NOT_PERMITTED or UNSUPPORTED when this kernel does not redirect
   */
  attach(handle: TargetHandle, mayHold: boolean): StolenTarget | null {
    const entry = this.#targets.get(handle.namespaceKey) ?? (mayHold ? this.#hold(handle) : null);
    if (entry === null) return null;
    entry.sessions += 1;
    return entry.target;
  }

  detach(handle: TargetHandle): void {
    const entry = this.#targets.get(handle.namespaceKey);
    if (entry === undefined) return;
    entry.sessions -= 1;
    if (entry.sessions > 0) return;
    this.#targets.delete(handle.namespaceKey);
    this.#leave(entry);
  }

  #leave({ target, closeDoor }: Entry): void {
    for (const one of this.#left) if (one.isReleased) this.#left.delete(one);
    this.#left.add(target);
    target.close();
    closeDoor();
  }

  /** Requests on stolen ports, by who got them, since this process began. */
  stats(): Readonly<{ matched: number; passed: number }> {
    for (const { target } of this.#targets.values()) target.countPassed();
    return { ...requestTotals };
  }

  /** Gives everything back at once, in the order in which the next stealer needs it. */
  close(): void {
    for (const entry of this.#targets.values()) this.#leave(entry);
    this.#targets.clear();
  }

  /** The same, and resolves when nobody waits for an answer of a target's that comes through us, or waits for long. */
  async retire(): Promise<void> {
    this.close();
    const deadlineMs = performance.now() + RETIRE_MS;
    while ([...this.#left].filter((target) => target.retire()).length > 0 && performance.now() < deadlineMs) {
      await delay(RETIRE_STEP_MS);
    }
  }

  #hold(handle: TargetHandle): Entry | null {
    const claim = Claim.take(handle.namespaceFd);
    if (claim === null) return null;
    try {
      const target = new StolenTarget(handle, this.#way, this.#leases.of(handle.namespaceKey));
      const entry = { target, closeDoor: this.#serve(claim, handle.namespaceKey), sessions: 0 };
      this.#targets.set(handle.namespaceKey, entry);
      return entry;
    } catch (thrown) {
      claim.close();
      throw thrown;
    }
  }
}
