// Both ends of a session in one process, over sockets of this machine that may be cut: it goes on over others.

import type net from 'node:net';
import { pino } from 'pino';
import { dial } from '#proto/dial.ts';
import { livenessTimes } from '#proto/liveness.ts';
import type { SessionHandlers, SessionStream } from '#proto/session-stream.ts';
import { mintToken, proofOfKey, proofOfReturn } from '#proto/token.ts';
import { listen } from '../listen.ts';
import { type SessionServer, serveSessions } from '../rpc.ts';

const key = Buffer.alloc(32, 7);
const GRACE_MS = 20_000;
/** No PING comes while a test runs: it would end a standstill that nothing else ends. */
const liveness = livenessTimes(600_000);

export interface RenewableSession {
  readonly stream: SessionStream;
  /** With `error` once the client's end has ended. */
  readonly ended: { readonly error?: unknown };
  readonly renewed: number;
  cut(): void;
}

/** @param onFrame of the serving end. @param closing what ends it, last first */
export async function openRenewable(
  onFrame: SessionHandlers['onFrame'],
  closing: (() => void)[],
): Promise<RenewableSession> {
  /** The two that were accepted last. */
  let sockets: net.Socket[] = [];
  const server: SessionServer = await serveSessions({
    address: '127.0.0.1:0',
    service: 'Gateway',
    key,
    maxSessions: 4,
    liveness,
    logger: pino({ level: 'silent' }),
    onSession: () => ({ onFrame, onClosed: () => undefined }),
    graceMs: GRACE_MS,
    open: (onSocket) =>
      listen('127.0.0.1:0', (socket) => {
        sockets = [...sockets.slice(-1), socket];
        onSocket(socket);
      }),
  });
  closing.push(() => server.close());
  const token = mintToken(key, 'session-one', 60);
  let renewed = 0;
  const ended: { error?: unknown } = {};
  const stream = await dial({
    address: server.address,
    service: 'Gateway',
    token,
    proof: proofOfKey(key, token),
    deadlineMs: 10_000,
    liveness,
    renewal: {
      graceMs: GRACE_MS,
      prove: (attempt, received) => proofOfReturn(key, token, attempt, received),
      onRenewed: () => {
        renewed += 1;
      },
    },
    onFrame: () => undefined,
    onClosed: (error) => {
      ended.error = error;
    },
  });
  closing.push(() => stream.destroy());
  return {
    stream,
    ended,
    cut: () => {
      for (const socket of sockets) socket.destroy();
    },
    get renewed() {
      return renewed;
    },
  };
}
