import { expect, test } from 'vitest';
import { loadText } from '../testing/load-text.ts';
import { loadConfig } from './load.ts';

const NOTHING = { flags: {}, env: {}, cwd: '/' };

test('without a file everything has its default', async () => {
  const { config, warnings } = await loadConfig(NOTHING);
  expect(config.feature.fs.mode).toBe('read');
  expect(config.feature.fs.readonly_file_buffer).toBe(128_000);
  expect(config.target.path).toBeNull();
  expect(warnings).toEqual([]);
});

test.each([
  ['.json', '{"target": "pid/1", "feature": {"fs": {"mode": "write", "local": ["^/a", "^/b"]}}}'],
  ['', '{"target": "pid/1", "feature": {"fs": {"mode": "write", "local": ["^/a", "^/b"]}}}'],
  ['.toml', 'target = "pid/1"\n[feature.fs]\nmode = "write"\nlocal = ["^/a", "^/b"]\n'],
  ['.yaml', 'target: pid/1\nfeature:\n  fs:\n    mode: write\n    local: [^/a, ^/b]\n'],
  ['.yml', 'target: pid/1\nfeature: {fs: {mode: write, local: [^/a, ^/b]}}\n'],
])('the ending %j says how a file is read', async (ending, text) => {
  const { config } = await loadText(text, { ending });
  expect(config.target.path).toBe('pid/1');
  expect(config.feature.fs).toMatchObject({ mode: 'write', local: ['^/a', '^/b'] });
});

test('a dash reads standard input as JSON', async () => {
  const readStdin = async () => '{"target": "pid/2"}';
  const { config } = await loadConfig({ ...NOTHING, configFile: '-', readStdin });
  expect(config.target.path).toBe('pid/2');
});

test('MIRRORD_CONFIG_FILE names the file where no flag does', async () => {
  const loading = loadConfig({ ...NOTHING, env: { MIRRORD_CONFIG_FILE: '/nonexistent/mirrord.json' } });
  await expect(loading).rejects.toThrow('/nonexistent/mirrord.json: cannot read it: there is no such file');
});

test('a flag wins over a variable, a variable over the file, the file over the default', async () => {
  const text = '{"feature": {"fs": "write"}}';
  const env = { MIRRORD_FILE_MODE: 'local' };
  const flags = { MIRRORD_FILE_MODE: 'local-with-overrides' };
  expect((await loadText(text)).config.feature.fs.mode).toBe('write');
  expect((await loadText(text, { env })).config.feature.fs.mode).toBe('local');
  expect((await loadText(text, { env, flags })).config.feature.fs.mode).toBe('localwithoverrides');
});

test.each([
  [{ MIRRORD_FILE_OPS: 'true' }, 'write'],
  [{ MIRRORD_FILE_OPS: 'true', MIRRORD_FILE_RO_OPS: 'false' }, 'write'],
  [{ MIRRORD_FILE_OPS: 'false', MIRRORD_FILE_RO_OPS: 'true' }, 'read'],
  [{ MIRRORD_FILE_RO_OPS: 'false' }, 'local'],
  [{ MIRRORD_FILE_OPS: 'false' }, 'local'],
  [{ MIRRORD_FILE_MODE: 'read', MIRRORD_FILE_OPS: 'true' }, 'read'],
])('the old variables %j mean mode %s', async (env, mode) => {
  expect((await loadText('{}', { env })).config.feature.fs.mode).toBe(mode);
});

test.each([
  ['{"target": "pid/7"}', 'pid/7'],
  ['{"target": {"path": "container/web"}}', 'container/web'],
  ['{"target": {"container": "web"}}', 'container/web'],
  ['{"target": {"path": {"container": "web"}}}', 'container/web'],
  ['{"target": {"pid": 7}}', 'pid/7'],
])('the target %s is %s', async (text, path) => {
  expect((await loadText(text)).config.target.path).toBe(path);
});

test.each([
  ['{"pod": "a", "container": "b"}', 'pod/a/container/b'],
  ['{"cron_job": "a"}', 'cronjob/a'],
  ['{"stateful_set": "a", "namespace": null}', 'statefulset/a'],
  ['{"labels": {"app": "a", "tier": "b"}}', 'label/app=a,tier=b'],
])('the target %s names an object of a cluster', async (target, path) => {
  expect((await loadText(`{"target": ${target}}`)).config.target.path).toBe(path);
});

