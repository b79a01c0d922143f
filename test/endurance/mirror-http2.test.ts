// `http_filter` on mirrored HTTP/2 and gRPC, the whole way: the local process is a real server, and gets the wanted streams of a
// connection alone, whole, however large.

import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { type Peer, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { ExecHarness, type Run, until } from '../integration/exec-harness.ts';

const PORT = 8082;
const GRPC = 8083;
const DEADLINE_MS = 60_000;
const fixture = (name: string) => path.join(import.meta.dirname, '../fixtures', name);

let network: TargetNetwork;
let server: Peer;
let harness: ExecHarness;
let run: Run;

beforeAll(async () => {
  if (!can.root.yes) return;
  network = await startNetwork();
  server = await network.serve(network.target, [process.execPath, fixture('http2-heard.mjs'), `${PORT}`]);
  await network.serve(network.target, [process.execPath, fixture('grpc-echo.mjs'), 'serve', `[::]:${GRPC}`, 'target']);
  harness = new ExecHarness();
  const config = path.join(harness.folder, 'mirrord.json');
  const incoming = {
    mode: 'mirror',
    http_filter: { header_filter: '^x-user: alice$' },
    port_mapping: [[PORT + 2, GRPC]],
  };
  writeFileSync(
    config,
    JSON.stringify({ feature: { network: { incoming, outgoing: false, dns: false }, fs: 'local' } }),
  );
  const program = [process.execPath, fixture('http2-heard.mjs'), `${PORT}`, `${PORT + 2}`];
  run = harness.start(['exec', '-t', `pid/${network.target.pid}`, '-f', config, '--', ...program]);
  await run.complained(`mirroring port ${PORT}`);
  await run.complained(`mirroring port ${GRPC}`);
}, DEADLINE_MS);
afterAll(async () => {
  harness?.close();
  await network?.[Symbol.asyncDispose]();
}, DEADLINE_MS);

const heard = () =>
  run
    .stdout()
    .split('\n')
    .filter((line) => line.startsWith('heard '));
const heardOf = (word: string) => heard().filter((line) => line.includes(word));
const beyond = (command: string) => network.run(network.beyond, command);
const curl = (rest: string) => beyond(`curl -sS --max-time 30 -o /dev/null --http2-prior-knowledge ${rest}`);

describe.skipIf(!can.root.yes)(`a filtered mirror of HTTP/2 (${can.root.why})`, () => {
  test(
    'brings uploads larger than any window whole, and leaves the others out',
    async () => {
      const upload = path.join(harness.folder, 'upload');
      writeFileSync(upload, Buffer.alloc(3_000_000, 'mirrored '));
      for (const user of ['bob', 'alice']) {
        await curl(`-H x-user:${user} --data-binary @${upload} http://10.99.0.1:${PORT}/upload-${user}`);
      }
      const [, truth] = [await server.line('heard /upload-bob'), await server.line('heard /upload-alice')];
      await until('it is heard here', () => heardOf('/upload').length > 0);
      expect(heardOf('/upload')).toEqual([truth]);
    },
    DEADLINE_MS,
  );

  test(
    'answers of any size go nowhere, and hold nothing up',
    async () => {
      const url = `http://[fd99::1]:${PORT}/large?answer=5000000`;
      const said = await beyond(`h2load -n 8 -c 1 -m 4 -H x-user:alice ${url}`);
      expect(said).toContain('8 succeeded');
      await until('they are heard here', () => heardOf('/large').length === 8);
    },
    DEADLINE_MS,
  );

  test(
    'every wanted stream of many at once is heard, once',
    async () => {
      const load = (user: string) =>
        beyond(`h2load -n 1500 -c 3 -m 50 -H x-user:${user} http://10.99.0.1:${PORT}/load-${user}`);
      const [said] = await Promise.all([load('alice'), load('bob')]);
      expect(said).toContain('1500 succeeded, 0 failed, 0 errored');
      await until(
        () => `${heardOf('/load').length} are heard here`,
        () => heardOf('/load-alice').length === 1_500,
        30_000,
      );
      expect(heardOf('/load-bob')).toEqual([]);
    },
    DEADLINE_MS,
  );

  test(
    'gRPC: unary calls and streams, wanted and not, on one channel',
    async () => {
      const ask = `${process.execPath} ${fixture('grpc-echo.mjs')} ask 10.99.0.1:${GRPC} x-user=alice`;
      const each = 'target hello: target 1,target 100000,target 200000 0';
      expect(await beyond(ask)).toBe([each, each, each].join('; '));
      await until('four calls are heard here', () => heardOf('/test.Echo/').length === 4);
      // Each message of gRPC has five bytes before it.
      expect(heardOf('/test.Echo/').map((line) => line.split(' ').slice(1, 3))).toEqual([
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
      run.child.kill('SIGTERM');
      const { stderr } = await run.outcome;
      expect(stderr).toMatch(
        new RegExp(`port ${PORT}: \\d+ connections with 1509 requests \\(\\d+ more did not match\\)`),
      );
      expect(stderr).not.toContain('lost');
      await harness.leavesNothing();
    },
    DEADLINE_MS,
  );
});
