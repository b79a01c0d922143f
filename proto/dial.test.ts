// Our end against the official library's: what we speak is gRPC, not only what our own server understands.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Metadata, Server, ServerCredentials, type ServerDuplexStream, status } from '@grpc/grpc-js';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { dial } from './dial.ts';
import type { AppError } from './errors.ts';
import { decodeBatch, encodeBatch, type Frame, makeFrame, NO_BYTES } from './frame.ts';
import { FrameKind } from './gen/v1/frame.ts';
import { sessionPath } from './grpc-tuning.ts';

type Call = ServerDuplexStream<Buffer, Buffer>;

let directory: string;
let server: Server;

beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'dial-'));
  server = new Server();
});

afterEach(() => {
  server.forceShutdown();
  rmSync(directory, { recursive: true });
});

async function serve(onCall: (call: Call, direction: string) => void): Promise<string> {
  const address = `unix:${directory}/gateway.sock`;
  const asIs = (bytes: Buffer) => bytes;
  const session = {
    path: sessionPath('Gateway'),
    requestStream: true,
    responseStream: true,
    requestSerialize: asIs,
    requestDeserialize: asIs,
    responseSerialize: asIs,
    responseDeserialize: asIs,
  } as const;
  const onSession = (call: Call) => {
    call.on('error', () => undefined);
    onCall(call, String(call.metadata.get('mirrord-direction')[0]));
  };
  server.addService({ session }, { session: onSession });
  await new Promise<void>((resolve, reject) => {
    const credentials = ServerCredentials.createInsecure();
    server.bindAsync(address, credentials, (error) => (error === null ? resolve() : reject(error)));
  });
  return address;
}

test('a server of the official library gets our frames, answers, and ends the session in order', async () => {
  const calls = new Map<string, Call>();
  const address = await serve((call, direction) => {
    calls.set(direction, call);
    call.sendMetadata(new Metadata());
    if (direction === 'down') {
      call.resume();
      return;
    }
    call.on('data', (batch: Buffer) => {
      const kinds = decodeBatch(batch).map(({ kind }) => kind);
      calls.get('down')?.write(Buffer.from(batch));
      if (!kinds.includes(FrameKind.FRAME_KIND_SESSION_CLOSED)) return;
      for (const one of calls.values()) one.end();
    });
  });
  const frames: Frame[] = [];
  let close: (error: AppError | null) => void = () => undefined;
  const closed = new Promise<AppError | null>((resolve) => {
    close = resolve;
  });
  const stream = await dial({
    address,
    service: 'Gateway',
    token: 'token',
    deadlineMs: 30_000,
    onFrame: (frame) => {
      frames.push({ ...frame, data: Buffer.from(frame.data) });
    },
    onClosed: (error) => close(error),
  });
  const data = Buffer.alloc(200_000, 'x');
  stream.send(makeFrame(1, FrameKind.FRAME_KIND_FILE_REQUEST, NO_BYTES, data));
  await expect.poll(() => frames.length).toBe(1);
  expect(encodeBatch(frames)).toEqual(encodeBatch([makeFrame(1, FrameKind.FRAME_KIND_FILE_REQUEST, NO_BYTES, data)]));
  stream.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_CLOSED));
  expect(await closed).toBeNull();
});

test.each([
  [status.UNAUTHENTICATED, 'UNAUTHENTICATED'],
  [status.RESOURCE_EXHAUSTED, 'LIMIT_REACHED'],
  [status.UNAVAILABLE, 'AGENT_LOST'],
  [status.INTERNAL, 'AGENT_LOST'],
])('status %s of a proxy on the way is %s, with its text', async (code, expected) => {
  const address = await serve((call) => call.emit('error', { code, details: 'straße: 100 %' }));
  const dialling = dial({
    address,
    service: 'Gateway',
    token: 'token',
    deadlineMs: 30_000,
    onFrame: () => undefined,
    onClosed: () => undefined,
  });
  await expect(dialling).rejects.toMatchObject({
    code: expected,
    message: expect.stringContaining('straße: 100 %'),
  });
});

test('a server that serves something else is UNSUPPORTED', async () => {
  const address = await serve(() => undefined);
  const dialling = dial({
    address,
    service: 'FsEnv',
    token: 'token',
    deadlineMs: 30_000,
    onFrame: () => undefined,
    onClosed: () => undefined,
  });
  await expect(dialling).rejects.toMatchObject({ code: 'UNSUPPORTED' });
});