test.each([
  ['{"feature": {"fs": true}}', { mode: 'read' }],
  ['{"feature": {"fs": false}}', { mode: 'local' }],
  ['{"feature": {"fs": "write"}}', { mode: 'write' }],
  ['{"feature": {"fs": {"local": "^/a;b"}}}', { local: ['^/a;b'] }],
])('the short form %s', async (text, fs) => {
  expect((await loadText(text)).config.feature.fs).toMatchObject(fs);
});

test.each([
  ['{"feature": {"env": true}}', { include: null, exclude: null }],
  ['{"feature": {"env": false}}', { include: null, exclude: ['*'] }],
  ['{"feature": {"env": {"include": "A;B_*"}}}', { include: ['A', 'B_*'] }],
  ['{"feature": {"env": {"include": ["A", "B;C"]}}}', { include: ['A', 'B', 'C'] }],
  [
    '{"feature": {"env": {"override": {"A": 1, "B": true}}}}',
    {
      override: [
        ['A', '1'],
        ['B', 'true'],
      ],
    },
  ],
])('the short form %s', async (text, env) => {
  expect((await loadText(text)).config.feature.env).toMatchObject(env);
});

test('a variable that includes names counts also where the file turns the environment off', async () => {
  const env = { MIRRORD_OVERRIDE_ENV_VARS_INCLUDE: 'A;B' };
  const { config } = await loadText('{"feature": {"env": false}}', { env });
  expect(config.feature.env).toMatchObject({ include: ['A', 'B'], exclude: null });
});

test('lists in variables are separated by semicolons', async () => {
  const env = { MIRRORD_FILE_LOCAL_PATTERN: '^/a$; ^/b$;', MIRRORD_FILE_READ_ONLY_PATTERN: '' };
  const { fs } = (await loadText('{}', { env })).config.feature;
  expect(fs).toMatchObject({ local: ['^/a$', '^/b$'], read_only: [] });
});

test("the AWS identity is the target's unless it is turned off", async () => {
  const env = { HOME: '/home/u.x', TMPDIR: '/t$1/' };
  const { fs, env: environment } = (await loadText('{}', { env })).config.feature;
  expect(fs.mapping).toEqual([['^/home/u\\.x/\\.aws(/.*)?$', '/t$$1/.aws$1']]);
  expect(environment.unset).toEqual(['AWS_PROFILE']);
  const off = (await loadText('{"feature": {"magic": {"aws": false}}}', { env })).config.feature;
  expect(off.fs.mapping).toEqual([]);
  expect(off.env.unset).toEqual([]);
});

test('a session has the key of flag, variable or file, else one of five hexadecimal digits', async () => {
  const text = '{"key": "file"}';
  const env = { MIRRORD_KEY: 'variable' };
  expect((await loadText(text, { env, flags: { MIRRORD_KEY: 'flag' } })).config.key).toBe('flag');
  expect((await loadText(text, { env })).config.key).toBe('variable');
  expect(await loadText(text)).toMatchObject({ config: { key: 'file' }, warnings: [] });
  expect((await loadText('{}')).config.key).toMatch(/^[0-9a-f]{5}$/);
});

test('the configuration is frozen through and through', async () => {
  const { config } = await loadText('{"feature": {"fs": {"local": ["a"]}}}');
  expect(() => (config.feature.fs.local as string[]).push('b')).toThrow(TypeError);
});

test('it is known where every key was set', async () => {
  const { sources } = await loadText('{\n"feature": {\n"fs": "write"}}', {
    env: { MIRRORD_FILE_LOCAL_PATTERN: 'a' },
    flags: { MIRRORD_IMPERSONATED_TARGET: 'pid/1' },
  });
  expect(Object.fromEntries(sources)).toEqual({
    'feature.fs.mode': { kind: 'file', line: 3 },
    'feature.fs.local': { kind: 'variable', name: 'MIRRORD_FILE_LOCAL_PATTERN' },
    'target.path': { kind: 'flag', name: '--target' },
  });
});
