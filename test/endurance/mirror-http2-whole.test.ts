// Mirrored HTTP/2 and gRPC without a filter, the whole way: the local process is a server whose answers are larger and slower than
// the target's, and still gets every request.

import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import type { Peer } from '../fixtures/network.ts';
import type { Run } from '../integration/exec-harness.ts';
import { fixture, linesOf, MirrorStage } from './mirror-stage.ts';

const PORT = 8082;
const GRPC = 8083;
const DEADLINE_MS = 90_000;

let stage: MirrorStage;
let server: Peer;
let run: Run;

beforeAll(async () => {
  if (!can.root.yes) return;
  stage = await MirrorStage.open();
  const { network } = stage;
  server = await network.serve(network.target, [process.execPath, fixture('http2-heard.mjs'), `${PORT}`]);
  await network.serve(network.target, [process.execPath, fixture('grpc-echo.mjs'), 'serve', `[::]:${GRPC}`, 'target']);
  const program = [fixture('http2-heard.mjs'), `${PORT}`, `${GRPC}`, 'answer=300000', 'streams=10'];
  run = await stage.exec([process.execPath, ...program], [PORT, GRPC]);
}, DEADLINE_MS);
afterAll(() => stage?.close(), DEADLINE_MS);

describe.skipIf(!can.root.yes)(`a whole mirror of HTTP/2 (${can.root.why})`, () => {
  test(
    'answers larger than any window hold nothing up, where the target’s are small',
    async () => {
      const said = await stage.beyond(`h2load -n 60 -c 1 -m 4 http://10.99.0.1:${PORT}/small`);
      expect(said).toContain('60 succeeded, 0 failed, 0 errored');
      await stage.hears(run, 'answered /small', 60);
    },
    DEADLINE_MS,
  );

  test(
    'more streams at once than the local process takes come one after the other',
    async () => {
      const said = await stage.beyond(`h2load -n 400 -c 2 -m 100 http://[fd99::1]:${PORT}/many`);
      expect(said).toContain('400 succeeded, 0 failed, 0 errored');
      await stage.hears(run, 'answered /many', 400);
    },
    DEADLINE_MS,
  );

  test(
    'uploads larger than any window are whole',
    async () => {
      const upload = path.join(stage.harness.folder, 'upload');
      writeFileSync(upload, Buffer.alloc(3_000_000, 'mirrored '));
      await stage.beyond(
        `curl -sS --max-time 30 -o /dev/null --http2-prior-knowledge --data-binary @${upload} http://10.99.0.1:${PORT}/up`,
      );
      const truth = await server.line('heard /up');
      expect(await stage.hears(run, 'heard /up', 1)).toEqual([truth]);
    },
    DEADLINE_MS,
  );

  test(
    'gRPC: unary calls and streams on one channel, each answered with more than a window holds',
    async () => {
      const ask = `${process.execPath} ${fixture('grpc-echo.mjs')} ask 10.99.0.1:${GRPC} x-user=alice`;
      const each = 'target hello: target 1,target 100000,target 200000 0';
      expect(await stage.beyond(ask)).toBe([each, each, each].join('; '));
      await stage.hears(run, 'answered /test.Echo/', 6);
      // Each message of gRPC has five bytes before it. A call does not wait for another's window.
      const calls = linesOf(run, 'heard /test.Echo/').map((line) => line.split(' ').slice(1, 3).join(' '));
      const many = Array.from({ length: 3 }, () => '/test.Echo/Many 300016');
      expect(calls.sort()).toEqual([...many, ...Array.from({ length: 3 }, () => '/test.Echo/One 10')]);
    },
    DEADLINE_MS,
  );

  test(
    'says at the end how many there were, and loses nothing',
    async () => {
      expect(await stage.stopWhole(run)).toContain(`port ${PORT}: 4 connections with 461 requests,`);
    },
    DEADLINE_MS,
  );
});
