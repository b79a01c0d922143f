// The ceiling of bench/outgoing-bulk.ts: a forwarder that has nothing but the tuned session stream between plain sockets, in two
// processes. What mirrord adds to that are the layer, the dial, credits of connections, fairness and errors.

import net from 'node:net';
import { pino } from 'pino';
import { dial } from '../proto/dial.ts';
import { type Frame, makeFrame, NO_BYTES } from '../proto/frame.ts';
import { FrameKind } from '../proto/gen/v1/frame.ts';
import type { SessionStream } from '../proto/session-stream.ts';
import { mintToken, newSessionId } from '../proto/token.ts';
import { serveSessions } from '../services/runtime/rpc.ts';

const KEY = Buffer.alloc(32, 3);
const FULL_BYTES = 256 * 1024;
const NOTHING = { onClosed: () => undefined };

export type ForwardOrder =
  | { readonly role: 'far'; readonly host: string; readonly port: number }
  | { readonly role: 'near'; readonly address: string };

/** In a process of its own; tells its parent where it serves: the session's address, or the port for programs. */
export async function runForward(order: ForwardOrder): Promise<void> {
  process.send?.(order.role === 'far' ? await serveFar(order.host, order.port) : await serveNear(order.address));
}

/** Sockets by the id of their frames; a socket that is new sends what it brings. */
class Ends {
  readonly #stream: () => SessionStream;
  readonly #sockets = new Map<number, net.Socket>();

  constructor(stream: () => SessionStream) {
    this.#stream = stream;
  }

  add(id: number, socket: net.Socket): void {
    this.#sockets.set(id, socket);
    // Each frame that waits for the socket has its own.
    socket.setMaxListeners(0);
    socket.setNoDelay(true);
    socket.on('error', () => socket.destroy());
    socket.on('data', (data: Buffer) => {
      const stream = this.#stream();
      stream.send(makeFrame(id, FrameKind.FRAME_KIND_DATA, NO_BYTES, data));
      if (stream.bufferedBytes <= FULL_BYTES) return;
      socket.pause();
      void stream.drained().then(() => socket.resume());
    });
    socket.on('close', () => {
      if (this.#sockets.delete(id)) this.#stream().send(makeFrame(id, FrameKind.FRAME_KIND_RESET));
    });
  }

  receive({ id, kind, data }: Frame): void | Promise<void> {
    const socket = this.#sockets.get(id);
    if (socket === undefined) return undefined;
    if (kind === FrameKind.FRAME_KIND_RESET) {
      this.#sockets.delete(id);
      socket.destroy();
      return undefined;
    }
    if (socket.write(data)) return undefined;
    return new Promise((resolve) => {
      socket.once('drain', resolve);
      socket.once('close', resolve);
    });
  }
}

async function serveFar(host: string, port: number): Promise<string> {
  const { address } = await serveSessions({
    address: `${host}:0`,
    service: 'FsEnv',
    key: KEY,
    maxSessions: 64,
    logger: pino({ level: 'silent' }),
    onSession: ({ stream }) => {
      const ends = new Ends(() => stream);
      return {
        ...NOTHING,
        onFrame: (frame) => {
          if (frame.kind === FrameKind.FRAME_KIND_CONNECT) ends.add(frame.id, net.connect(port, '127.0.0.1'));
          return ends.receive(frame);
        },
      };
    },
  });
  return address;
}

async function serveNear(address: string): Promise<number> {
  const ends: Ends = new Ends(() => stream);
  const stream: SessionStream = await dial({
    address,
    service: 'FsEnv',
    token: mintToken(KEY, newSessionId(), 3_600),
    deadlineMs: 10_000,
    opening: makeFrame(0, FrameKind.FRAME_KIND_SESSION_OPEN),
    onFrame: (frame) => ends.receive(frame),
    ...NOTHING,
  });
  let nextId = 1;
  const server = net.createServer((socket) => {
    stream.send(makeFrame(nextId, FrameKind.FRAME_KIND_CONNECT));
    ends.add(nextId, socket);
    nextId += 2;
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as net.AddressInfo).port;
}
