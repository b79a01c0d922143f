// Both ends of the client's network for tests: the supervisor's, as frames of the wire, and the agent's, as frames of a
// session in memory. Between them the client's own code.

import { setTimeout as delay } from 'node:timers/promises';
import { AppError, toErrorDetail } from '#proto/errors.ts';
import { type Frame, makeFrame } from '#proto/frame.ts';
import { ErrorDetail } from '#proto/gen/v1/error.ts';
import { Credit, FrameKind } from '#proto/gen/v1/frame.ts';
import { Connect, Connected, Datagram } from '#proto/gen/v1/network.ts';
import { type Address, fromSocketAddress, internet, parseIp, toSocketAddress } from '#proto/socket-address.ts';
import { WireDecoder, type WireFrame, WireKind, WireTransport } from '#proto/wire.ts';
import { encodeNetRequest, flowData, flowDatagram, readAddress, type WireNetRequest } from '#proto/wire-net.ts';
import { decodeReply } from '#proto/wire-supervisor.ts';
import { Network, type NetworkOptions } from '../network/network.ts';
import { Session } from '../session.ts';
import { ScriptedAgent } from './scripted-agent.ts';

export const at = (ip: string, port: number) => internet(parseIp(ip) as Uint8Array, port);
const DEADLINE_MS = 4_500;
export const LOCAL = at('10.99.0.1', 40_001);

export interface Reply {
  readonly result: number;
  readonly addresses: (Address | null)[];
}

/** One connection as the agent has it. */
export interface AgentEnd {
  readonly id: number;
  readonly connect: Connect;
  readonly firstData: Buffer;
  readonly frames: Frame[];
}

export class ScriptedNetwork {
  readonly agent = new ScriptedAgent();
  readonly network: Network;
  readonly session: Session;
  readonly troubles: AppError[] = [];
  /** Frames of flows, as the supervisor gets them; replies are kept apart. */
  readonly told: WireFrame[] = [];
  readonly replies = new Map<bigint, Reply>();
  readonly ends: AgentEnd[] = [];
  /** What the supervisor has not taken. */
  waitingBytes = 0;
  readonly #decoder = new WireDecoder();
  readonly #drainWaiters: (() => void)[] = [];

  static async open(options: (session: Session) => Omit<NetworkOptions, 'session' | 'onTrouble'>) {
    const agent = new ScriptedAgent();
    const session = await Session.open({
      dial: agent.dial,
      address: 'unix:/none',
      token: 't',
      target: { kind: 'pid', pid: 4711 },
      wantsEnvironment: false,
      wantsFiles: false,
      wantsNetwork: true,
      deadlineMs: 1_000,
      onEvent: () => {},
      onLost: () => {},
    });
    return new ScriptedNetwork(agent, session, options(session));
  }

