import { expect, test } from 'vitest';
import type { Config } from './config/schema/root.ts';
import { buildEnvironment, type Environment, EXCLUDED_BY_DEFAULT } from './environment.ts';

type Settings = Config['feature']['env'];

const DEFAULTS: Settings = {
  include: null,
  exclude: null,
  override: [],
  unset: [],
  env_file: null,
  mapping: [],
  load_from_process: false,
};
const REMOTE = { DB_HOST: 'db', DB_PORT: '1', APP: 'shop', PATH: '/target', JAVA_HOME: '/jdk', EMPTY: '' };
const LOCAL = { PATH: '/local', HOME: '/home/u', APP: 'local', EDITOR: 'vi' };

async function build(settings: Partial<Settings> = {}, file?: string): Promise<Environment> {
  const remote = Object.entries(REMOTE).map(([name, value]) => ({
    name: Buffer.from(name),
    value: Buffer.from(value),
  }));
  return buildEnvironment({
    remote,
    local: LOCAL,
    config: { ...DEFAULTS, env_file: file === undefined ? null : 'x.env', ...settings },
    readEnvFile: async () => file ?? '',
  });
}

test("the target's variables go over the local ones, but for those about the machine", async () => {
  const { env, fromTarget, warnings } = await build();
  expect(env).toEqual({
    PATH: '/local',
    HOME: '/home/u',
    EDITOR: 'vi',
    APP: 'shop',
    DB_HOST: 'db',
    DB_PORT: '1',
    EMPTY: '',
  });
  expect(fromTarget.sort()).toEqual(['APP', 'DB_HOST', 'DB_PORT', 'EMPTY']);
  expect(warnings).toEqual([]);
});

test.each<[string, Partial<Settings>, string[]]>([
  ['an include is for whole names', { include: ['DB_HOST', 'AP'] }, ['DB_HOST']],
  ['wildcards are * and ?', { include: ['DB_*', 'AP?'] }, ['APP', 'DB_HOST', 'DB_PORT']],
  ['upper and lower case differ', { include: ['db_*'] }, []],
  ['an exclude takes away', { exclude: ['DB_*', 'EMPTY'] }, ['APP']],
  ['an exclude of everything', { exclude: ['*'] }, []],
  ['an include by name brings back what is excluded by default', { include: ['PATH', 'APP'] }, ['APP', 'PATH']],
  ['an include by wildcard too', { include: ['JAVA_*'] }, ['JAVA_HOME']],
  ['the bare * does not', { include: ['*'] }, ['APP', 'DB_HOST', 'DB_PORT', 'EMPTY']],
  ['nothing is included by an empty list', { include: [] }, []],
  ['other signs stand for themselves', { include: ['DB.HOST', 'A+P', '(APP)', '[A]PP', '^APP$', 'AP\\P'] }, []],
])('%s', async (_name, settings, expected) => {
  expect((await build(settings)).fromTarget.sort()).toEqual(expected);
});

test('the order is target, file, mapping, override, unset', async () => {
  const { env, fromTarget } = await build(
    {
      mapping: [
        ['^DB_PORT$', 'mapped'],
        ['^DB_', 'later'],
        ['FROM_FILE', 'mapped too'],
        ['^EDITOR$', 'local ones are not mapped'],
      ],
      override: [
        ['DB_HOST', 'mine'],
        ['NEW', 'new'],
        ['GONE', 'x'],
      ],
      unset: ['gone', 'app', 'home'],
    },
    'APP=file\nFROM_FILE=1\nEMPTY=full\n',
  );
  expect(env).toEqual({
    PATH: '/local',
    EDITOR: 'vi',
    DB_HOST: 'mine',
    DB_PORT: 'mapped',
    EMPTY: 'full',
    FROM_FILE: 'mapped too',
    NEW: 'new',
  });
  expect(fromTarget).toEqual([]);
});

test('a mapping takes upper and lower case as different, unless it says otherwise', async () => {
  expect((await build({ mapping: [['^app$', 'x']] })).env['APP']).toBe('shop');
  expect((await build({ mapping: [['(?i)^app$', 'x']] })).env['APP']).toBe('x');
});

test('file and override also count where nothing comes from the target', async () => {
  const { env } = await build({ exclude: ['*'], override: [['A', '1']] }, 'B=2');
  expect(env).toEqual({ ...LOCAL, A: '1', B: '2' });
});

test('what is not UTF-8 is left out, the local one of that name too, and named without its value', async () => {
  const latin = Buffer.from('caf\xe9', 'latin1');
  const { env, warnings } = await buildEnvironment({
    remote: [
      { name: Buffer.from('APP'), value: latin },
      { name: latin, value: Buffer.from('x') },
      { name: Buffer.from('GOOD'), value: Buffer.from('é') },
    ],
    local: LOCAL,
    config: DEFAULTS,
  });
  expect(env).toEqual({ PATH: '/local', HOME: '/home/u', EDITOR: 'vi', GOOD: 'é' });
  expect(warnings).toHaveLength(2);
  expect(warnings[0]).toContain("the target's variable APP is left out: its value is not UTF-8");
});

test('odd entries of the target do no harm', async () => {
  const remote = ['', '__proto__', 'A', 'A'].map((name, index) => ({
    name: Buffer.from(name),
    value: Buffer.from(String(index)),
  }));
  const { env } = await buildEnvironment({ remote, local: {}, config: DEFAULTS });
  expect(Object.entries(env)).toEqual([
    ['__proto__', '1'],
    ['A', '3'],
  ]);
});

test('a file that cannot be read is told by its path and reason', async () => {
  const config = { ...DEFAULTS, env_file: 'none.env' };
  const readEnvFile = () => Promise.reject(Object.assign(new Error('no'), { code: 'ENOENT' }));
  await expect(buildEnvironment({ remote: [], local: {}, config, readEnvFile })).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: 'feature.env.env_file: none.env: there is no such file',
  });
});

test('a file with a fault is told by its line and without its content', async () => {
  const failed = build({}, 'A=1\nhunter2\n');
  await expect(failed).rejects.toThrow('feature.env.env_file: x.env, line 2: wants NAME=VALUE');
  await expect(failed).rejects.not.toThrow('hunter2');
});

test('the default exclusions are complete', () => {
  expect(EXCLUDED_BY_DEFAULT.size).toBe(22 + 2 + 7 + 10);
});

test('what the target loads into its own programs, and settings of a mirrord there, do not come along', async () => {
  const names = ['LD_PRELOAD', 'LD_AUDIT', 'MIRRORD_LAYER_FUSE', 'MIRRORD_AGENT_KEY_FILE', 'KEPT'];
  const remote = names.map((name) => ({ name: Buffer.from(name), value: Buffer.from('/x.so') }));
  const given = (include: string[] | null) =>
    buildEnvironment({ remote, local: { MIRRORD_LAYER_FUSE: 'off' }, config: { ...DEFAULTS, include } });
  expect((await given(null)).env).toEqual({ KEPT: '/x.so', MIRRORD_LAYER_FUSE: 'off' });
  expect((await given(['LD_*', 'MIRRORD_*'])).fromTarget).toEqual(['LD_PRELOAD', 'LD_AUDIT']);
});
