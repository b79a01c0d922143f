// HTTP/2 and gRPC as programs of several languages speak it, mirrored to servers of several languages: each request is heard here
// as at the target, byte for byte, and each answer of the target is whole.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import type { Peer } from '../fixtures/network.ts';
import { fixture, linesOf, MirrorStage } from './mirror-stage.ts';

const PORT = 8086;
const GRPC = 8087;
const DEADLINE_MS = 180_000;
const ANSWER_BYTES = 700_000;
const build = path.join(import.meta.dirname, '../../build');
/** Debian's, which has its modules. */
const PYTHON = '/usr/bin/python3';

let stage: MirrorStage;
let server: Peer;
let folder: string;

/** Of Debian's golang-golang-x-net-dev, without a download. */
function compileGo(source: string): string {
  const program = path.join(build, source.replace('.go', ''));
  const variables = { GO111MODULE: 'off', GOPATH: '/usr/share/gocode', GOCACHE: path.join(build, 'go') };
  execFileSync('go', ['build', '-o', program, fixture(source)], {
    env: { ...process.env, ...variables, CGO_ENABLED: '0' },
  });
  return program;
}

beforeAll(async () => {
  if (!can.root.yes) return;
  stage = await MirrorStage.open();
  folder = mkdtempSync(path.join(tmpdir(), 'mirrord-http2-'));
  writeFileSync(path.join(folder, 'upload'), Buffer.alloc(1_500_000, 'mirrored '));
  compileGo('http2_sends.go');
  const { network } = stage;
  server = await network.serve(network.target, [compileGo('http2_heard.go'), `${PORT}`]);
  await network.serve(network.target, [process.execPath, fixture('grpc-echo.mjs'), 'serve', `[::]:${GRPC}`, 'target']);
}, DEADLINE_MS);
afterEach(() => stage?.endRun());
afterAll(async () => {
  await stage?.close();
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
}, DEADLINE_MS);

const url = (name: string, host = '10.99.0.1') => `http://${host}:${PORT}/${name}?answer=${ANSWER_BYTES}`;
const GOT = `got ${ANSWER_BYTES} ${createHash('sha256').update('x'.repeat(ANSWER_BYTES)).digest('hex')}`;
const requestsOf = (lines: readonly string[]) => lines.map((line) => line.split(' ').slice(1, 4).join(' ')).sort();

/** What a program asks, how many requests those are, and what it says of the answers. */
const clients: readonly [string, number, () => Promise<string[]>][] = [
  ['curl', 1, () => curl(`--http2-prior-knowledge --data-binary @${path.join(folder, 'upload')} ${url('curl')}`)],
  ['h2load', 300, load],
  [
    'go',
    6,
    async () => lines(await stage.beyond(`${path.join(build, 'http2_sends')} ${url('go', '[fd99::1]')} 6 90000`)),
  ],
  [
    'python',
    4,
    async () => lines(await stage.beyond(`${PYTHON} ${fixture('http2_sends.py')} ${url('python')} 4 150000`)),
  ],
];
/** They ask for an upgrade first, which is copied as it came. */
const upgrading: typeof clients = [
  ['java', 4, async () => lines(await stage.beyond(`java ${fixture('Http2Sends.java')} ${url('java')} 3 9000`))],
  ['curl-upgrade', 1, () => curl(`--http2 ${url('curl-upgrade')}`)],
];

const lines = (text: string) => text.trim().split('\n');

async function curl(words: string): Promise<string[]> {
  const body = await stage.beyond(`curl -sS --max-time 60 ${words}`);
  return [`got ${body.length} ${createHash('sha256').update(body).digest('hex')}`];
}

async function load(): Promise<string[]> {
  const said = await stage.beyond(`h2load -n 300 -c 3 -m 20 http://10.99.0.1:${PORT}/h2load?answer=1000`);
  expect(said).toContain('300 succeeded, 0 failed, 0 errored');
  return [];
}

const heardAtTarget = async (name: string, count: number) => {
  const heard: string[] = [];
  while (heard.length < count) heard.push(await server.line(`heard /${name} `));
  return requestsOf(heard);
};

describe.skipIf(!can.root.yes)(`HTTP/2 of real programs under a mirror (${can.root.why})`, () => {
  test.each([
    ['node', () => [process.execPath, fixture('http2-heard.mjs'), `${PORT}`], clients],
    ['a pure Go program', () => [path.join(build, 'http2_heard'), `${PORT}`], [...clients, ...upgrading]],
    ['python', () => [PYTHON, fixture('http2_heard.py'), `${PORT}`], clients],
  ])(
    'reaches a server in %s, whoever asks',
    async (_, command, asking) => {
      const run = await stage.exec(command(), [PORT]);
      await run.said('ready');
      let requests = 0;
      for (const [name, count, ask] of asking) {
        const got = await ask();
        expect(new Set(got), name).toEqual(name === 'h2load' ? new Set() : new Set([GOT]));
        expect(got).toHaveLength(name === 'h2load' ? 0 : count);
        expect(requestsOf(await stage.hears(run, `heard /${name} `, count)), name).toEqual(
          await heardAtTarget(name, count),
        );
        requests += count;
      }
      expect(linesOf(run, 'heard')).toHaveLength(requests);
      await stage.stopWhole(run);
    },
    DEADLINE_MS,
  );

  test(
    'gRPC reaches a server of the same library, calls and streams',
    async () => {
      const serve = [process.execPath, fixture('grpc-echo.mjs'), 'serve', `0.0.0.0:${GRPC}`, 'local', 'aloud'];
      const run = await stage.exec(serve, [GRPC]);
      await run.said('ready');
      const ask = `${process.execPath} ${fixture('grpc-echo.mjs')} ask 10.99.0.1:${GRPC} x-user=alice`;
      const each = 'target hello: target 1,target 100000,target 200000 0';
      for (let nth = 1; nth <= 3; nth++) {
        expect(await stage.beyond(ask)).toBe([each, each, each].join('; '));
        await stage.hears(run, 'called many 300001', nth * 3);
        await stage.hears(run, 'called one 5', nth * 3);
      }
      expect(linesOf(run, 'called')).toHaveLength(18);
      await stage.stopWhole(run);
    },
    DEADLINE_MS,
  );
});
