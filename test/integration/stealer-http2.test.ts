import { execFile } from 'node:child_process';
import { createServer, type Http2Server } from 'node:http2';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { serve } from '../fixtures/grpc-echo.mjs';
import { startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { StealClient, type Stealer, startStealer } from './stealer-harness.ts';

const PORT = 8080;
const TARGET = `http://10.99.0.1:${PORT}`;
const run = promisify(execFile);

const SERVER = `
  const server = require('node:http2').createServer({ settings: { maxConcurrentStreams: 2000 } });
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {});
    stream.resume().on('end', () => {
      stream.respond({ 'content-type': 'text/plain' });
      stream.end('target ' + headers[':path']);
    });
  });
  server.listen(${PORT}, '::', () => console.log('ready'));
`;

/** One connection, four streams, one after the other. */
const CLIENT = `
  const session = require('node:http2').connect('${TARGET}');
  const ask = (path, headers, body) => new Promise((resolve, reject) => {
    const stream = session.request({ ':path': path, ':method': body ? 'POST' : 'GET', ...headers }, { endStream: !body });
    let said = '';
    stream.setEncoding('utf8').on('data', (data) => { said += data; }).on('end', () => resolve(said)).on('error', reject);
    if (body) stream.end(body);
  });
  (async () => {
    const alice = { 'x-user': 'alice' };
    const said = [await ask('/1', alice), await ask('/2', {}), await ask('/3', alice, 'abc'), await ask('/4', {})];
    process.stdout.write(said.join());
    session.close();
  })();
`;

let network: TargetNetwork;
let stealer: Stealer;
let local: Http2Server;
let client: StealClient;

beforeAll(async () => {
  network = await startNetwork();
  await network.serve(network.target, [process.execPath, '-e', SERVER, `:::${PORT}`]);
  local = createServer();
  local.on('stream', (stream, headers) => {
    let bytes = 0;
    stream.on('error', () => undefined);
    stream.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    stream.on('end', () => {
      if (headers[':path'] === '/silent') {
        client.vanish();
        return;
      }
      stream.respond({ 'content-type': 'text/plain' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end(headers[':path'] === '/big' ? Buffer.alloc(8 << 20, 0x42) : `local ${headers[':path']} ${bytes}`);
    });
  });
  await new Promise<void>((resolve) => local.listen(0, '127.0.0.1', resolve));
});
afterAll(async () => {
  await new Promise((resolve) => local.close(resolve));
  await network[Symbol.asyncDispose]();
});
beforeEach(async () => {
  stealer = await startStealer();
  client = await StealClient.open(stealer, network.identity, (local.address() as AddressInfo).port);
  await client.steal({ port: PORT, conditions: [{ $case: 'header', value: '^x-user: alice$' }] });
});
afterEach(async () => {
  client.vanish();
  await expect.poll(() => stealer.liveSessions).toBe(0);
  await stealer[Symbol.asyncDispose]();
  expect(await beyond('curl', ...CURL, `${TARGET}/after`)).toBe('target /after');
});

const GRPC = path.join(import.meta.dirname, '../fixtures/grpc-echo.mjs');
const CURL = ['-sS', '--max-time', '30', '--http2-prior-knowledge'];
const ALICE = ['-H', 'x-user: alice'];

/** A program of the target's peer; what it says. */
async function beyond(...command: string[]): Promise<string> {
  const words = ['-t', String(network.beyond.pid), '-n', ...command];
  return (await run('nsenter', words, { maxBuffer: 1 << 26 })).stdout;
}

describe('HTTP/2 with a filter', () => {
  test('streams of one connection part, and each has its own body', async () => {
    const said = await beyond(process.execPath, '-e', CLIENT);
    expect(said).toBe('local /1 0,target /2,local /3 3,target /4');
    expect(client.peers).toHaveLength(1);
  });

  test('gRPC: unary calls and streams, taken and not, on one channel', async () => {
    await network.serve(network.target, [process.execPath, GRPC, 'serve', `[::]:${PORT + 1}`, 'target']);
    const grpc = await serve('127.0.0.1:0', 'local');
    try {
      using session = await StealClient.open(stealer, network.identity, grpc.port);
      await session.steal({ port: PORT + 1, conditions: [{ $case: 'header', value: '^x-user: alice$' }] });
      const said = await beyond(process.execPath, GRPC, 'ask', `10.99.0.1:${PORT + 1}`, 'x-user=alice');
      const each = (name: string) => `${name} hello: ${name} 1,${name} 100000,${name} 200000 0`;
      expect(said).toBe([each('local'), each('target'), each('local')].join('; '));
    } finally {
      grpc.close();
    }
  });

  test('curl: what matches is taken, the rest is not, and 8 MiB come back whole', async () => {
    expect(await beyond('curl', ...CURL, ...ALICE, '-d', 'abc', `${TARGET}/a`)).toBe('local /a 3');
    expect(await beyond('curl', ...CURL, '-H', 'x-user: bob', `${TARGET}/b`)).toBe('target /b');
    expect((await beyond('curl', ...CURL, ...ALICE, `${TARGET}/big`)).length).toBe(8 << 20);
  });

  test('h2load: 1,000 streams at once, for the session and for the target, all answered', async () => {
    for (const extra of [ALICE, []]) {
      const said = await beyond('h2load', '-n', '4000', '-c', '2', '-m', '1000', ...extra, `${TARGET}/x`);
      expect(said).toContain('4000 succeeded, 0 failed, 0 errored');
      expect(said).toContain('4000 2xx');
    }
  });

  test('a session that vanishes with a stream in flight: 502 for that one, the target for the next', async () => {
    const said = await beyond('curl', ...CURL, ...ALICE, '-w', '%{http_code}', `${TARGET}/silent`);
    expect(said).toBe('mirrord: the session that took this request has ended\n502');
    expect(await beyond('curl', ...CURL, ...ALICE, `${TARGET}/next`)).toBe('target /next');
  });
});
