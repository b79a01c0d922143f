// Both ends of the client's incoming traffic for tests: the supervisor's, as frames of the wire, and the agent's with its
// sniffer, as frames of a session in memory. The local process is a server of the test.

import net from 'node:net';
import type { AppError } from '#proto/errors.ts';
import { toErrorDetail } from '#proto/errors.ts';
import { type Frame, makeFrame } from '#proto/frame.ts';
import { ErrorDetail } from '#proto/gen/v1/error.ts';
import { Credit, FrameKind } from '#proto/gen/v1/frame.ts';
import {
  Arrived,
  Counters,
  Ended,
  EndReason,
  Gap,
  HalfClosed,
  LossReason,
  Renewed,
  Subscribe,
  Subscribed,
} from '#proto/gen/v1/incoming.ts';
import { type Address, internet, parseIp, toSocketAddress } from '#proto/socket-address.ts';
import { WireDecoder, type WireFrame, WireKind, WireTransport } from '#proto/wire.ts';
import { BodyReader } from '#proto/wire-body.ts';
import { encodeIncomingRequest, type WireIncomingRequest } from '#proto/wire-incoming.ts';
import { readAddress } from '#proto/wire-net.ts';
import { Incoming } from '../incoming/incoming.ts';
import { type IncomingConfig, PortPolicy } from '../incoming/port-policy.ts';
import { Session } from '../session.ts';
import { loadText } from './load-text.ts';
import { ScriptedAgent } from './scripted-agent.ts';

export const at = (ip: string, port: number) => internet(parseIp(ip) as Uint8Array, port);
const DEADLINE_MS = 4_500;

export interface Arrival {
  readonly source: Address;
  readonly peer: Address;
  readonly local: Address;
}

export class ScriptedArrivals {
  readonly agent = new ScriptedAgent();
  readonly session: Session;
  readonly incoming: Incoming;
  readonly news: string[] = [];
  readonly troubles: string[] = [];
  readonly subscribed = new Map<number, Subscribe>();
  readonly unsubscribed: number[] = [];
  /** Of the client, by connection. */
  readonly credit = new Map<number, number>();
  readonly resets: number[] = [];
  /** What their heads say. */
  readonly resetErrnos: number[] = [];
  /** Heads of the client's HALF_CLOSE. */
  readonly localEnds: Uint8Array[] = [];
  readonly arrivals: Arrival[] = [];
  readonly over: Address[] = [];
  /** Result of each REPLY, and the address in it. */
  readonly replies = new Map<bigint, { result: number; address: Address | null }>();
  /** What a SUBSCRIBE is answered with; null: nothing yet. */
  answer: (subscribe: Subscribe) => AppError | 'yes' | null = () => 'yes';
  olderConnections = 0;
  renewals = 0;
  /** What UNSUBSCRIBE is answered with; null: nothing. */
  counters: Partial<Counters> | null = {};
  readonly #decoder = new WireDecoder();

  static async open(incoming: Record<string, unknown> = {}, seed?: number): Promise<ScriptedArrivals> {
    const { config } = await loadText(
      JSON.stringify({ feature: { network: { incoming: { mode: 'mirror', ...incoming } } } }),
    );
    const agent = new ScriptedAgent();
    const session = await Session.open({
      dial: agent.dial,
      address: 'unix:/none',
      token: 't',
      target: { kind: 'pid', pid: 4711 },
      wantsEnvironment: false,
      wantsFiles: false,
      wantsIncoming: true,
      deadlineMs: 1_000,
      onEvent: () => {},
      onLost: () => {},
    });
    return new ScriptedArrivals(agent, session, config.feature.network.incoming, seed);
  }

