// Mirrored HTTP/2 and gRPC without a filter, the whole way: the local process is a server whose answers are larger and slower than
// the target's, and still gets every request.

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
  const feature = { network: { incoming: 'mirror', outgoing: false, dns: false }, fs: 'local' };
  writeFileSync(config, JSON.stringify({ feature }));
  const program = ['http2-heard.mjs', `${PORT}`, `${GRPC}`, 'answer=300000', 'streams=10'];
  run = harness.start([
    ...['exec', '-t', `pid/${network.target.pid}`, '-f', config, '--', process.execPath],
    ...[fixture(program[0] as string), ...program.slice(1)],
  ]);
  await run.complained(`mirroring port ${PORT}`);
  await run.complained(`mirroring port ${GRPC}`);
}, DEADLINE_MS);
afterAll(async () => {
  harness?.close();
  await network?.[Symbol.asyncDispose]();
}, DEADLINE_MS);

const saidOf = (word: string) =>
  run
    .stdout()
    .split('\n')
    .filter((line) => line.startsWith(word));
const beyond = (command: string) => network.run(network.beyond, command);

describe.skipIf(!can.root.yes)(`a whole mirror of HTTP/2 (${can.root.why})`, () => {
  test(
    'answers larger than any window hold nothing up, where the target’s are small',
    async () => {
      const said = await beyond(`h2load -n 60 -c 1 -m 4 http://10.99.0.1:${PORT}/small`);
      expect(said).toContain('60 succeeded, 0 failed, 0 errored');
      await until(
        () => `${saidOf('answered /small').length} are answered here`,
        () => saidOf('answered /small').length === 60,
        30_000,
      );
    },
    DEADLINE_MS,
  );

  test(
    'more streams at once than the local process takes come one after the other',
    async () => {
      const said = await beyond(`h2load -n 400 -c 2 -m 100 http://[fd99::1]:${PORT}/many`);
      expect(said).toContain('400 succeeded, 0 failed, 0 errored');
      await until(
        () => `${saidOf('answered /many').length} are answered here`,
        () => saidOf('answered /many').length === 400,
        30_000,
      );
    },
    DEADLINE_MS,
  );

  test(
    'uploads larger than any window are whole',
    async () => {
      const upload = path.join(harness.folder, 'upload');
      writeFileSync(upload, Buffer.alloc(3_000_000, 'mirrored '));
      await beyond(
        `curl -sS --max-time 30 -o /dev/null --http2-prior-knowledge --data-binary @${upload} http://10.99.0.1:${PORT}/up`,
      );
      const truth = await server.line('heard /up');
      await until('it is heard here', () => saidOf('heard /up').length > 0);
      expect(saidOf('heard /up')).toEqual([truth]);
    },
    DEADLINE_MS,
  );

  test(
    'gRPC: unary calls and streams on one channel, each answered with more than a window holds',
    async () => {
      const ask = `${process.execPath} ${fixture('grpc-echo.mjs')} ask 10.99.0.1:${GRPC} x-user=alice`;
      const each = 'target hello: target 1,target 100000,target 200000 0';
      expect(await beyond(ask)).toBe([each, each, each].join('; '));
      await until('six calls are answered here', () => saidOf('answered /test.Echo/').length === 6);
      // Each message of gRPC has five bytes before it. A call does not wait for another's window.
      const calls = saidOf('heard /test.Echo/').map((line) => line.split(' ').slice(1, 3).join(' '));
      const many = Array.from({ length: 3 }, () => '/test.Echo/Many 300016');
      expect(calls.sort()).toEqual([...many, ...Array.from({ length: 3 }, () => '/test.Echo/One 10')]);
    },
    DEADLINE_MS,
  );

  test(
    'says at the end how many there were, and loses nothing',
    async () => {
      run.child.kill('SIGTERM');
      const { stderr } = await run.outcome;
      expect(stderr).toMatch(new RegExp(`port ${PORT}: 4 connections with 461 requests,`));
      expect(stderr).not.toContain('lost');
      await harness.leavesNothing();
    },
    DEADLINE_MS,
  );
});
