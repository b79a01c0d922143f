// The processes of bench/relay.ts: a producer and a relay, once on plain sockets and once on sessions.

import { once } from 'node:events';
import net from 'node:net';
import { pino } from 'pino';
import { dial } from '../proto/dial.ts';
import { type Frame, makeFrame, NO_BYTES } from '../proto/frame.ts';
import { FrameKind } from '../proto/gen/v1/frame.ts';
import type { SessionHandlers, SessionStream } from '../proto/session-stream.ts';
import { mintToken } from '../proto/token.ts';
import { type IncomingSession, serveSessions } from '../services/runtime/rpc.ts';
import { Deframer, writeFrame } from './relay-socket.ts';

export const BENCH_KEY = Buffer.alloc(32, 1);
export const FRAME_BYTES = 64 * 1024;
/** As services/agent/relay.ts. */
const CLIENT_BEHIND_BYTES = 256 * 1024;

const payload = Buffer.alloc(FRAME_BYTES, 'x');

export async function runRole(role: string, directory: string): Promise<void> {
  const own = `${directory}/${role}`;
  if (role === 'socket-producer') await listen(own, produceOnSocket);
  if (role === 'socket-relay') await listen(own, (socket) => relaySockets(socket, `${directory}/socket-producer`));
  if (role === 'session-producer') await serve(own, produceOnSession);
  if (role === 'session-relay') await serve(own, (session) => relaySessions(session, `${directory}/session-producer`));
  process.send?.('ready');
}

async function listen(socketPath: string, onSocket: (socket: net.Socket) => void): Promise<void> {
  const server = net.createServer(onSocket).listen(socketPath);
  await once(server, 'listening');
}

function produceOnSocket(socket: net.Socket): void {
  const deframer = new Deframer((order) => void produce(order.readUInt32LE()));
  socket.on('data', (chunk) => deframer.push(chunk));
  const produce = async (count: number) => {
    for (let sent = 0; sent < count; sent += 1) if (!writeFrame(socket, payload)) await once(socket, 'drain');
  };
}

/** Frame by frame, as the agent does: what it forwards it has seen whole. */
function relaySockets(downstream: net.Socket, producerPath: string): void {
  const upstream = net.connect(producerPath);
  for (const [from, to] of [
    [upstream, downstream],
    [downstream, upstream],
  ] as const) {
    const deframer = new Deframer((frame) => {
      if (!writeFrame(to, frame)) from.pause();
    });
    from.on('data', (chunk) => deframer.push(chunk));
    to.on('drain', () => from.resume());
  }
}

function serve(socketPath: string, onSession: (incoming: IncomingSession) => SessionHandlers) {
  const logger = pino({ level: 'silent' });
  return serveSessions({
    address: `unix:${socketPath}`,
    service: 'FsEnv',
    key: BENCH_KEY,
    maxSessions: 8,
    logger,
    onSession,
  });
}

function produceOnSession({ stream }: IncomingSession): SessionHandlers {
  const produce = async ({ id, head }: Frame) => {
    const count = Buffer.from(head).readUInt32LE();
    for (let sent = 0; sent < count; sent += 1) {
      stream.send(makeFrame(id, FrameKind.FRAME_KIND_FILE_REPLY, NO_BYTES, payload));
      if (stream.bufferedBytes > FRAME_BYTES) await stream.drained();
    }
  };
  return {
    onFrame: (frame) => {
      if (frame.kind === FrameKind.FRAME_KIND_FILE_REQUEST) void produce(frame);
    },
    onClosed: () => undefined,
  };
}

function relaySessions({ sessionId, stream: client }: IncomingSession, producerPath: string): SessionHandlers {
  const backPressure = (stream: SessionStream) =>
    stream.bufferedBytes > CLIENT_BEHIND_BYTES ? stream.drained() : undefined;
  const producer = dial({
    address: `unix:${producerPath}`,
    service: 'FsEnv',
    token: mintToken(BENCH_KEY, sessionId, 60),
    deadlineMs: 5_000,
    opening: makeFrame(0, FrameKind.FRAME_KIND_SESSION_OPEN),
    onFrame: (frame) => {
      client.send(frame);
      return backPressure(client);
    },
    onClosed: () => client.destroy(),
  });
  return {
    onFrame: async (frame) => {
      if (frame.kind === FrameKind.FRAME_KIND_FILE_REQUEST) (await producer).send(frame);
    },
    onClosed: () => void producer.then((stream) => stream.destroy()),
  };
}
