// `http_filter` on mirrored HTTP/2 and gRPC, the whole way: the local process is a real server, and gets the wanted streams of a
// connection alone, whole, however large.

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
  const incoming = {
    mode: 'mirror',
    http_filter: { header_filter: '^x-user: alice$' },
    port_mapping: [[PORT + 2, GRPC]],
  };
  const program = [process.execPath, fixture('http2-heard.mjs'), `${PORT}`, `${PORT + 2}`];
  run = await stage.exec(program, [PORT, GRPC], incoming);
}, DEADLINE_MS);
afterAll(() => stage?.close(), DEADLINE_MS);

const curl = (rest: string) => stage.beyond(`curl -sS --max-time 30 -o /dev/null --http2-prior-knowledge ${rest}`);

describe.skipIf(!can.root.yes)(`a filtered mirror of HTTP/2 (${can.root.why})`, () => {
  test(
    'brings uploads larger than any window whole, and leaves the others out',
    async () => {
      const upload = path.join(stage.harness.folder, 'upload');
      writeFileSync(upload, Buffer.alloc(3_000_000, 'mirrored '));
      for (const user of ['bob', 'alice']) {
        await curl(`-H x-user:${user} --data-binary @${upload} http://10.99.0.1:${PORT}/upload-${user}`);
      }
      const [, truth] = [await server.line('heard /upload-bob'), await server.line('heard /upload-alice')];
      expect(await stage.hears(run, 'heard /upload', 1)).toEqual([truth]);
    },
    DEADLINE_MS,
  );

  test(
    'answers of any size go nowhere, and hold nothing up',
    async () => {
      const url = `http://[fd99::1]:${PORT}/large?answer=5000000`;
      const said = await stage.beyond(`h2load -n 8 -c 1 -m 4 -H x-user:alice ${url}`);
      expect(said).toContain('8 succeeded');
      await stage.hears(run, 'heard /large', 8);
    },
    DEADLINE_MS,
  );

  test(
    'every wanted stream of many at once is heard, once',
    async () => {
      const load = (user: string) =>
        stage.beyond(`h2load -n 1500 -c 3 -m 50 -H x-user:${user} http://10.99.0.1:${PORT}/load-${user}`);
      const [said] = await Promise.all([load('alice'), load('bob')]);
      expect(said).toContain('1500 succeeded, 0 failed, 0 errored');
      await stage.hears(run, 'heard /load-alice', 1_500);
      expect(linesOf(run, 'heard /load-bob')).toEqual([]);
    },
    DEADLINE_MS,
  );

  test(
    'gRPC: unary calls and streams, wanted and not, on one channel',
    async () => {
      const ask = `${process.execPath} ${fixture('grpc-echo.mjs')} ask 10.99.0.1:${GRPC} x-user=alice`;
      const each = 'target hello: target 1,target 100000,target 200000 0';
      expect(await stage.beyond(ask)).toBe([each, each, each].join('; '));
      const calls = await stage.hears(run, 'heard /test.Echo/', 4);
      // Each message of gRPC has five bytes before it.
      expect(calls.map((line) => line.split(' ').slice(1, 3))).toEqual([
        ['/test.Echo/One', '10'],
        ['/test.Echo/Many', '300016'],
        ['/test.Echo/One', '10'],
        ['/test.Echo/Many', '300016'],
      ]);
    },
    DEADLINE_MS,
  );

  test(
    'says at the end what matched, and loses nothing',
    async () => {
      expect(await stage.stopWhole(run)).toMatch(
        new RegExp(`port ${PORT}: \\d+ connections with 1509 requests \\(\\d+ more did not match\\)`),
      );
    },
    DEADLINE_MS,
  );
});
