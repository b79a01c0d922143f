// A session with the real sniffer in this process, as the agent has it: subscriptions, and everything that arrives on them.

import { createHash, type Hash } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { dial } from '../../proto/dial.ts';
import { type AppError, fromErrorDetail } from '../../proto/errors.ts';
import { type Frame, makeFrame } from '../../proto/frame.ts';
import { ErrorDetail } from '../../proto/gen/v1/error.ts';
import { Credit, FrameKind } from '../../proto/gen/v1/frame.ts';
import { AttachTarget } from '../../proto/gen/v1/fs_env.ts';
import {
  Arrived,
  Counters,
  Ended,
  EndReason,
  Gap,
  IncomingFacts,
  IncomingMode,
  LossReason,
  Renew,
  Renewed,
  Subscribe,
  Subscribed,
} from '../../proto/gen/v1/incoming.ts';
import { type SocketAddress, Transport } from '../../proto/gen/v1/network.ts';
import type { SessionStream } from '../../proto/session-stream.ts';
import { mintToken, newSessionId, SESSION_KEY_BYTES } from '../../proto/token.ts';
import type { SnifferServer } from '../../services/sniffer/server.ts';
import type { CaptureLimits } from '../../services/sniffer/target-capture.ts';

/** Everything on a TCP port. */
const WISH: Subscribe = {
  mode: IncomingMode.INCOMING_MODE_MIRROR,
  transport: Transport.TRANSPORT_TCP,
  port: 0,
  filter: undefined,
  connectionBytes: 0,
  limitBytes: 0,
  maxConnections: 0,
  samplePerMillion: 0,
  maxBytesPerSecond: 0n,
  withAnswers: false,
  withOlder: false,
  onConflict: 0,
  flushConnections: false,
  isAgain: false,
  standing: undefined,
  tls: [],
  http: undefined,
};

/** Credit is given back in such portions where arrivals are only counted, as client/incoming/copy.ts does. */
const GRANT_BYTES = 64 * 1024;

/** `END_REASON_CLOSED`. */
function nameOf(values: Record<string, number>, value: number): string {
  return Object.keys(values).find((name) => values[name] === value) ?? String(value);
}

export const snifferKey = Buffer.alloc(SESSION_KEY_BYTES, 9);

export interface RunningSniffer extends SnifferServer {
  [Symbol.asyncDispose](): Promise<void>;
}

export async function startSniffer(limits: Partial<CaptureLimits> = {}): Promise<RunningSniffer> {
  const folder = await mkdtemp(path.join(tmpdir(), 'mirrord-sniffer-'));
  // Loaded when it is used: a bench measures a sniffer that is another process.
  const { openSniffer } = await import('../../services/sniffer/server.ts');
  const server = await openSniffer({
    address: `unix:${folder}/s`,
    sessionKey: snifferKey,
    maxSessions: 16,
    limits: {
      ringBytes: 16 << 20,
      flows: 65_536,
      heldBytes: 64 << 20,
      bulkBytesPerSecond: 0,
      filter: 'tcx',
      ...limits,
    },
    logger: pino({ level: 'silent' }),
  });
  return Object.assign(Object.create(server) as SnifferServer, {
    [Symbol.asyncDispose]: async () => {
      server.close();
      await rm(folder, { recursive: true, force: true });
    },
  });
}

/** One connection as the client of a session sees it. */
export class Seen {
  readonly peerPort: number;
  readonly peer: string;
  readonly local: string;
  readonly isOlder: boolean;
  readonly gaps: Gap[] = [];
  readonly datagrams: string[] = [];
  bytes = 0;
  notGranted = 0;
  answerBytes = 0;
  hasHalfClosed = false;
  hasAnswerEnd = false;
  ended: Ended | null = null;
  text = '';
  readonly #sum = createHash('sha256');
  readonly #answerSum = createHash('sha256');

  constructor({ peer, local, isOlder }: Arrived) {
    this.peer = textOf(peer);
    this.local = textOf(local);
    this.peerPort = peer?.address?.$case === 'internet' ? peer.address.value.port : 0;
    this.isOlder = isOlder;
  }

