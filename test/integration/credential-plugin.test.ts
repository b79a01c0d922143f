import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ApiServer } from '../../client/testing/api-server.ts';
import { run } from '../fixtures/run.ts';
import { SYSTEM_PATH } from '../fixtures/whole.ts';

const mirrord = path.join(import.meta.dirname, '../../bin/mirrord');
const onTerminal = path.join(import.meta.dirname, '../fixtures/on-terminal.py');
const apiVersion = 'client.authentication.k8s.io/v1';
let server: ApiServer;

beforeEach(async () => {
  server = await ApiServer.start();
  const columnDefinitions = ['Name', 'Ready', 'Available'].map((name) => ({ name }));
  const rows = [{ cells: ['web', '1/1', 1] }];
  server.answers.set('GET /apis/apps/v1/namespaces/default/deployments', { columnDefinitions, rows });
});
afterEach(() => server.close());

/** Asks for a code on its stderr and reads it from its stdin; its token is the code. */
async function withPlugin(interactiveMode: string): Promise<Record<string, string>> {
  const answer = `{"kind":"ExecCredential","apiVersion":"${apiVersion}","status":{"token":"'"$code"'"}}`;
  const script = `#!/bin/sh\nprintf 'code? ' >&2\nread -r code || code=nobody\necho '${answer}'\n`;
  writeFileSync(path.join(server.folder, 'plugin'), script, { mode: 0o755 });
  const user = { exec: { apiVersion, command: './plugin', interactiveMode } };
  const KUBECONFIG = await server.writeKubeconfig({ user });
  return { PATH: SYSTEM_PATH, HOME: server.folder, KUBECONFIG, TERM: 'xterm' };
}

const words = ['ls', '-t', 'deploy', '-o', 'name'];

test('a plugin may ask the user on the terminal', async () => {
  const variables = await withPlugin('Always');
  const steps = JSON.stringify([['code? ', '4711\r']]);
  const played = await run(['python3', onTerminal, steps, mirrord, ...words], { variables, folder: server.folder });
  expect(played.stdout).toContain('deployment/web');
  expect(server.seen[0]?.headers.authorization).toBe('Bearer 4711');
});

test('without a terminal it has nobody to ask, or is refused when it must', async () => {
  const variables = await withPlugin('IfAvailable');
  expect((await run([mirrord, ...words], { variables, folder: server.folder })).stdout).toBe('deployment/web\n');
  expect(server.seen[0]?.headers.authorization).toBe('Bearer nobody');
  const always = { ...(await withPlugin('Always')) };
  const { stderr, code } = await run([mirrord, ...words], { variables: always, folder: server.folder });
  expect(stderr).toContain('interactiveMode is Always, and there is no terminal to ask on');
  expect(code).toBe(2);
});
