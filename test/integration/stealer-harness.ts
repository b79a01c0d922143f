// A session with the real stealer in this process, whose client hands what is taken to a local port, as a client does.

import { mkdtemp, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
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
  type ConflictPolicy,
  Counters,
  Ended,
  type HttpCondition,
  type HttpHandling,
  IncomingFacts,
  IncomingMode,
  Renew,
  Renewed,
  Subscribe,
  Subscribed,
  type TlsFacts,
  type TlsIdentity,
} from '../../proto/gen/v1/incoming.ts';
import { Transport } from '../../proto/gen/v1/network.ts';
import { decodeHead, type SessionStream } from '../../proto/session-stream.ts';
import { addressText, fromSocketAddress } from '../../proto/socket-address.ts';
import { mintToken, newSessionId, SESSION_KEY_BYTES } from '../../proto/token.ts';
import type { Bus } from '../../services/runtime/bus.ts';
import type { Way } from '../../services/runtime/redirect-ways.ts';
import { openStealer } from '../../services/stealer/server.ts';

export const key = Buffer.alloc(SESSION_KEY_BYTES, 7);

export interface Stealer {
  readonly address: string;
  readonly liveSessions: number;
  /** As its process does before it ends. */
  retire(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * @param redirect how connections are to be redirected
 * @param bus where its leases are
 */
export async function startStealer(redirect: Way = 'auto', bus: Bus | null = null): Promise<Stealer> {
  const folder = await mkdtemp(path.join(tmpdir(), 'mirrord-stealer-'));
  const server = await openStealer({
    address: `unix:${folder}/s`,
    sessionKey: key,
    maxSessions: 16,
    logger: pino({ level: 'silent' }),
    redirect,
  });
  if (bus !== null) await server.useBus?.(bus);
  return {
    address: server.address,
    get liveSessions() {
      return server.liveSessions;
    },
    retire: () => server.retire(),
    [Symbol.asyncDispose]: async () => {
      server.close();
      await rm(folder, { recursive: true });
    },
  };
}

type Steal = Readonly<{
  port: number;
  conditions?: ReadonlyArray<NonNullable<HttpCondition['condition']>>;
  onConflict?: ConflictPolicy;
  tls?: readonly TlsIdentity[];
  http?: HttpHandling;
}>;

export class StealClient {
  facts: IncomingFacts | undefined;
  /** Who connected, as text. */
  readonly peers: string[] = [];
  /** Of those that came in TLS which was ended by the stealer. */
  readonly tls: TlsFacts[] = [];
  readonly ended: Ended[] = [];
  readonly errors: AppError[] = [];
  closedBy: AppError | null | undefined;
  #stream!: SessionStream;
  readonly #localPort: number;
  readonly #waiting = new Map<number, { resolve: (frame: Frame) => void; reject: (error: Error) => void }>();
  readonly #sockets = new Map<number, Socket>();
  /** Bytes that may be sent back, by connection. */
  readonly #credits = new Map<number, number>();
  #nextId = 1;

  readonly sessionId = newSessionId();

  private constructor(localPort: number) {
    this.#localPort = localPort;
  }

  static async open(
    stealer: Pick<Stealer, 'address'>,
    target: { pid: number; startTimeTicks: bigint },
    localPort: number,
  ): Promise<StealClient> {
    const client = new StealClient(localPort);
    const request = { ...target, containerId: '', wantsEnvironment: false, wantsFiles: false };
    const opened = new Promise<void>((resolve, reject) => {
      client.#waiting.set(0, {
        resolve: (frame) => {
          client.facts = decodeHead(IncomingFacts.decode, frame.head);
          resolve();
        },
        reject,
      });
    });
    client.#stream = await dial({
      address: stealer.address,
      service: 'Stealer',
      token: mintToken(key, client.sessionId, 60),
      deadlineMs: 5_000,
      opening: makeFrame(0, FrameKind.FRAME_KIND_SESSION_OPEN, AttachTarget.encode(request).finish()),
      onFrame: (frame) => client.#onFrame(frame),
      onClosed: (error) => client.#onClosed(error),
    });
    await opened;
    return client;
  }

  async steal({
    port,
    conditions,
    onConflict = 1,
    tls = [],
    http,
  }: Steal): Promise<{ id: number; subscribed: Subscribed }> {
    const id = this.#nextId;
    this.#nextId += 2;
    const head = Subscribe.encode({
      mode: IncomingMode.INCOMING_MODE_STEAL,
      transport: Transport.TRANSPORT_TCP,
      port,
      filter:
        conditions === undefined
          ? undefined
          : { conditions: conditions.map((condition) => ({ condition })), isAny: false },
      connectionBytes: 0,
      limitBytes: 0,
      maxConnections: 0,
      samplePerMillion: 0,
      maxBytesPerSecond: 0n,
      withAnswers: false,
      withOlder: false,
      onConflict,
      flushConnections: false,
      isAgain: false,
      standing: undefined,
      tls: [...tls],
      http,
    }).finish();
    const answer = await this.#ask(makeFrame(id, FrameKind.FRAME_KIND_SUBSCRIBE, head));
    return { id, subscribed: decodeHead(Subscribed.decode, answer.head) };
  }

  async unsubscribe(id: number): Promise<Counters> {
    return decodeHead(Counters.decode, (await this.#ask(makeFrame(id, FrameKind.FRAME_KIND_UNSUBSCRIBE))).head);
  }

  /** Closes what was connected before, one after the other. */
  async renew(id: number): Promise<Renewed> {
    const head = Renew.encode({ perSecond: 100 }).finish();
    return decodeHead(Renewed.decode, (await this.#ask(makeFrame(id, FrameKind.FRAME_KIND_RENEW, head))).head);
  }

  /** Gone without a word. */
  vanish(): void {
    this.#stream.destroy();
  }

  [Symbol.dispose](): void {
    this.vanish();
  }

  #ask(frame: Frame): Promise<Frame> {
    return new Promise((resolve, reject) => {
      this.#waiting.set(frame.id, { resolve, reject });
      this.#stream.send(frame);
    });
  }

  #onFrame(frame: Frame): void {
    const waiting = this.#waiting.get(frame.id);
    switch (frame.kind) {
      case FrameKind.FRAME_KIND_SESSION_OPENED:
      case FrameKind.FRAME_KIND_SUBSCRIBED:
      case FrameKind.FRAME_KIND_UNSUBSCRIBED:
      case FrameKind.FRAME_KIND_RENEWED:
        this.#waiting.delete(frame.id);
        waiting?.resolve(frame);
        return;
      case FrameKind.FRAME_KIND_ERROR: {
        const error = fromErrorDetail(decodeHead(ErrorDetail.decode, frame.head));
        this.#waiting.delete(frame.id);
        this.errors.push(error);
        waiting?.reject(error);
        return;
      }
      case FrameKind.FRAME_KIND_ARRIVED:
        this.#onArrived(frame);
        return;
      case FrameKind.FRAME_KIND_DATA:
        this.#onData(frame);
        return;
      case FrameKind.FRAME_KIND_CREDIT:
        this.#onCredit(frame);
        return;
      case FrameKind.FRAME_KIND_HALF_CLOSE:
        this.#sockets.get(frame.id)?.end();
        return;
      case FrameKind.FRAME_KIND_ENDED:
        this.ended.push(decodeHead(Ended.decode, frame.head));
        this.#sockets.get(frame.id)?.destroy();
        this.#sockets.delete(frame.id);
        return;
      default:
    }
  }

  #onArrived({ id, head }: Frame): void {
    const { tls, ...arrived } = decodeHead(Arrived.decode, head);
    const peer = fromSocketAddress(arrived.peer);
    if (tls !== undefined) this.tls.push(tls);
    this.peers.push(peer === null ? '' : addressText(peer));
    const socket = connect({ port: this.#localPort, host: '127.0.0.1', allowHalfOpen: true });
    this.#sockets.set(id, socket);
    this.#credits.set(id, arrived.creditBytes);
    // By reading only what may be sent back.
    socket.on('readable', () => this.#answer(id, socket));
    socket.on('end', () => this.#stream.send(makeFrame(id, FrameKind.FRAME_KIND_HALF_CLOSE)));
    socket.on('error', () => this.#stream.send(makeFrame(id, FrameKind.FRAME_KIND_RESET)));
  }

  #answer(id: number, socket: Socket): void {
    for (;;) {
      const credit = this.#credits.get(id) ?? 0;
      const data = credit === 0 ? null : (socket.read(Math.min(credit, socket.readableLength)) as Buffer | null);
      if (data === null || data.length === 0) return;
      this.#credits.set(id, credit - data.length);
      for (let at = 0; at < data.length; at += 65_536) {
        this.#stream.send(makeFrame(id, FrameKind.FRAME_KIND_DATA, undefined, data.subarray(at, at + 65_536)));
      }
    }
  }

  #onCredit({ id, head }: Frame): void {
    const socket = this.#sockets.get(id);
    if (socket === undefined) return;
    this.#credits.set(id, (this.#credits.get(id) ?? 0) + decodeHead(Credit.decode, head).bytes);
    this.#answer(id, socket);
  }

  #onData({ id, data }: Frame): void {
    const { length } = data;
    this.#sockets.get(id)?.write(Buffer.from(data), () => {
      const head = Credit.encode({ bytes: length }).finish();
      if (this.#sockets.has(id)) this.#stream.send(makeFrame(id, FrameKind.FRAME_KIND_CREDIT, head));
    });
  }

  #onClosed(error: AppError | null): void {
    this.closedBy = error;
    for (const { reject } of this.#waiting.values()) reject(error ?? new Error('closed'));
    for (const socket of this.#sockets.values()) socket.destroy();
    this.#sockets.clear();
  }
}
