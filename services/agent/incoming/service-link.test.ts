import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { AppError, toErrorDetail } from '#proto/errors.ts';
import { type Frame, makeFrame } from '#proto/frame.ts';
import { ErrorDetail } from '#proto/gen/v1/error.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { IncomingFacts, Subscribe } from '#proto/gen/v1/incoming.ts';
import type { SessionStream } from '#proto/session-stream.ts';
import { mintToken, newSessionId, proofOfKey } from '#proto/token.ts';
import { type SessionServer, serveSessions } from '#runtime/rpc.ts';
import { ServiceLink } from './service-link.ts';

const key = Buffer.alloc(32, 9);

let folder: string;
let server: SessionServer;
let link: ServiceLink;
/** What the client is told. */
let told: Frame[];
/** Of each session that the service is asked for, in turn: what it says at once. */
let onOpen: ((stream: SessionStream) => void)[];

beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'service-link-'));
  told = [];
  onOpen = [];
  server = await serveSessions({
    address: `unix:${folder}/s`,
    service: 'Sniffer',
    key,
    maxSessions: 4,
    logger: pino({ level: 'silent' }),
    peer: 'agent',
    onSession: ({ stream }) => ({
      onFrame: ({ kind, id }) => {
        if (kind === FrameKind.FRAME_KIND_SESSION_OPEN) {
          const facts = IncomingFacts.encode({ method: 'fake', notes: [] }).finish();
          stream.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_OPENED, facts));
          onOpen.shift()?.(stream);
        } else if (kind === FrameKind.FRAME_KIND_SUBSCRIBE) {
          stream.send(makeFrame(id, FrameKind.FRAME_KIND_SUBSCRIBED));
        }
      },
      onClosed: () => undefined,
    }),
  });
  link = new ServiceLink({
    service: 'sniffer',
    attach: { pid: 1, startTimeTicks: 0n, containerId: '', wantsEnvironment: false, wantsFiles: false },
    client: { send: (frame) => void told.push(frame), drained: () => Promise.resolve(), bufferedBytes: 0 },
    find: () => Promise.resolve(server.address),
    mintToken: () => {
      const sessionId = newSessionId();
      const token = mintToken(key, sessionId, 60);
      return { token, proof: proofOfKey(key, token) };
    },
    onAttached: () => undefined,
    onLost: () => undefined,
    onBack: () => undefined,
  });
});

afterEach(async () => {
  link.close();
  await expect.poll(() => server.liveSessions).toBe(0);
  server.close();
  rmSync(folder, { recursive: true });
});

const subscribe = (id: number) =>
  link.subscribe(
    makeFrame(id, FrameKind.FRAME_KIND_SUBSCRIBE, Subscribe.encode(Subscribe.decode(Buffer.alloc(0))).finish()),
  );

test('a service that ends right behind its first word is lost, and asked again with the next subscription', async () => {
  const reason = new AppError('SERVICE_UNAVAILABLE', 'the target has just gone');
  // In one batch with it.
  onOpen.push((stream) =>
    stream.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_ERROR, ErrorDetail.encode(toErrorDetail(reason)).finish())),
  );
  subscribe(1);
  await expect.poll(() => told.map(({ id, kind }) => [id, kind])).toEqual([[1, FrameKind.FRAME_KIND_ERROR]]);
  subscribe(3);
  await expect.poll(() => told.at(-1)).toMatchObject({ id: 3, kind: FrameKind.FRAME_KIND_SUBSCRIBED });
});