  private constructor(agent: ScriptedAgent, session: Session, options: Omit<NetworkOptions, 'session' | 'onTrouble'>) {
    this.agent = agent;
    this.session = session;
    this.network = new Network({ ...options, session, onTrouble: (error) => this.troubles.push(error) });
    const kept = this;
    this.network.attach({
      get waitingBytes() {
        return kept.waitingBytes;
      },
      send: (pieces) => {
        for (const piece of pieces) for (const frame of this.#decoder.push(piece)) this.#take(frame);
      },
      drained: () => new Promise((resolve) => this.#drainWaiters.push(resolve)),
    });
    agent.onConnection = (frame) => this.#onAgentFrame(frame);
  }

  /** As the supervisor. */
  say(id: bigint, request: WireNetRequest): void {
    this.#receive(encodeNetRequest(id, request));
  }

  cancel(id: bigint): void {
    this.network.receive({ kind: WireKind.CANCEL, id, body: Buffer.alloc(0) });
  }

  sayData(id: bigint, data: Uint8Array): void {
    this.#receive(flowData(id, data));
  }

  sayDatagram(id: bigint, peer: Address | null, data: Uint8Array): void {
    this.#receive(flowDatagram(id, peer, data));
  }

  connect(id: bigint, peer: Address, transport: WireTransport = WireTransport.TCP): void {
    this.say(id, { kind: WireKind.CONNECT, pid: 1, transport, isNonBlocking: false, peer });
  }

  /** The supervisor reads again. */
  drain(): void {
    this.waitingBytes = 0;
    for (const resolve of this.#drainWaiters.splice(0)) resolve();
  }

  /** Resolves with the n-th connection of the session. */
  async end(index: number): Promise<AgentEnd> {
    await this.until(() => this.ends.length > index);
    return this.ends[index] as AgentEnd;
  }

  async reply(id: bigint): Promise<Reply> {
    await this.until(() => this.replies.has(id));
    return this.replies.get(id) as Reply;
  }

  async tells(id: bigint, kind: WireKind): Promise<WireFrame> {
    const fits = (frame: WireFrame) => frame.id === id && frame.kind === kind;
    await this.until(() => this.told.some(fits));
    return this.told.find(fits) as WireFrame;
  }

  bytesTold(id: bigint): Buffer {
    return Buffer.concat(
      this.told.filter((one) => one.id === id && one.kind === WireKind.FLOW_DATA).map(({ body }) => body),
    );
  }

  /** As the agent. */
  connected({ id, connect }: AgentEnd, creditBytes = 1 << 20, local: Address = LOCAL): void {
    const head = Connected.encode({ local: toSocketAddress(local), peer: connect.peer, creditBytes }).finish();
    this.send(id, FrameKind.FRAME_KIND_CONNECTED, head);
  }

  reset({ id }: AgentEnd, error: AppError): void {
    this.send(id, FrameKind.FRAME_KIND_RESET, ErrorDetail.encode(toErrorDetail(error)).finish());
  }

  refuse(end: AgentEnd, errno: number): void {
    this.reset(end, new AppError('CONNECTION_FAILED', `errno ${errno}`, { errno }));
  }

  /** An ICMP error. */
  report({ id }: AgentEnd, errno: number): void {
    const error = toErrorDetail(new AppError('CONNECTION_FAILED', 'icmp', { errno }));
    this.send(id, FrameKind.FRAME_KIND_ERROR, ErrorDetail.encode(error).finish());
  }

  sendData({ id }: AgentEnd, data: Uint8Array, from: Address | null = null): void {
    const head = from === null ? new Uint8Array(0) : Datagram.encode({ peer: toSocketAddress(from) }).finish();
    this.send(id, FrameKind.FRAME_KIND_DATA, head, data);
  }

  halfClose({ id }: AgentEnd): void {
    this.send(id, FrameKind.FRAME_KIND_HALF_CLOSE);
  }

  grant({ id }: AgentEnd, bytes: number): void {
    this.send(id, FrameKind.FRAME_KIND_CREDIT, Credit.encode({ bytes }).finish());
  }

  send(id: number, kind: FrameKind, head: Uint8Array = new Uint8Array(0), data: Uint8Array = new Uint8Array(0)): void {
    this.agent.stream.send(makeFrame(id, kind, head, data));
  }

  /** Looks again until it is so: frames cross in later turns of the loop. */
  async until(isTrue: () => boolean): Promise<void> {
    const endMs = performance.now() + DEADLINE_MS;
    while (!isTrue()) {
      if (performance.now() > endMs) throw new Error(`not so within ${DEADLINE_MS} ms: ${isTrue}`);
      await delay(1);
    }
  }

  /** Everything that was sent before has arrived on both sides. */
  async settled(): Promise<void> {
    await this.agent.stream.ping();
  }

  #receive(pieces: Buffer[]): void {
    const decoder = new WireDecoder();
    for (const piece of pieces) for (const frame of decoder.push(piece)) this.network.receive(frame);
  }

  #take(frame: WireFrame): void {
    if (frame.kind !== WireKind.REPLY) {
      this.told.push({ ...frame, body: Buffer.from(frame.body) });
      return;
    }
    if (this.replies.has(frame.id)) throw new Error(`request ${frame.id} was answered twice`);
    const { result, rest } = decodeReply(frame);
    const addresses: (Address | null)[] = [];
    while (frame.body.length > 4 && addresses.length < 2) {
      try {
        addresses.push(readAddress(rest));
      } catch {
        break;
      }
    }
    this.replies.set(frame.id, { result, addresses });
  }

  #onAgentFrame(frame: Frame): void {
    if (frame.kind === FrameKind.FRAME_KIND_CONNECT) {
      const connect = Connect.decode(frame.head);
      this.ends.push({ id: frame.id, connect, firstData: Buffer.from(frame.data), frames: [] });
      return;
    }
    this.ends.findLast(({ id }) => id === frame.id)?.frames.push(frame);
  }
}

export function dataOf({ frames }: AgentEnd): Buffer {
  return Buffer.concat(frames.filter(({ kind }) => kind === FrameKind.FRAME_KIND_DATA).map(({ data }) => data));
}

export function peerOf(frame: Frame): Address | null {
  return fromSocketAddress(Datagram.decode(frame.head).peer);
}

export function kindsOf({ frames }: AgentEnd): string[] {
  const nameOf = (kind: FrameKind) => Object.entries(FrameKind).find(([, value]) => value === kind)?.[0] ?? '';
  return frames.map(({ kind }) => nameOf(kind).replace('FRAME_KIND_', ''));
}
