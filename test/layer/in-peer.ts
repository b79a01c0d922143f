// The client's end of the wire for tests of sockets that listen: answers bind and listen as the test wants, and makes
// connections to the local process that seem to come from the target's peers.

import { type ChildProcess, spawn } from 'node:child_process';
import net from 'node:net';
import type { Duplex } from 'node:stream';
import { type Address, addressText, type InternetAddress, internet, parseIp } from '#proto/socket-address.ts';
import { WireDecoder, WireFeature, WireKind } from '#proto/wire.ts';
import { decodeRequest, replyResult, setupFrame } from '#proto/wire-client.ts';
import {
  arrival,
  arrivalOver,
  decodeIncomingRequest,
  replyBind,
  replyOwn,
  type WireIncomingRequest,
} from '#proto/wire-incoming.ts';
import { descendantsOf } from '../fixtures/processes.ts';
import { type Ended, SUPERVISOR } from './peer.ts';

export type Listen = Extract<WireIncomingRequest, { kind: typeof WireKind.LISTEN }>;

export interface InPeerOptions {
  prefix?: readonly string[];
  variables?: Record<string, string>;
  /** What becomes of a bind: null as asked or nearby, an address for exactly there, "own" for nothing to do with us. */
  onBind?: (asked: Address) => Address | null | 'own';
  /** 0, or -errno. */
  onListen?: (listen: Listen) => number;
}

export class InPeer {
  readonly child: ChildProcess;
  readonly binds: string[] = [];
  /** Sockets that listen now. */
  readonly listening = new Map<bigint, Listen>();
  readonly closed: bigint[] = [];
  readonly ended: Promise<Ended>;
  stdout = '';
  readonly #options: InPeerOptions;
  readonly #socket: Duplex;
  readonly #known = new Map<bigint, () => void>();
  readonly #connections: net.Socket[] = [];
  #changed: (() => void)[] = [];
  #arrivals = 0;

