// A local process that closes a connection which goes on at the target, as servers do with idle ones and behind a number of
// requests: what comes next reaches it on another connection, and nothing is lost.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { until } from '../integration/exec-harness.ts';
import { startClient } from '../integration/steered-client.ts';
import { fixture, MirrorStage } from './mirror-stage.ts';

const HTTP2 = 8088;
const HTTP1 = 8089;
const DEADLINE_MS = 90_000;

let stage: MirrorStage;
let folder: string;

beforeAll(async () => {
  if (!can.root.yes) return;
  stage = await MirrorStage.open();
  folder = mkdtempSync(path.join(tmpdir(), 'mirrord-closing-'));
  const { network } = stage;
  await network.serve(network.target, [process.execPath, fixture('http2-heard.mjs'), `${HTTP2}`]);
  await network.serve(network.target, [process.execPath, fixture('kept-alive.mjs'), `${HTTP1}`, '60000']);
}, DEADLINE_MS);
afterEach(() => stage?.endRun());
afterAll(async () => {
  await stage?.close();
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
}, DEADLINE_MS);

/** Few requests a connection, as its default of 1,000 is for a busy service. */
function nginx(requests: number): string {
  const file = path.join(folder, 'nginx.conf');
  const places = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${folder}/${name};`,
  );
  writeFileSync(
    file,
    `daemon off; worker_processes 2; pid ${folder}/pid; error_log stderr warn; user root;
    events { worker_connections 512; }
    http { log_format one "$request_uri $request_length $status"; access_log ${folder}/log one; ${places.join(' ')}
      server { listen ${HTTP2} http2; keepalive_requests ${requests}; location / { return 200 "ok"; } } }\n`,
  );
  writeFileSync(path.join(folder, 'log'), '');
  return file;
}

const logged = () => readFileSync(path.join(folder, 'log'), 'utf8').split('\n').slice(0, -1);

describe.skipIf(!can.root.yes)(`a local process that closes first (${can.root.why})`, () => {
  test.each([
    ['ten', '-c 2 -m 10'],
    ['a hundred', '-c 1 -m 100'],
  ])(
    'behind twenty requests of HTTP/2 gets all of a thousand, of which %s are under way at once',
    async (_, words) => {
      const run = await stage.exec(['nginx', '-c', nginx(20)], [HTTP2]);
      const said = await stage.beyond(`h2load -n 1000 ${words} http://10.99.0.1:${HTTP2}/asked`);
      expect(said).toContain('1000 succeeded, 0 failed, 0 errored');
      await until(
        () => `${logged().length} of 1000 are answered here`,
        () => logged().length >= 1_000,
        30_000,
      );
      expect(new Set(logged().map((line) => line.replace(/ \d+ /, ' ')))).toEqual(new Set(['/asked 200']));
      expect(logged()).toHaveLength(1_000);
      await stage.stopWhole(run);
    },
    DEADLINE_MS,
  );

  test(
    'when it is idle gets the next request of the same connection',
    async () => {
      const run = await stage.exec([process.execPath, fixture('kept-alive.mjs'), `${HTTP1}`, '1'], [HTTP1]);
      await using client = await startClient(stage.network, HTTP1);
      for (let nth = 1; nth <= 6; nth++) {
        await client.tell(`get /${nth}`);
        await stage.hears(run, `heard /${nth}`, 1);
        // Before the next is asked, the local process has closed what this one came on.
        await stage.hears(run, 'closed', nth);
      }
      expect(await stage.hears(run, 'heard', 6)).toHaveLength(6);
      expect(await stage.stopWhole(run)).toContain(`port ${HTTP1}: 1 connection`);
    },
    DEADLINE_MS,
  );
});
