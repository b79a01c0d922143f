// The one capture of a network namespace, shared by every subscription to it: which ports are watched with which wishes, and
// who gets which connection. Nobody waits for anybody here: each copy has limits of its own (copy.ts).

import { errnoName } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import { type EndReason, LossReason } from '#proto/gen/v1/incoming.ts';
import type { CaptureMethod } from '#runtime/capture-settings.ts';
import { type FlowAddresses, type FlowEvents, readEvents } from './events.ts';
import { Joining } from './joining.ts';
import { endedFlows, LostEnds } from './lost-ends.ts';
import { type NativeCapture, type NativeCounters, native } from './native/index.ts';
import { requestPrefixes } from './prefilter.ts';
import { type LostInRing, RingLosses } from './ring-losses.ts';
import { type Selection, select } from './selection.ts';
import { type Subscription, UDP } from './subscription.ts';

export interface CaptureLimits {
  readonly ringBytes: number;
  readonly flows: number;
  readonly heldBytes: number;
  readonly bulkBytesPerSecond: number;
  readonly filter: CaptureMethod;
}

const RETIRE_MS = 8;
const WAITING_BYTES = 16 * 1024 * 1024;
const HELD_BYTES_OF_STREAM = 8 * 1024 * 1024;
const REPORT_EVERY_MS = 1_000;
/** bpf/capture.h. */
const MAX_PREFIXES = 16;

interface PortState {
  readonly protocol: number;
  readonly port: number;
  readonly subscriptions: Set<Subscription>;
  readonly ringLosses: RingLosses;
}

interface FlowState {
  readonly port: PortState;
  readonly addresses: FlowAddresses;
  /** Its answers are captured. */
  readonly hasAnswers: boolean;
  selections: readonly Selection[];
  /** Whose they are, one by one. */
  owners: readonly Subscription[];
}

export class TargetCapture implements FlowEvents {
  readonly isEbpf: boolean;
  readonly hasTaps: boolean;
  readonly refusal: string;
  readonly #capture: NativeCapture;
  readonly #ports = new Map<string, PortState>();
  readonly #flows = new Map<number, FlowState>();
  readonly #older = new Map<number, PortState>();
  readonly #timer: NodeJS.Timeout;
  readonly #onFailure: (error: AppError) => void;
  #ringLosses = 0;
  readonly #lostEnds = new LostEnds();
  #isCounting = false;
  #lostFragments = 0;
  readonly #marks = new Map<number, () => void>();
  #lastMark = 0;
  /** Whose sample the kernel takes. */
  #sampled: Subscription | null = null;
  #notSampled = 0;

  /** Throws NOT_PERMITTED when the kernel refuses us, SERVICE_UNAVAILABLE for anything else. */
  constructor(namespaceFd: number, limits: CaptureLimits, onFailure: (error: AppError) => void) {
    this.#onFailure = onFailure;
    const opened = native.open(
      {
        namespaceFd,
        wantsEbpf: limits.filter !== 'classic',
        wantsTaps: limits.filter === 'tcx',
        ringBytes: limits.ringBytes,
        bulkBytesPerSecond: limits.bulkBytesPerSecond,
        retireMs: RETIRE_MS,
        waitingBytes: WAITING_BYTES,
        flows: limits.flows,
        heldBytes: limits.heldBytes,
        heldBytesOfStream: HELD_BYTES_OF_STREAM,
      },
      (batch) => readEvents(batch, this),
    );
    if (opened.capture === null) throw refusalOf(opened.errno, opened.step);
    this.#capture = opened.capture;
    this.isEbpf = opened.isEbpf;
    this.hasTaps = opened.hasTaps;
    this.refusal = opened.refusal;
    this.#timer = setInterval(() => this.#report(), REPORT_EVERY_MS);
    this.#timer.unref();
  }

