import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ApiServer } from '../../client/testing/api-server.ts';
import { run } from '../fixtures/run.ts';
import { SYSTEM_PATH } from '../fixtures/whole.ts';

const mirrord = path.join(import.meta.dirname, '../../bin/mirrord');
const onTerminal = path.join(import.meta.dirname, '../fixtures/on-terminal.py');
let server: ApiServer;

beforeEach(async () => {
  server = await ApiServer.start();
  const columnDefinitions = ['Name', 'Ready', 'Available'].map((name) => ({ name }));
  const names = Array.from({ length: 40 }, (_, at) => `web-${at}`);
  const rows = [...names, 'shop\u001b[2J'].map((name) => ({ cells: [name, '1/1', 1] }));
  server.answers.set('GET /apis/apps/v1/namespaces/shop/deployments', { columnDefinitions, rows });
});
afterEach(() => server.close());

/** All that appears while the keys are pressed, each when what it answers has appeared. */
async function play(steps: readonly (readonly [appears: string, keys: string])[], command?: string) {
  const KUBECONFIG = await server.writeKubeconfig({ context: { namespace: 'shop' } });
  const words = ['exec', '--progress', 'off', '--', 'true'];
  const shell = command ?? [mirrord, ...words].join(' ');
  return run(['python3', onTerminal, JSON.stringify(steps), 'sh', '-c', shell], {
    variables: { PATH: SYSTEM_PATH, HOME: server.folder, KUBECONFIG, TERM: 'xterm' },
    folder: server.folder,
  });
}

const LISTED = '41, page 1 of 3';

test('a target is chosen by typing a part of its name', async () => {
  const { stdout } = await play([
    [LISTED, 'web-3'],
    ['11, page 1 of 1', '\x1b[B'],
    ['> deployment/web-30', '\r'],
  ]);
  expect(stdout).toContain('Which target in namespace shop of context test?');
  expect(stdout).toContain('there is no deployment/web-30 in namespace shop');
});

test('pages are turned, and names of the cluster cannot command the terminal', async () => {
  const { stdout } = await play([
    [LISTED, '\x1b[6~'],
    ['page 2 of 3', '\x1b[6~'],
    ['page 3 of 3', '\x1b[5~'],
    ['page 2 of 3', '\r'],
  ]);
  expect(stdout).toContain('shop\\u001b[2J');
  expect(stdout).not.toContain('\u001b[2J');
  expect(stdout).toMatch(/there is no deployment\/web-\d+ in namespace shop/);
});

test.each([
  ['Esc', '\x1b'],
  ['Ctrl-C', '\x03'],
])('%s leaves, with the terminal as it was', async (_, key) => {
  const words = `${mirrord} exec --progress off -- true; echo "code $?"; stty -a`;
  const { stdout } = await play([[LISTED, key]], words);
  expect(stdout).toContain('no target was chosen');
  expect(stdout).toContain('code 130');
  for (const mode of ['icanon', 'echo', 'isig', 'icrnl', 'opost'])
    expect(stdout).toMatch(new RegExp(`[ ;\\n]${mode}\\b`));
  expect(stdout.lastIndexOf('\x1b[?25h')).toBeGreaterThan(stdout.lastIndexOf('\x1b[?25l'));
});

test('without a terminal a target must be named', async () => {
  const KUBECONFIG = await server.writeKubeconfig();
  const { stderr, code } = await run([mirrord, 'exec', '--', 'true'], {
    variables: { PATH: SYSTEM_PATH, HOME: server.folder, KUBECONFIG },
    folder: server.folder,
  });
  expect([stderr.includes('a target is missing'), code]).toEqual([true, 2]);
});
