// Everything that speaks HTTP, to a server behind the target: by its name, over each version, both ways with large bodies.

import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { can, canRun } from '../can.ts';
import { BEYOND, type Peer } from '../fixtures/network.ts';
import type { Outcome } from '../fixtures/run.ts';
import { USERS } from '../fixtures/whole.ts';
import { buildGo, buildJava } from './build.ts';
import { DOMAIN, Stage, source, TARGET } from './stage.ts';

const TOOLS = ['curl', 'wget', 'git', 'java', 'javac', 'go', 'python3', 'openssl'];
const machine = [can.root, can.nats, canRun(...TOOLS)].find(({ yes }) => !yes) ?? can.root;
const HOST = `web.${DOMAIN}`;
const PORT = 8080;
const CLEAR = `http://${HOST}:${PORT}`;
const PRIOR = `http://${HOST}:${PORT + 1}`;
const SECURE = `https://${HOST}:${PORT + 2}`;
const BODY_BYTES = 1_000_001;
const LARGE_BYTES = 4_000_001;

describe.skipIf(!machine.yes)(`programs that speak HTTP ${machine.why}`, () => {
  let stage: Stage;
  let body: { file: string; sha256: string };
  let large: { file: string; sha256: string };
  let certificate: string;

  beforeAll(async () => {
    // Compiled here, where there is time for it.
    buildGo('fetch.go');
    buildJava('Fetch.java');
    stage = await Stage.start();
    body = stage.makeFile('body', BODY_BYTES);
    large = stage.makeFile('large', LARGE_BYTES);
    const made = stage.makeCertificate(HOST);
    certificate = made.certificate;
    await stage.serveScript('web.mjs', BEYOND, String(PORT), made.key, made.certificate, large.file);
  });

  afterAll(() => stage?.close());

  /** What every program prints that asks for all three. */
  const allThree = (version: string) =>
    `GET /hello HTTP/${version} from ${TARGET}: nothing\n` +
    `POST /post HTTP/${version} from ${TARGET}: ${BODY_BYTES} ${body.sha256}\n` +
    `${large.sha256}\n`;

  const succeeded = (outcome: Outcome, stdout: string) =>
    expect({ code: outcome.code, stdout: outcome.stdout }, outcome.stderr).toEqual({ code: 0, stdout });

  test.each([
    ['HTTP/1.1', '1.1', CLEAR, '--http1.1'],
    ['HTTP/2 in the clear', '2.0', PRIOR, '--http2-prior-knowledge'],
    ['HTTP/2 over TLS', '2.0', SECURE, '--http2'],
  ])('curl over %s', async (_, version, url, flag) => {
    const words = ['curl', '-sS', '--cacert', certificate, flag, '--max-time', '60'];
    const outcome = await stage.shell(
      'url=$1 body=$2; shift 2; "$@" "$url/hello"; "$@" --data-binary "@$body" "$url/post"; "$@" "$url/large" | sha256sum | cut -d" " -f1',
      url,
      body.file,
      ...words,
    );
    succeeded(outcome, allThree(version));
  });

  test('wget', async () => {
    const outcome = await stage.shell(
      'wget -nv -O - "$1/hello"; wget -nv -O - --post-file="$2" "$1/post"; wget -nv -O - "$1/large" | sha256sum | cut -d" " -f1',
      CLEAR,
      body.file,
    );
    succeeded(outcome, allThree('1.1'));
  });

  test('Java HttpClient over HTTP/1.1 and HTTP/2', async () => {
    const words = ['-Xshare:auto', '-XX:TieredStopAtLevel=1', '-cp', stage.here(buildJava('Fetch.java')), 'Fetch'];
    const outcome = await stage.exec(['java', ...words, CLEAR, SECURE, body.file, certificate]);
    succeeded(outcome, allThree('1.1') + allThree('2.0'));
  });

  test('Go net/http, pure static, over HTTP/1.1 and HTTP/2', async () => {
    const outcome = await stage.exec([stage.here(buildGo('fetch.go')), CLEAR, SECURE, body.file, certificate]);
    succeeded(outcome, allThree('1.1') + allThree('2.0'));
  });

  test('Python http.client, urllib, and 20 streams of asyncio at once', async () => {
    const outcome = await stage.exec([
      'python3',
      stage.here(source('fetch.py')),
      HOST,
      String(PORT),
      body.file,
      certificate,
    ]);
    const task = `POST /task/0 HTTP/1.1 from ${TARGET}: ${BODY_BYTES} ${body.sha256}\n`;
    succeeded(outcome, `${allThree('1.1')}${allThree('1.1')}20 answers, different: 1\n${task}`);
  });

  test('Node fetch, https and http2 with three streams on one connection', async () => {
    const outcome = await stage.exec([
      process.execPath,
      stage.here(source('fetch.mjs')),
      CLEAR,
      SECURE,
      body.file,
      certificate,
    ]);
    succeeded(outcome, allThree('1.1') + allThree('1.1') + allThree('2.0'));
  });

  test.each(USERS.filter((user) => user !== 'root'))('curl, Go and Python run by %s', async (user) => {
    const work = stage.whole.makeWork(user);
    const script = `
      curl -sS "$1/hello"; curl -sS --data-binary "@$3" "$1/post"; curl -sS "$1/large" | sha256sum | cut -d" " -f1
      "$5" "$1" "$2" "$3" "$4"
      python3 "$6" "$7" "$8" "$3" "$4" | tail -n 2`;
    const words = [CLEAR, SECURE, body.file, certificate, stage.here(buildGo('fetch.go'))];
    const command = [
      'sh',
      '-c',
      `set -eu\n${script}`,
      'sh',
      ...words,
      stage.here(source('fetch.py')),
      HOST,
      String(PORT),
    ];
    const outcome = await stage.exec(command, { user, work });
    const task = `POST /task/0 HTTP/1.1 from ${TARGET}: ${BODY_BYTES} ${body.sha256}\n`;
    const go = allThree('1.1') + allThree('2.0');
    succeeded(outcome, `${allThree('1.1')}${go}20 answers, different: 1\n${task}`);
  });

  test('localhost is that of the target', async () => {
    const made = stage.makeCertificate('localhost');
    const words = ['127.0.0.1', '9080', made.key, made.certificate, large.file];
    await stage.network.serve(stage.network.target, [process.execPath, source('web.mjs'), ...words]);
    const outcome = await stage.shell(
      'curl -sS "http://localhost:9080/hello"; curl -sS --cacert "$1" "$2"',
      made.certificate,
      'https://localhost:9082/hello',
    );
    succeeded(outcome, 'GET /hello HTTP/1.1 from 127.0.0.1: nothing\nGET /hello HTTP/2.0 from 127.0.0.1: nothing\n');
  });

  describe('git', () => {
    let server: Peer;

    beforeAll(async () => {
      const repositories = stage.makeFolder('repositories');
      const git = (...words: string[]) => execFileSync('git', ['-C', repositories, ...words], { stdio: 'pipe' });
      git('init', '-q', '--bare', 'shop.git');
      git('-C', 'shop.git', 'config', 'http.receivepack', 'true');
      const identity = ['-c', 'user.name=n', '-c', 'user.email=e'];
      const tree = git('-C', 'shop.git', 'hash-object', '-w', large.file).toString().trim();
      execFileSync('git', [
        '-C',
        path.join(repositories, 'shop.git'),
        'update-index',
        '--add',
        '--cacheinfo',
        `100644,${tree},large`,
      ]);
      const written = git('-C', 'shop.git', 'write-tree').toString().trim();
      const commit = git('-C', 'shop.git', ...identity, 'commit-tree', '-m', 'first', written)
        .toString()
        .trim();
      git('-C', 'shop.git', 'update-ref', 'HEAD', commit);
      server = await stage.serveScript('git.mjs', BEYOND, '8090', repositories);
    });

    test('clones over HTTP, and pushes', async () => {
      const outcome = await stage.shell(
        'git clone -q "$1" clone; cd clone; sha256sum large | cut -d" " -f1; echo two >two; git add two;' +
          ' git -c user.name=n -c user.email=e commit -q -m second; git push -q origin HEAD; git ls-remote "$1" | wc -l',
        `http://git.${DOMAIN}:8090/shop.git`,
      );
      succeeded(outcome, `${large.sha256}\n2\n`);
      await server.line(`POST /shop.git/git-receive-pack from ${TARGET}`);
    });
  });
});
