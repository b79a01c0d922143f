import { expect, test } from 'vitest';
import { keepTerminal } from '../testing/terminal.ts';
import { explain } from './explain.ts';

const ENV = { HOME: '/home/u', TMPDIR: '/tmp', MIRRORD_FILE_READ_ONLY_PATTERN: '^/data', MIRRORD_FILE_MODE: 'read' };

async function run(words: string[], flags: Record<string, string | true> = {}, env: NodeJS.ProcessEnv = ENV) {
  const terminal = keepTerminal('/code/app', env);
  const outcome = await explain({ words, flags, overrides: {} }, terminal);
  return { outcome, terminal };
}

test('a path is told with where it is read and written and by which rule', async () => {
  const { terminal, outcome } = await run(['/data/x', '/home/u/.kube', '/code/app/x']);
  expect(terminal.outText).toBe(
    [
      '/data/x',
      '  read   in the target: feature.fs.read_only ^/data',
      '  write  here: feature.fs.read_only ^/data',
      '/home/u/.kube',
      '  read   nowhere (ENOENT): default not-found list: begins with /home/u/.kube',
      '  write  nowhere (ENOENT): default not-found list: begins with /home/u/.kube',
      '/code/app/x',
      '  read   here: working directory: in /code/app',
      '  write  here: working directory: in /code/app',
      '',
    ].join('\n'),
  );
  expect(outcome).toEqual({ kind: 'exit', code: 0 });
});

test('a mapped path is told with its new name', async () => {
  const { terminal } = await run(['/home/u/.aws/config']);
  expect(terminal.outText).toContain('  read   here as /tmp/.aws/config: feature.fs.mapping ');
});

test('--write tells of writes only', async () => {
  expect((await run(['/data/x'], { write: true })).terminal.outText).not.toContain('read  ');
});

test('--json is for programs', async () => {
  const { terminal } = await run(['/data/x'], { json: true });
  expect(JSON.parse(terminal.outText)).toMatchObject([
    { path: '/data/x', read: { where: 'remote', path: '/data/x' }, write: { where: 'local' } },
  ]);
});

test('a wrong configuration and a missing path are refused', async () => {
  await expect(run(['/x'], {}, { MIRRORD_FILE_MODE: 'x' })).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  await expect(run([])).rejects.toThrow('a path is missing');
});
