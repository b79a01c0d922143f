// Servers as people run them on their machines, under a mirror: those that fork workers before, that reload, that share a port.
// Each request of the target is heard here once, byte for byte, from its true peer.

import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import type { Peer } from '../fixtures/network.ts';
import { fixture, linesOf, MirrorStage } from './mirror-stage.ts';

const PORT = 8090;
const REQUESTS = 60;
const DEADLINE_MS = 120_000;
/** Debian's, which has its modules. */
const PYTHON = '/usr/bin/python3';
const here = (name: string) => fixture(`heard-servers/${name}`);
const apps = path.dirname(here('app.py'));

let stage: MirrorStage;
let server: Peer;

beforeAll(async () => {
  if (!can.root.yes) return;
  stage = await MirrorStage.open();
  server = await stage.network.serve(stage.network.target, [process.execPath, here('node.mjs'), `${PORT}`]);
}, DEADLINE_MS);
afterEach(() => stage?.endRun());
afterAll(() => stage?.close(), DEADLINE_MS);

const requestOf = (line: string) => line.split(' ').slice(1, 3).join(' ');

describe.skipIf(!can.root.yes)(`a server under a mirror (${can.root.why})`, () => {
  test.each([
    [
      'gunicorn that forks before',
      3,
      [PYTHON, '-B', '/usr/bin/gunicorn', '-w', '3', '--chdir', apps, '-b', `0.0.0.0:${PORT}`, 'app:wsgi'],
    ],
    [
      'gunicorn with threads, sharing the port',
      2,
      [
        PYTHON,
        '-B',
        '/usr/bin/gunicorn',
        '-w',
        '2',
        '--threads',
        '4',
        '--reuse-port',
        '--chdir',
        apps,
        '-b',
        `0.0.0.0:${PORT}`,
        'app:wsgi',
      ],
    ],
    [
      'uvicorn that reloads',
      1,
      [PYTHON, '-B', '-m', 'uvicorn', '--app-dir', apps, '--port', `${PORT}`, '--reload', 'app:asgi'],
    ],
    [
      'uvicorn with workers',
      3,
      [PYTHON, '-B', '-m', 'uvicorn', '--app-dir', apps, '--port', `${PORT}`, '--workers', '3', 'app:asgi'],
    ],
    ['puma that forks before', 3, ['/usr/bin/puma', '-w', '3', '-b', `tcp://0.0.0.0:${PORT}`, here('config.ru')]],
    ['WEBrick', 1, ['/usr/bin/ruby', here('webrick.rb'), `${PORT}`]],
    ['php -S', 1, ['php', '-S', `0.0.0.0:${PORT}`, here('index.php')]],
    ['Java', 1, ['java', here('Heard.java'), `${PORT}`]],
    ['node:cluster', 3, [process.execPath, here('node.mjs'), `${PORT}`, '3']],
  ])(
    'hears every request once: %s',
    async (_, workers, command) => {
      const run = await stage.exec(command, [PORT]);
      const said = await stage.beyond(`${process.execPath} ${here('ask.mjs')} 10.99.0.1 ${PORT} ${REQUESTS}`);
      const sent = said.trim().split('\n').map(requestOf).sort();
      const truth: string[] = [];
      while (truth.length < REQUESTS) truth.push(await server.line('heard'));
      await stage.hears(run, 'heard', REQUESTS);
      const heard = linesOf(run, 'heard');
      expect(heard.map(requestOf).sort()).toEqual(sent);
      expect(truth.map(requestOf).sort()).toEqual(sent);
      expect(new Set(heard.map((line) => line.split(' ')[3]?.replace('::ffff:', '')))).toEqual(new Set(['10.99.0.2']));
      expect(new Set(heard.map((line) => line.split(' ')[4])).size).toBeLessThanOrEqual(workers);
      expect(await stage.stopWhole(run)).toContain(`port ${PORT}: ${REQUESTS} connections`);
    },
    DEADLINE_MS,
  );
});