  get counters(): NativeCounters {
    return native.counters(this.#capture);
  }

  /** Throws SERVICE_UNAVAILABLE when the kernel has no room for the port. */
  add(subscription: Subscription): void {
    const state = this.#portOf(subscription);
    state.subscriptions.add(subscription);
    try {
      this.#apply(state);
      state.ringLosses.begin(subscription, this.#lostOf(state));
    } catch (error) {
      this.remove(subscription);
      throw error;
    }
    for (const flow of this.#flows.values()) {
      if (flow.port !== state) continue;
      const joining = new Joining(subscription, flow.addresses, flow.hasAnswers || !takesAnswers(subscription));
      flow.selections = [...flow.selections, joining];
      flow.owners = [...flow.owners, subscription];
    }
  }

  remove(subscription: Subscription): void {
    this.#countLosses();
    if (this.#sampled === subscription) this.#sampled = null;
    const state = this.#portOf(subscription);
    state.subscriptions.delete(subscription);
    state.ringLosses.end(subscription);
    if (state.subscriptions.size > 0) {
      this.#forget(subscription);
      this.#apply(state);
      return;
    }
    this.#ports.delete(keyOf(subscription));
    native.removePort(this.#capture, state.protocol, state.port);
  }

  #forget(subscription: Subscription): void {
    for (const flow of this.#flows.values()) {
      if (!flow.owners.includes(subscription)) continue;
      flow.selections = flow.selections.filter((_, at) => flow.owners[at] !== subscription);
      flow.owners = flow.owners.filter((owner) => owner !== subscription);
    }
  }

  /** When every copy has ended before its connection, the kernel need not copy the rest for nobody. */
  onCopyOver(flow: number): void {
    const selections = this.#flows.get(flow)?.selections;
    if (selections === undefined || selections.some(({ isOver }) => !isOver)) return;
    this.#flows.delete(flow);
    native.mute(this.#capture, flow);
  }

  /** Calls back when everything that has been captured by now was told; never once the capture is closed. */
  whenTold(act: () => void): void {
    this.#lastMark += 1;
    this.#marks.set(this.#lastMark, act);
    native.mark(this.#capture, this.#lastMark);
  }

  close(): void {
    clearInterval(this.#timer);
    native.close(this.#capture);
  }

  onOpen(flow: number, addresses: FlowAddresses, atNs: bigint): void {
    const port = this.#ports.get(`${addresses.protocol}:${addresses.localPort}`);
    if (port === undefined) return;
    this.#older.delete(flow);
    const owners = [...port.subscriptions].filter((subscription) => subscription.admits(addresses));
    const selections = owners.map((subscription) => select(subscription, addresses, atNs));
    const hasAnswers = [...port.subscriptions].some(takesAnswers);
    this.#flows.set(flow, { port, addresses, hasAnswers, selections, owners });
  }

  onBytes(flow: number, isAnswer: boolean, bytes: Buffer): void {
    const selections = this.#flows.get(flow)?.selections;
    if (selections !== undefined) for (const selection of selections) selection.bytes(bytes, isAnswer);
  }

  onGap(flow: number, isAnswer: boolean, bytes: number, reason: number): void {
    const state = this.#flows.get(flow);
    if (state === undefined) return;
    if (!isAnswer) state.port.ringLosses.gap(bytes, reason);
    for (const selection of state.selections) selection.gap(bytes, reason, isAnswer);
  }

  onHalfClose(flow: number, isAnswer: boolean, _atNs: bigint, isUnanswered: boolean): void {
    for (const selection of this.#flows.get(flow)?.selections ?? []) selection.halfClose(isAnswer, isUnanswered);
  }

  onClose(flow: number, reason: EndReason, atNs: bigint, isUnanswered: boolean): void {
    const state = this.#flows.get(flow);
    if (state === undefined) return;
    this.#flows.delete(flow);
    for (const selection of state.selections) selection.close(reason, atNs, isUnanswered);
  }

  onOlder(flow: number, addresses: FlowAddresses, reason: LossReason): void {
    const port = this.#ports.get(`${addresses.protocol}:${addresses.localPort}`);
    if (port === undefined) return;
    this.#older.set(flow, port);
    for (const { counts } of port.subscriptions) counts.lost(reason, { connections: 1 });
  }

  onOlderBytes(flow: number, bytes: number, reason: LossReason): void {
    for (const { counts } of this.#older.get(flow)?.subscriptions ?? []) counts.lost(reason, { bytes });
  }

  onOlderClose(flow: number): void {
    this.#older.delete(flow);
  }

  onNoRoom(addresses: FlowAddresses): void {
    const port = this.#ports.get(`${addresses.protocol}:${addresses.localPort}`);
    for (const { counts } of port?.subscriptions ?? []) {
      counts.lost(LossReason.LOSS_REASON_CONNECTION_LIMIT, { connections: 1 });
    }
  }

  onMark(number: number): void {
    const act = this.#marks.get(number);
    this.#marks.delete(number);
    act?.();
  }

  #lostOf({ protocol, port }: PortState): LostInRing {
    return native.lostOf(this.#capture, protocol, port);
  }

  #portOf(subscription: Subscription): PortState {
    const key = keyOf(subscription);
    let state = this.#ports.get(key);
    if (state === undefined) {
      const { protocol, wish } = subscription;
      state = { protocol, port: wish.port, subscriptions: new Set(), ringLosses: new RingLosses() };
      this.#ports.set(key, state);
    }
    return state;
  }

  /** The least that satisfies everybody: what one wants in full is not thinned for another. */
  #apply({ protocol, port, subscriptions }: PortState): void {
    const wishes = [...subscriptions].map(({ wish }) => wish);
    const prefixes = wishes.map(({ filter }) => requestPrefixes(filter));
    const allPrefixes = prefixes.every((list) => list.length > 0) ? prefixes.flat() : [];
    const errno = native.setPort(this.#capture, protocol, port, {
      samplePerMillion: this.#kernelSample(subscriptions),
      connectionBytes: 0,
      bytesPerSecond: 0,
      wantsAnswers: [...subscriptions].some(takesAnswers),
      fromAnywhere: wishes.some(({ withOlder }) => withOlder),
      requestPrefixes: allPrefixes.length <= MAX_PREFIXES ? allPrefixes : [],
    });
    if (errno === 0) return;
    throw new AppError('SERVICE_UNAVAILABLE', `port ${port} cannot be watched: ${errnoName(errno)}`, { errno });
  }

  /** One sample alone is taken in the kernel, which counts only a sum; of several each subscription takes its own. */
  #kernelSample(subscriptions: Set<Subscription>): number {
    const [only] = subscriptions;
    if (this.#sampled !== null && subscriptions.has(this.#sampled) && subscriptions.size > 1) this.#sampled = null;
    if (only === undefined || subscriptions.size > 1 || only.wish.samplePerMillion === 0) return 0;
    this.#sampled ??= only;
    return this.#sampled === only ? only.wish.samplePerMillion : 0;
  }

  #report(): void {
    const errno = native.failure(this.#capture);
    if (errno !== 0) {
      clearInterval(this.#timer);
      this.#onFailure(new AppError('SERVICE_UNAVAILABLE', `the capture has failed: ${errnoName(errno)}`, { errno }));
      return;
    }
    if (this.#lostEnds.isDue(performance.now())) this.#endWhatIsOver();
    // Of a capture that has no CPU one is on its way already.
    if (this.#isCounting) return;
    this.#isCounting = true;
    this.whenTold(() => {
      this.#isCounting = false;
      this.#countLosses();
      for (const { subscriptions } of this.#ports.values()) {
        for (const subscription of subscriptions) subscription.reportLosses();
      }
    });
  }

  /** What has ended by now, and is not told to have ended by everything that was captured by now. */
  #endWhatIsOver(): void {
    for (const port of this.#ports.values()) {
      const [anybody] = port.subscriptions;
      const connections = port.protocol === UDP ? null : anybody?.openConnections();
      if (connections === null || connections === undefined) continue;
      const flows = [...this.#flows].filter(([, flow]) => flow.port === port);
      const ended = endedFlows(
        flows.map(([id, { addresses }]) => [id, addresses]),
        connections,
      );
      if (ended.length > 0) this.whenTold(() => this.#end(ended));
    }
  }

  #end(flows: readonly number[]): void {
    for (const flow of flows) {
      const state = this.#flows.get(flow);
      if (state === undefined) continue;
      if (native.endFlow(this.#capture, flow)) state.port.ringLosses.loseEnd();
    }
  }

  /** What the kernel has counted since the last time. */
  #countLosses(): void {
    const { ringLosses, notSampledConnections, lostFragments } = this.counters;
    if (this.#sampled !== null) this.#sampled.counts.notSampled += notSampledConnections - this.#notSampled;
    this.#notSampled = notSampledConnections;
    const packets = ringLosses - this.#ringLosses;
    this.#ringLosses = ringLosses;
    if (packets > 0) this.#lostEnds.suspect(performance.now());
    const pieces = lostFragments - this.#lostFragments;
    this.#lostFragments = lostFragments;
    for (const state of this.#ports.values()) {
      if (this.isEbpf) state.ringLosses.count(this.#lostOf(state));
      for (const subscription of state.subscriptions) {
        // Of which port they were a ring behind a classic filter cannot tell.
        if (packets > 0 && !this.isEbpf) subscription.counts.lost(LossReason.LOSS_REASON_RING_FULL, { packets });
        // Whose they were only the first ones tell; TCP is seldom sent in fragments.
        if (pieces > 0 && subscription.protocol === UDP) {
          subscription.counts.lost(LossReason.LOSS_REASON_FRAGMENTED, { packets: pieces });
        }
      }
    }
  }
}

/** Whose answer it is cannot be told where a filter leaves out requests (selection.ts): then there are none. */
function takesAnswers({ wish, filter }: Subscription): boolean {
  return wish.withAnswers && filter === null;
}

function keyOf({ protocol, wish }: Subscription): string {
  return `${protocol}:${wish.port}`;
}

function refusalOf(errno: number, step: string): AppError {
  const name = errnoName(errno);
  if (name === 'EPERM' || name === 'EACCES') {
    const message = `${step}: ${name}: the sniffer needs CAP_NET_RAW and CAP_SYS_ADMIN in the target's network`;
    return new AppError('NOT_PERMITTED', message, { errno });
  }
  return new AppError('SERVICE_UNAVAILABLE', `the capture cannot start: ${step}: ${name}`, { errno });
}
