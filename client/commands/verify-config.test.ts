import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { keepTerminal } from '../testing/terminal.ts';
import { verifyConfig } from './verify-config.ts';

async function verdictOn(text: string, flags: Record<string, true> = {}) {
  const cwd = await mkdtemp(join(tmpdir(), 'mirrord-verify-'));
  try {
    await writeFile(join(cwd, 'mirrord.json'), text);
    const terminal = keepTerminal(cwd, {});
    const outcome = await verifyConfig({ words: ['mirrord.json'], flags, overrides: {} }, terminal);
    expect(outcome).toEqual({ kind: 'exit', code: 0 });
    expect(terminal.outText.trimEnd().split('\n')).toHaveLength(1);
    return JSON.parse(terminal.outText);
  } finally {
    await rm(cwd, { recursive: true });
  }
}

test('a good configuration is a success with its target', async () => {
  expect(await verdictOn('{"target": "pid/1"}')).toEqual({
    type: 'Success',
    config: { path: 'pid/1', namespace: null },
    warnings: [],
    compatible_target_types: expect.arrayContaining(['pid', 'container', 'pod', 'deployment', 'rollout', 'label']),
  });
});

test('a missing target is null, and worth a warning only where nobody chooses one later', async () => {
  expect(await verdictOn('{}', { ide: true })).toMatchObject({ config: { path: null }, warnings: [] });
  expect((await verdictOn('{}')).warnings).toEqual([expect.stringContaining('there is no target')]);
});

test('a bad configuration is a failure with all faults, and still exit code 0', async () => {
  const { type, errors } = await verdictOn('{"feature": {"fs": {"mod": 1}, "env": 1}}');
  expect(type).toBe('Fail');
  expect(errors).toHaveLength(2);
  expect(errors.join()).toContain('feature.fs.mod (line 1): no such key; did you mean mode?');
});

test('a filter that cannot be is a failure with the part marked', async () => {
  const filter = { any_of: [{ path: '^/a' }, { header: 'x-user: (?!bob)' }] };
  const { type, errors } = await verdictOn(
    JSON.stringify({ feature: { network: { incoming: { mode: 'steal', http_filter: filter } } } }),
  );
  expect(type).toBe('Fail');
  expect(errors).toEqual([
    expect.stringMatching(/any_of \(line 1\), item 2, header: look-around [\s\S]*\n +x-user: \(\?!bob\)\n +\^{3}\n/),
  ]);
});

test('--resolved adds every value, maps as maps', async () => {
  const { resolved_config: resolved } = await verdictOn('{"feature": {"env": {"override": {"A": "1"}}}}', {
    resolved: true,
  });
  expect(resolved.feature.env.override).toEqual({ A: '1' });
  expect(resolved.feature.fs.mode).toBe('read');
  expect(resolved.startup_retry.max_retries).toBe(2);
});