  constructor(command: readonly string[], options: InPeerOptions = {}) {
    this.#options = options;
    const [program = '', ...args] = [...(options.prefix ?? []), SUPERVISOR, '--', ...command];
    this.child = spawn(program, args, {
      stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
      env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C', ...options.variables },
    });
    this.#socket = this.child.stdio[3] as Duplex;
    let stderr = '';
    this.child.stdout?.on('data', (chunk) => {
      this.stdout += chunk;
      this.#change();
    });
    this.child.stderr?.on('data', (chunk) => {
      stderr += chunk;
    });
    this.child.stdin?.on('error', () => undefined);
    this.ended = new Promise((resolve, reject) => {
      this.child.once('error', reject);
      this.child.once('close', (code, signal) => {
        resolve({ code, signal, stdout: this.stdout, stderr });
        this.#change();
      });
    });
    const decoder = new WireDecoder();
    this.#socket.on('error', () => undefined);
    this.#socket.on('data', (chunk: Buffer) => {
      for (const frame of decoder.push(chunk)) this.#receive(frame.kind, frame.id, frame.body);
    });
  }

  /** The one that listens, asked for at this port; waits for it. */
  async listener(port?: number): Promise<Listen> {
    const find = () =>
      [...this.listening.values()].find(({ asked }) => port === undefined || (asked as InternetAddress).port === port);
    await this.until(() => find() !== undefined, `a listener at ${port ?? 'any port'}`);
    return find() as Listen;
  }

  /** Resolves when the condition holds; looked at whenever something comes from the supervisor or the program. */
  async until(condition: () => boolean, what: string): Promise<void> {
    const deadline = AbortSignal.timeout(30_000);
    while (!condition()) {
      if (this.child.exitCode !== null || this.child.signalCode !== null) {
        const { stdout, stderr } = await this.ended;
        if (condition()) return;
        throw new Error(`ended while waiting for ${what}: ${stdout}\n${stderr}`);
      }
      await new Promise<void>((resolve, reject) => {
        this.#changed.push(resolve);
        deadline.addEventListener('abort', () => reject(new Error(`waited in vain for ${what}: ${this.stdout}`)));
      });
    }
  }

  /** A connection to the listener; the program sees it come from `peer` to `local`, as `ip port`. */
  async connect(listen: Listen, peer: string, local = '10.1.2.4 80'): Promise<net.Socket> {
    const at = listen.actual as InternetAddress;
    const isV6 = at.ip.length === 16 && (listen.isV6Only || at.ip[15] === 1);
    const nth = ++this.#arrivals;
    const source = isV6
      ? internet(parseIp('::1') as Uint8Array, 20_000 + ((process.pid * 7 + nth) % 10_000))
      : internet(
          Buffer.from([127, 64 + (process.pid & 63), (nth >> 8) & 255, nth & 255]),
          1024 + (process.pid % 60_000),
        );
    await new Promise<void>((resolve) => {
      this.#known.set(BigInt(nth), resolve);
      this.write(arrival(BigInt(nth), source, parse(peer), parse(local)));
    });
    const [localAddress = '', host] = isV6 ? ['::1', '::1'] : [source.ip.join('.'), '127.0.0.1'];
    const socket = net.connect({ host, port: at.port, localAddress, localPort: source.port, allowHalfOpen: true });
    this.#connections.push(socket);
    socket.on('close', () => this.write(arrivalOver(source)));
    await new Promise((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    socket.on('error', () => undefined);
    return socket;
  }

  /** Where datagrams have to come from on this machine to seem to come from `peer`. */
  async datagramSource(listen: Listen, peer: string, local: string): Promise<InternetAddress> {
    const nth = ++this.#arrivals;
    const ip = Buffer.from([127, 64 + (process.pid & 63), (Number(listen.listener) >> 8) & 255, nth & 255]);
    const source = internet(ip, 1024 + (process.pid % 60_000));
    await new Promise<void>((resolve) => {
      this.#known.set(BigInt(nth), resolve);
      this.write(arrival(BigInt(nth), source, parse(peer), parse(local)));
    });
    return source;
  }

  write(pieces: Buffer[]): void {
    if (!this.#socket.destroyed) this.#socket.write(Buffer.concat(pieces));
  }

  /** As when the client dies. */
  hangUp(): void {
    for (const socket of this.#connections) socket.destroy();
    this.#socket.destroy();
    this.child.stdin?.destroy();
    // A supervisor ends nobody: what still serves, and what it forked, would outlive the test.
    // Once it has been waited for, its number may be a stranger's, with children of his.
    const isThere = this.child.exitCode === null && this.child.signalCode === null;
    for (const pid of isThere ? descendantsOf(this.child.pid ?? 0).reverse() : []) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // Ended meanwhile.
      }
    }
  }

  #change(): void {
    for (const resolve of this.#changed.splice(0)) resolve();
  }

  #receive(kind: WireKind, id: bigint, body: Buffer): void {
    if (kind >= WireKind.BIND) this.#incoming(id, decodeIncomingRequest(kind, body));
    else {
      const request = decodeRequest(kind, body);
      if (request.kind === WireKind.HELLO) {
        this.write(
          setupFrame({ features: WireFeature.INCOMING, inlineBytes: 0, hostName: Buffer.alloc(0), rules: [] }),
        );
      }
    }
    this.#change();
  }

  #incoming(id: bigint, request: WireIncomingRequest): void {
    switch (request.kind) {
      case WireKind.BIND: {
        this.binds.push(addressText(request.asked));
        const answer = this.#options.onBind?.(request.asked) ?? null;
        this.write(answer === 'own' ? replyOwn(id) : replyBind(id, answer));
        return;
      }
      case WireKind.LISTEN: {
        const result = this.#options.onListen?.(request) ?? 0;
        if (result === 0) this.listening.set(request.listener, request);
        this.write(replyResult(id, result));
        return;
      }
      case WireKind.LISTEN_CLOSED:
        this.listening.delete(request.listener);
        this.closed.push(request.listener);
        return;
      case WireKind.ARRIVAL_KNOWN:
        this.#known.get(id)?.();
        this.#known.delete(id);
    }
  }
}

function parse(text: string): Address {
  const [ip = '', port] = text.split(' ');
  return internet(parseIp(ip) as Uint8Array, Number(port));
}

/** All that comes until the end. */
export async function readAll(socket: net.Socket): Promise<string> {
  let text = '';
  for await (const chunk of socket) text += chunk;
  return text;
}
