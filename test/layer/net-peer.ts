// The client's end of the wire for tests of connections: plays the client and the whole target network by itself. What an
// address does is told by its port; 127.0.0.0/8 and ::1 stay on this machine.

import { type ChildProcess, spawn } from 'node:child_process';
import { Socket, type SocketConstructorOpts } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { type Address, internet } from '#proto/socket-address.ts';
import { WIRE_FLOW_CREDIT_BYTES, WireDecoder, WireKind, WireTransport } from '#proto/wire.ts';
import { decodeRequest, replyResult, setupFrame } from '#proto/wire-client.ts';
import {
  decodeNetRequest,
  flowCredit,
  flowData,
  flowDatagram,
  flowDialing,
  flowHalfClose,
  flowReset,
  readDatagram,
  replyConnected,
  replyFlowAddress,
  replyHere,
  type WireNetRequest,
} from '#proto/wire-net.ts';
import { type Ended, SUPERVISOR } from './peer.ts';

/** Ports of the target network. */
export const Port = {
  ECHO: 7,
  DISCARD: 9,
  HTTP: 80,
  REFUSED: 1001,
  TIMED_OUT: 1002,
  HOST_UNREACHABLE: 1003,
  NET_UNREACHABLE: 1004,
  FORBIDDEN: 1005,
  RESET: 1010,
  HALF_CLOSE: 1011,
  GREETING: 1012,
  DATA_THEN_RESET: 1013,
  STUCK: 1014,
  FLOOD: 1015,
} as const;

const ERRNO: Record<number, number> = {
  [Port.REFUSED]: 111,
  [Port.TIMED_OUT]: 110,
  [Port.HOST_UNREACHABLE]: 113,
  [Port.NET_UNREACHABLE]: 101,
  [Port.FORBIDDEN]: 13,
};

export interface NetPeerOptions {
  /** How long a dial takes. */
  dialMs?: number;
  features?: number;
  variables?: Record<string, string>;
  /** Streams are handed over (net_hand.h), and the test itself has them: `handed`. */
  hasChannel?: boolean;
  /** Without FLOW_DIALING, as if the client knew no better. */
  saysDialing?: boolean;
}

export interface Flow {
  id: bigint;
  transport: number;
  port: number;
  /** Bytes that the supervisor sent and that were not granted again. */
  ungranted: number;
  received: number;
  credit: number;
  waiting: Buffer[];
  hasEnded: boolean;
  isOver: boolean;
  wasReset: number | undefined;
}

export class NetPeer {
  readonly child: ChildProcess;
  readonly asked: WireNetRequest[] = [];
  readonly logs: string[] = [];
  readonly flows = new Map<bigint, Flow>();
  readonly ended: Promise<Ended>;
  readonly started: Promise<number>;
  /** Sockets that came over the channel, by flow. */
  readonly handed = new Map<bigint, Socket>();
  largestUngranted = 0;
  readonly #options: NetPeerOptions;
  readonly #socket: Duplex;
  #onStarted: (pid: number) => void = () => undefined;
  #nextPort = 40_000;

