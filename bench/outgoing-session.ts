// The baseline of bench/outgoing-bulk.ts: the tuned session stream with nothing around it, in two processes as young as
// mirrord's own: as it is, and as mirrord has it, with batches that are numbered and kept until the peer has them, so that the session can
// go on over another connection. A producer of frames, and a client that receives or sends so many.

import { pino } from 'pino';
import { dial } from '../proto/dial.ts';
import { makeFrame, NO_BYTES } from '../proto/frame.ts';
import { FrameKind } from '../proto/gen/v1/frame.ts';
import type { SessionStream } from '../proto/session-stream.ts';
import { mintToken, newSessionId, proofOfReturn } from '../proto/token.ts';
import { serveSessions } from '../services/runtime/rpc.ts';

const KEY = Buffer.alloc(32, 2);
const FRAME_BYTES = 64 * 1024;
const GRACE_MS = 20_000;
const payload = Buffer.alloc(FRAME_BYTES, 'x');

export type SessionOrder =
  | { readonly role: 'server'; readonly host: string }
  | { readonly role: 'down' | 'up'; readonly address: string; readonly mib: number; readonly isRenewable: boolean };

/** In a process of its own; tells its parent the address it serves, or the milliseconds it took. */
export async function runSession(order: SessionOrder): Promise<void> {
  process.send?.(order.role === 'server' ? await serve(order.host) : await carry(order));
}

async function serve(host: string): Promise<string> {
  const { address } = await serveSessions({
    address: `${host}:0`,
    service: 'FsEnv',
    key: KEY,
    maxSessions: 64,
    graceMs: GRACE_MS,
    logger: pino({ level: 'silent' }),
    onSession: ({ stream }) => {
      let left = 0;
      return {
        onFrame: ({ id, kind, head, data }) => {
          if (kind === FrameKind.FRAME_KIND_FILE_REQUEST) void send(stream, id, Buffer.from(head).readUInt32LE());
          else if (kind === FrameKind.FRAME_KIND_CONNECT) left = Buffer.from(head).readUInt32LE();
          else if (data.length > 0) {
            left -= 1;
            if (left === 0) stream.send(makeFrame(id, FrameKind.FRAME_KIND_FILE_REPLY));
          }
        },
        onClosed: () => undefined,
      };
    },
  });
  return address;
}

async function send(stream: SessionStream, id: number, frames: number): Promise<void> {
  for (let sent = 0; sent < frames; sent += 1) {
    stream.send(makeFrame(id, FrameKind.FRAME_KIND_DATA, NO_BYTES, payload));
    if (stream.bufferedBytes > 4 * FRAME_BYTES) await stream.drained();
  }
}

async function carry({ role, address, mib, isRenewable }: Exclude<SessionOrder, { role: 'server' }>): Promise<number> {
  const frames = (mib * 2 ** 20) / FRAME_BYTES;
  let left = role === 'down' ? frames : 1;
  let onDone: () => void = () => undefined;
  const done = new Promise<void>((resolve) => {
    onDone = resolve;
  });
  const token = mintToken(KEY, newSessionId(), 60);
  const renewal = {
    graceMs: GRACE_MS,
    prove: (attempt: number, received: number) => proofOfReturn(KEY, token, attempt, received),
    onRenewed: () => undefined,
  };
  const stream = await dial({
    address,
    service: 'FsEnv',
    token,
    ...(isRenewable ? { renewal } : {}),
    deadlineMs: 10_000,
    opening: makeFrame(0, FrameKind.FRAME_KIND_SESSION_OPEN),
    onFrame: () => {
      left -= 1;
      if (left === 0) onDone();
    },
    onClosed: () => undefined,
  });
  const startedAt = performance.now();
  const head = Buffer.alloc(4);
  head.writeUInt32LE(frames);
  if (role === 'down') stream.send(makeFrame(1, FrameKind.FRAME_KIND_FILE_REQUEST, head));
  else {
    stream.send(makeFrame(1, FrameKind.FRAME_KIND_CONNECT, head));
    await send(stream, 1, frames);
  }
  await done;
  const ms = performance.now() - startedAt;
  stream.destroy();
  return ms;
}