  private constructor(agent: ScriptedAgent, session: Session, config: IncomingConfig, seed: number | undefined) {
    this.agent = agent;
    this.session = session;
    this.incoming = new Incoming({
      session,
      policy: new PortPolicy(config),
      ...(seed === undefined ? {} : { seed }),
      onNews: (text) => this.news.push(text),
      onTrouble: (text) => this.troubles.push(text),
    });
    session.arrivals = (frame) => this.incoming.receiveFrame(frame);
    this.incoming.attach({
      send: (pieces) => {
        for (const piece of pieces) for (const frame of this.#decoder.push(piece)) this.#told(frame);
      },
    });
    agent.onConnection = (frame) => this.#asked(frame);
  }

  /** As the supervisor. */
  say(id: bigint, request: WireIncomingRequest): void {
    for (const frame of new WireDecoder().push(Buffer.concat(encodeIncomingRequest(id, request)))) {
      this.incoming.receive(frame);
    }
  }

  bind(id: bigint, asked: Address): void {
    this.say(id, { kind: WireKind.BIND, pid: 1, transport: WireTransport.TCP, asked });
  }

  /** The local process listens; `listener` names the socket. Resolves with the result of its listen. */
  async listen(
    listener: bigint,
    asked: Address,
    actual: Address,
    isV6Only = false,
    transport: WireTransport = WireTransport.TCP,
  ): Promise<number> {
    const id = 1_000n + listener;
    this.replies.delete(id);
    this.say(id, { kind: WireKind.LISTEN, pid: 1, listener, transport, isV6Only, asked, actual });
    await this.until(() => this.replies.has(id));
    return this.replies.get(id)?.result ?? Number.NaN;
  }

  closeListener(listener: bigint): void {
    this.say(0n, { kind: WireKind.LISTEN_CLOSED, listener });
  }

  /** As the sniffer: a connection of the newest subscription; as the stealer: with credit, and perhaps for requests. */
  arrive(
    id: number,
    data = '',
    peer = at('10.9.9.9', 4_000),
    stolen: Pick<Arrived, 'creditBytes' | 'isForRequests'> = { creditBytes: 0, isForRequests: false },
    local = at('10.1.2.4', 80),
  ): void {
    const subscription = [...this.subscribed.keys()].at(-1) ?? 0;
    const head = Arrived.encode({
      subscription,
      peer: toSocketAddress(peer),
      local: toSocketAddress(local),
      atNs: 1n,
      isOlder: false,
      ...stolen,
      interface: 'eth0',
      tls: undefined,
    }).finish();
    this.send(id, FrameKind.FRAME_KIND_ARRIVED, head, Buffer.from(data));
  }

  data(id: number, data: string | Uint8Array): void {
    this.send(id, FrameKind.FRAME_KIND_DATA, undefined, Buffer.from(data as Uint8Array));
  }

  halfClose(id: number, isUnanswered = false): void {
    this.send(id, FrameKind.FRAME_KIND_HALF_CLOSE, HalfClosed.encode({ isUnanswered }).finish());
  }

  gap(id: number, bytes: number): void {
    const reason = LossReason.LOSS_REASON_NOT_SEEN;
    const head = Gap.encode({ bytes: BigInt(bytes), datagrams: 0, reason, offset: 0n, isAnswer: false }).finish();
    this.send(id, FrameKind.FRAME_KIND_GAP, head);
  }

  end(id: number, reason: EndReason = EndReason.END_REASON_CLOSED, isUnanswered = false): void {
    const head = Ended.encode({ reason, error: undefined, bytes: 0n, lostBytes: 0n, atNs: 2n, isUnanswered }).finish();
    this.send(id, FrameKind.FRAME_KIND_ENDED, head);
  }

  send(id: number, kind: FrameKind, head?: Uint8Array, data?: Uint8Array): void {
    this.agent.stream.send(makeFrame(id, kind, head, data));
  }

  async until(condition: () => boolean): Promise<void> {
    const deadline = performance.now() + DEADLINE_MS;
    while (!condition()) {
      if (performance.now() > deadline) throw new Error('waited in vain');
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  #asked(frame: Frame): void {
    switch (frame.kind) {
      case FrameKind.FRAME_KIND_SUBSCRIBE: {
        const subscribe = Subscribe.decode(frame.head);
        this.subscribed.set(frame.id, subscribe);
        const answer = this.answer(subscribe);
        if (answer === 'yes') this.confirm(frame.id);
        else if (answer !== null) {
          this.send(frame.id, FrameKind.FRAME_KIND_ERROR, ErrorDetail.encode(toErrorDetail(answer)).finish());
        }
        return;
      }
      case FrameKind.FRAME_KIND_UNSUBSCRIBE: {
        this.unsubscribed.push(frame.id);
        if (this.counters === null) return;
        const none = { connections: 0n, bytes: 0n, datagrams: 0n, requests: 0n, notMatched: 0n, notSampled: 0n };
        const head = Counters.encode({ ...none, losses: [], ...this.counters }).finish();
        this.send(frame.id, FrameKind.FRAME_KIND_UNSUBSCRIBED, head);
        return;
      }
      case FrameKind.FRAME_KIND_CREDIT:
        this.credit.set(frame.id, (this.credit.get(frame.id) ?? 0) + Credit.decode(frame.head).bytes);
        return;
      case FrameKind.FRAME_KIND_RESET:
        this.resets.push(frame.id);
        this.resetErrnos.push(frame.head.length === 0 ? 0 : ErrorDetail.decode(frame.head).errno);
        return;
      case FrameKind.FRAME_KIND_HALF_CLOSE:
        this.localEnds.push(frame.head);
        return;
      case FrameKind.FRAME_KIND_RENEW:
        this.renewals += 1;
    }
  }

  renewed(connections: number, failed: number): void {
    const head = Renewed.encode({ connections, failed, reason: 'why not', peers: [] }).finish();
    this.send([...this.subscribed.keys()].at(-1) ?? 0, FrameKind.FRAME_KIND_RENEWED, head);
  }

  confirm(subscription: number): void {
    const head = Subscribed.encode({
      olderConnections: this.olderConnections,
      notes: [],
      olderPeers: Array.from({ length: this.olderConnections }, (_, nth) =>
        toSocketAddress(at('10.9.9.9', 5_000 + nth)),
      ),
      standing: undefined,
      lease: '',
    }).finish();
    this.send(subscription, FrameKind.FRAME_KIND_SUBSCRIBED, head);
  }

  #told(frame: WireFrame): void {
    const reader = new BodyReader(frame.body);
    if (frame.kind === WireKind.REPLY) {
      const result = reader.i32();
      this.replies.set(frame.id, { result, address: frame.body.length > 4 ? readAddress(reader) : null });
    } else if (frame.kind === WireKind.ARRIVAL) {
      const [source, peer, local] = [readAddress(reader), readAddress(reader), readAddress(reader)];
      this.arrivals.push({ source, peer, local } as Arrival);
      setImmediate(() => this.say(frame.id, { kind: WireKind.ARRIVAL_KNOWN }));
    } else if (frame.kind === WireKind.ARRIVAL_OVER) this.over.push(readAddress(reader) as Address);
  }
}

/** The local process's server: what each of its connections brought, and how it ended. */
export interface Served {
  readonly socket: net.Socket;
  text: string;
  hasEnded: boolean;
  error: string | null;
}

export class LocalServer {
  readonly connections: Served[] = [];
  readonly #server: net.Server;

  private constructor(server: net.Server) {
    this.#server = server;
  }

  static async open(host = '127.0.0.1', onConnection: (served: Served) => void = () => {}): Promise<LocalServer> {
    const server = net.createServer({ allowHalfOpen: true });
    const local = new LocalServer(server);
    server.on('connection', (socket) => {
      const served: Served = { socket, text: '', hasEnded: false, error: null };
      local.connections.push(served);
      socket.on('data', (chunk) => {
        served.text += chunk;
      });
      socket.on('end', () => {
        served.hasEnded = true;
      });
      socket.on('error', (error: NodeJS.ErrnoException) => {
        served.error = error.code ?? '';
      });
      onConnection(served);
    });
    await new Promise<void>((resolve) => server.listen(0, host, resolve));
    return local;
  }

  get address(): Address {
    const { address, port } = this.#server.address() as net.AddressInfo;
    return at(address, port);
  }

  close(): void {
    for (const { socket } of this.connections) socket.destroy();
    this.#server.close();
  }
}