  get sha256(): string {
    return digest(this.#sum);
  }

  get answerSha256(): string {
    return digest(this.#answerSum);
  }

  get endReason(): string {
    return nameOf(EndReason, this.ended?.reason ?? 0);
  }

  add(data: Uint8Array, isAnswer: boolean): void {
    (isAnswer ? this.#answerSum : this.#sum).update(data);
    if (isAnswer) this.answerBytes += data.length;
    else this.bytes += data.length;
    if (!isAnswer && this.text.length < 4_096) this.text += Buffer.from(data).toString('latin1');
    if (!isAnswer) this.datagrams.push(Buffer.from(data).toString('latin1'));
    if (this.datagrams.length > 64) this.datagrams.shift();
  }
}

export interface MirrorOptions extends Partial<Subscribe> {
  port: number;
}

export class Mirror {
  readonly facts: IncomingFacts;
  readonly seen: Seen[] = [];
  readonly #byId = new Map<number, Seen>();
  readonly #changes = new EventEmitter().setMaxListeners(0);
  readonly #stream: SessionStream;
  readonly #answers = new Map<number, (frame: Frame) => void>();
  /** Of LOSSES and at the end. */
  losses = new Map<string, { connections: number; bytes: number; packets: number }>();
  grants = true;
  /** As `mirrord exec` does: a copy with a gap is ended. */
  resets = false;
  /** Of what arrives only the number of bytes is kept: for a bench, whose session must not cost more than what it measures. */
  onlyCounts = false;
  events = 0;
  closed: AppError | null | undefined;
  #nextId = 1;

  private constructor(stream: SessionStream, facts: IncomingFacts) {
    this.#stream = stream;
    this.facts = facts;
  }

  static async open(server: { address: string }, target: { pid: number; startTimeTicks: bigint }): Promise<Mirror> {
    const { promise, resolve, reject } = withResolvers<IncomingFacts>();
    promise.catch(() => undefined);
    let mirror: Mirror | null = null;
    const attach = { containerId: '', wantsEnvironment: false, wantsFiles: false, ...target };
    const stream = await dial({
      address: server.address,
      service: 'Sniffer',
      token: mintToken(snifferKey, newSessionId(), 60),
      deadlineMs: 30_000,
      opening: makeFrame(0, FrameKind.FRAME_KIND_SESSION_OPEN, AttachTarget.encode(attach).finish()),
      onFrame: (frame) => {
        if (frame.kind === FrameKind.FRAME_KIND_SESSION_OPENED) resolve(IncomingFacts.decode(frame.head));
        else mirror?.receive(frame);
      },
      onClosed: (error) => {
        reject(error ?? new Error('closed'));
        if (mirror === null) return;
        mirror.closed = error;
        mirror.#changes.emit('change');
      },
    });
    mirror = new Mirror(stream, await promise);
    return mirror;
  }

  /** Rejects with what the sniffer says. */
  async subscribe({ port, ...wish }: MirrorOptions): Promise<{ id: number; subscribed: Subscribed }> {
    const id = this.#nextId;
    this.#nextId += 2;
    const head = Subscribe.encode({ ...WISH, port, ...wish }).finish();
    const frame = await this.#ask(id, FrameKind.FRAME_KIND_SUBSCRIBE, head);
    return { id, subscribed: Subscribed.decode(frame.head) };
  }

  /** Resolves with the sum, when every connection of it has ended. */
  async unsubscribe(id: number): Promise<Counters> {
    const frame = await this.#ask(id, FrameKind.FRAME_KIND_UNSUBSCRIBE);
    return Counters.decode(frame.head);
  }

  /** Resolves when every older connection has had its turn. */
  async renew(id: number, perSecond: number): Promise<Renewed> {
    const frame = await this.#ask(id, FrameKind.FRAME_KIND_RENEW, Renew.encode({ perSecond }).finish());
    return Renewed.decode(frame.head);
  }

  reset(seen: Seen): void {
    for (const [id, one] of this.#byId) {
      if (one === seen) this.#stream.send(makeFrame(id, FrameKind.FRAME_KIND_RESET));
    }
  }

  grantTo(seen: Seen, bytes: number): void {
    for (const [id, one] of this.#byId) if (one === seen) this.#grant(id, bytes);
  }

  /** Resolves once it holds; the deadline is generous, for a machine that is busy. */
  async until<T>(what: string, holds: () => T | undefined | false, deadlineMs = 30_000): Promise<T> {
    const signal = AbortSignal.timeout(deadlineMs);
    for (;;) {
      const value = holds();
      if (value !== undefined && value !== false) return value;
      if (this.closed !== undefined) throw new Error(`the session ended before ${what}`, { cause: this.closed });
      try {
        await once(this.#changes, 'change', { signal });
      } catch (cause) {
        throw new Error(`${what}: not within ${deadlineMs} ms; seen ${this.seen.length} connections`, { cause });
      }
    }
  }

  /** The connection of a peer's port, once it has ended. */
  over(peerPort: number): Promise<Seen> {
    return this.until(`connection of port ${peerPort} is over`, () =>
      this.seen.find((one) => one.peerPort === peerPort && one.ended !== null),
    );
  }

  end(): void {
    this.#stream.destroy();
  }

  [Symbol.dispose](): void {
    this.end();
  }

  #ask(id: number, kind: FrameKind, head?: Uint8Array): Promise<Frame> {
    const { promise, resolve, reject } = withResolvers<Frame>();
    this.#answers.set(id, (frame) => {
      if (frame.kind === FrameKind.FRAME_KIND_ERROR) reject(fromErrorDetail(ErrorDetail.decode(frame.head)));
      else resolve(frame);
    });
    this.#stream.send(makeFrame(id, kind, head));
    return promise;
  }

  receive(frame: Frame): void {
    this.#take(frame);
    this.#changes.emit('change');
  }

  #take({ id, kind, head, data }: Frame): void {
    const seen = this.#byId.get(id);
    switch (kind) {
      case FrameKind.FRAME_KIND_ARRIVED: {
        const arrived = new Seen(Arrived.decode(head));
        this.seen.push(arrived);
        this.#byId.set(id, arrived);
        return;
      }
      case FrameKind.FRAME_KIND_DATA:
      case FrameKind.FRAME_KIND_ANSWER:
        if (seen === undefined) throw new Error(`data on ${id}, which is no connection`);
        if (kind === FrameKind.FRAME_KIND_ANSWER && data.length === 0) seen.hasAnswerEnd = true;
        else if (this.onlyCounts) this.#count(id, seen, data.length);
        else seen.add(data, kind === FrameKind.FRAME_KIND_ANSWER);
        if (this.grants && !this.onlyCounts && data.length > 0) this.#grant(id, data.length);
        return;
      case FrameKind.FRAME_KIND_GAP:
        seen?.gaps.push(Gap.decode(head));
        if (this.resets && seen !== undefined) this.reset(seen);
        return;
      case FrameKind.FRAME_KIND_HALF_CLOSE:
        if (seen !== undefined) seen.hasHalfClosed = true;
        return;
      case FrameKind.FRAME_KIND_ENDED:
        if (seen !== undefined) seen.ended = Ended.decode(head);
        this.#byId.delete(id);
        return;
      case FrameKind.FRAME_KIND_LOSSES:
        this.#addLosses(Counters.decode(head));
        return;
      case FrameKind.FRAME_KIND_SESSION_EVENT:
        this.events += 1;
        return;
      default: {
        const answer = this.#answers.get(id);
        this.#answers.delete(id);
        answer?.({ id, kind, head: Uint8Array.from(head), data });
      }
    }
  }

  #count(id: number, seen: Seen, bytes: number): void {
    seen.bytes += bytes;
    seen.notGranted += bytes;
    if (!this.grants || seen.notGranted < GRANT_BYTES) return;
    this.#grant(id, seen.notGranted);
    seen.notGranted = 0;
  }

  #addLosses({ losses }: Counters): void {
    for (const { reason, connections, bytes, packets } of losses) {
      const name = nameOf(LossReason, reason);
      const sum = this.losses.get(name) ?? { connections: 0, bytes: 0, packets: 0 };
      sum.connections += Number(connections);
      sum.bytes += Number(bytes);
      sum.packets += Number(packets);
      this.losses.set(name, sum);
    }
  }

  #grant(id: number, bytes: number): void {
    this.#stream.send(makeFrame(id, FrameKind.FRAME_KIND_CREDIT, Credit.encode({ bytes }).finish()));
  }
}

function digest(sum: Hash): string {
  return sum.copy().digest('hex');
}

function textOf(address: SocketAddress | undefined): string {
  if (address?.address?.$case !== 'internet') return '?';
  const { ip, port } = address.address.value;
  return `${ip.length === 4 ? [...ip].join('.') : Buffer.from(ip).toString('hex')}:${port}`;
}

function withResolvers<T>(): { promise: Promise<T>; resolve: (value: T) => void; reject: (error: Error) => void } {
  let resolve!: (value: T) => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