  constructor(command: readonly string[], options: NetPeerOptions = {}) {
    this.#options = options;
    this.child = spawn(SUPERVISOR, ['--', ...command], {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe', ...(options.hasChannel ? (['ipc'] as const) : [])],
      env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C', ...options.variables },
    });
    this.#socket = this.child.stdio[3] as Duplex;
    this.child.on('message', ({ flow }: { flow: string }, handle: object) => {
      // `handle` is what net.Socket itself makes its sockets of; its types do not have it.
      const options: SocketConstructorOpts & { handle: object } = { handle, allowHalfOpen: true };
      const socket = new Socket(options);
      socket.on('error', () => undefined);
      this.handed.set(BigInt(flow), socket);
    });
    this.started = new Promise((resolve) => {
      this.#onStarted = resolve;
    });
    const said = { stdout: '', stderr: '' };
    this.child.stdout?.on('data', (chunk) => {
      said.stdout += chunk;
    });
    this.child.stderr?.on('data', (chunk) => {
      said.stderr += chunk;
    });
    this.ended = new Promise((resolve, reject) => {
      this.child.once('error', reject);
      this.child.once('close', (code, signal) => resolve({ code, signal, ...said }));
    });
    const decoder = new WireDecoder();
    this.#socket.on('error', () => undefined);
    this.#socket.on('data', (chunk: Buffer) => {
      for (const frame of decoder.push(chunk)) this.#receive(frame.kind, frame.id, frame.body);
    });
  }

  /** As when the client dies. */
  hangUp(): void {
    this.#socket.destroy();
  }

  /** Flows that neither side has ended. */
  get open(): Flow[] {
    return [...this.flows.values()].filter((flow) => !flow.isOver);
  }

  count(kind: WireKind): number {
    return this.asked.filter((request) => request.kind === kind).length;
  }

  /** Of a flow that was handed over: both directions have ended, as far as we are concerned. */
  finish(flow: Flow): void {
    flow.isOver = true;
    this.#write(flowHalfClose(flow.id));
  }

  grant(flow: Flow): void {
    this.#write(flowCredit(flow.id, flow.ungranted));
    flow.ungranted = 0;
  }

  reset(flow: Flow, errno: number): void {
    flow.isOver = true;
    this.#write(flowReset(flow.id, errno));
  }

  #write(pieces: Buffer[]): void {
    if (!this.#socket.destroyed) this.#socket.write(Buffer.concat(pieces));
  }

  #receive(kind: WireKind, id: bigint, body: Buffer): void {
    if (kind === WireKind.FLOW_DATA) this.#receiveData(id, body);
    else if (kind >= WireKind.CONNECT) void this.#receiveNet(id, decodeNetRequest(kind, body));
    else {
      const request = decodeRequest(kind, body);
      if (request.kind === WireKind.HELLO) {
        this.#write(
          setupFrame({ features: this.#options.features ?? 4, inlineBytes: 0, hostName: Buffer.alloc(0), rules: [] }),
        );
      } else if (request.kind === WireKind.STARTED) this.#onStarted(request.pid);
      else if (request.kind === WireKind.LOG) this.logs.push(request.text);
    }
  }

  async #receiveNet(id: bigint, request: WireNetRequest): Promise<void> {
    const flow = this.flows.get(id);
    this.asked.push(request);
    switch (request.kind) {
      case WireKind.CONNECT:
        await this.#connect(id, request);
        return;
      case WireKind.UDP_OPEN:
        this.#open(id, WireTransport.UDP, 0);
        this.#write(replyConnected(id, null, null));
        return;
      case WireKind.UDP_PEER:
        this.#write(isHere(request.peer) ? replyHere(id, null) : replyResult(id, -errnoOf(request.peer)));
        return;
      case WireKind.FLOW_ADDRESS:
        this.#write(replyFlowAddress(id, internet(Buffer.from([10, 1, 2, 3]), 5353)));
        return;
      case WireKind.FLOW_CREDIT:
        if (flow) {
          flow.credit += request.bytes;
          this.#flush(flow);
        }
        return;
      case WireKind.FLOW_HALF_CLOSE:
        if (flow) {
          flow.hasEnded = true;
          if (flow.port === Port.HALF_CLOSE) flow.isOver = true;
          else this.#flush(flow);
        }
        return;
      case WireKind.FLOW_RESET:
        if (flow) {
          flow.isOver = true;
          flow.wasReset = request.errno;
        }
    }
  }

  #open(id: bigint, transport: number, port: number): Flow {
    const flow: Flow = {
      id,
      transport,
      port,
      ungranted: 0,
      received: 0,
      credit: WIRE_FLOW_CREDIT_BYTES,
      waiting: [],
      hasEnded: false,
      isOver: false,
      wasReset: undefined,
    };
    this.flows.set(id, flow);
    return flow;
  }

  async #connect(id: bigint, request: Extract<WireNetRequest, { kind: typeof WireKind.CONNECT }>): Promise<void> {
    const { peer, transport } = request;
    if (peer.kind === 'internet' && isHere(peer)) {
      this.#write(replyHere(id, null));
      return;
    }
    const isUdp = transport === WireTransport.UDP;
    if (!isUdp && request.isNonBlocking && this.#options.saysDialing !== false) this.#write(flowDialing(id));
    if (!isUdp && this.#options.dialMs) await delay(this.#options.dialMs);
    const errno = isUdp ? 0 : errnoOf(peer);
    if (errno) {
      this.#write(replyResult(id, -errno));
      return;
    }
    const port = peer.kind === 'internet' ? peer.port : Port.ECHO;
    const flow = this.#open(id, transport, port);
    const isV6 = peer.kind === 'internet' && peer.ip.length === 16;
    const local = isV6
      ? internet(Buffer.from('fd000000000000000000000000000003', 'hex'), this.#nextPort++)
      : internet(Buffer.from([10, 1, 2, 3]), this.#nextPort++);
    this.#write(replyConnected(id, isUdp || peer.kind === 'unix' ? null : local, peer));
    if (!isUdp && !this.#options.hasChannel) this.#greet(flow);
  }

  #greet(flow: Flow): void {
    switch (flow.port) {
      case Port.GREETING:
        this.#send(flow, Buffer.from('welcome\n'));
        return;
      case Port.HALF_CLOSE:
        this.#write(flowHalfClose(flow.id));
        return;
      case Port.RESET:
        this.reset(flow, 104);
        return;
      case Port.DATA_THEN_RESET:
        this.#send(flow, Buffer.alloc(200_000, 'd'));
        this.reset(flow, 104);
        return;
      case Port.FLOOD:
        this.#send(flow, Buffer.alloc(8 << 20, 'f'));
        return;
    }
  }

  /** In order and within the credit; then the end, when the other side has ended. */
  #send(flow: Flow, data: Buffer): void {
    flow.waiting.push(data);
    this.#flush(flow);
  }

  #flush(flow: Flow): void {
    if (flow.isOver) return;
    while (flow.waiting[0] && flow.credit > 0) {
      const piece = flow.waiting[0].subarray(0, Math.min(flow.credit, 65_536));
      flow.credit -= piece.length;
      this.#write(flowData(flow.id, piece));
      flow.waiting[0] = flow.waiting[0].subarray(piece.length);
      if (flow.waiting[0].length === 0) flow.waiting.shift();
    }
    if (flow.hasEnded && flow.waiting.length === 0) {
      this.#write(flowHalfClose(flow.id));
      flow.isOver = true;
    }
  }

  #receiveData(id: bigint, body: Buffer): void {
    const flow = this.flows.get(id);
    if (!flow) return;
    if (flow.transport === WireTransport.UDP) {
      this.#receiveDatagram(flow, body);
      return;
    }
    flow.received += body.length;
    flow.ungranted += body.length;
    this.largestUngranted = Math.max(this.largestUngranted, flow.ungranted);
    if (flow.port !== Port.STUCK && flow.ungranted >= WIRE_FLOW_CREDIT_BYTES / 4) this.grant(flow);
    if (flow.port === Port.ECHO) this.#send(flow, Buffer.from(body));
    else if (flow.port === Port.HTTP && body.includes('\r\n\r\n')) {
      this.#send(flow, Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n'));
      flow.hasEnded = true;
      this.#flush(flow);
      flow.isOver = true;
    }
  }

  /** Echoes, with what the target saw: the destination's last byte and port. */
  #receiveDatagram(flow: Flow, body: Buffer): void {
    const { peer, data } = readDatagram(body);
    const port = peer?.kind === 'internet' ? peer.port : flow.port;
    flow.received += data.length;
    if (port === Port.DISCARD) return;
    if (port === Port.REFUSED) {
      this.reset(flow, 111);
      return;
    }
    this.#write(flowDatagram(flow.id, peer, Buffer.from(data)));
  }
}

function isHere(address: Address): boolean {
  return (
    address.kind === 'internet' &&
    (address.ip[0] === 127 || (address.ip.length === 16 && address.ip[15] === 1 && address.ip[0] === 0))
  );
}

function errnoOf(address: Address): number {
  return address.kind === 'internet' ? (ERRNO[address.port] ?? 0) : 0;
}
