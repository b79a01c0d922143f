import { execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { faultsOf, loadText } from '../testing/load-text.ts';
import { render } from './template.ts';

const CONTEXT = { key: 'k1', env: { NAME: 'value', EMPTY: '', MIRRORD_BRANCH_NAME: 'Fix/One' }, cwd: '/' };

test.each([
  ['{{ get_env(name="NAME") }}', 'value'],
  ["{{ get_env(name='NONE', default='other') }}", 'other'],
  ['{{ get_env(name="EMPTY", default="other") }}', ''],
  ['{{ key }}-{{ git_branch | lower | replace(from="/", to="-") }}', 'k1-fix-one'],
  ["{{ unknown | default(value='x') }}", 'x'],
  ['{% if get_env(name="NAME") == "value" %}yes{% else %}no{% endif %}', 'yes'],
  ['{% if unknown is defined %}yes{% else %}no{% endif %}', 'no'],
  ['{% for n in range(end=3) %}{{ n }},{% endfor %}', '0,1,2,'],
  ['{% for n in range(start=1, end=6, step_by=2) %}{{ n }}{% endfor %}', '135'],
  ['{% set a = "b" %}{{ a ~ key | upper }}', 'bK1'],
  ['{# nothing #}a', 'a'],
  ['{{ "a,b" | split(pat=",") | join("+") }}', 'a+b'],
  ['{{ "abcdef" | truncate(length=3, end="") }}', 'abc'],
  ['{% raw %}{{ key }}{% endraw %}', '{{ key }}'],
  ['{{ "<&>" }}', '<&>'],
])('%s is rendered as %s', async (text, expected) => {
  expect(await render(text, CONTEXT)).toBe(expected);
});

test.each([
  ['a\n{{ unknown }}', 'line 2: a variable is not known'],
  ['{{ get_env(name="NONE") }}', 'the variable NONE is not set and get_env has no default'],
  ['{{ get_env() }}', 'get_env wants name='],
  ['{{ key', 'template: '],
  ['{% if %}', 'template: '],
  ['{{ key | nofilter }}', 'filter not found: nofilter'],
  ['{% include "/etc/passwd" %}', 'template: '],
  ['{% for n in range(end=100000000) %}{% endfor %}', 'range goes to at most 10000 numbers'],
])('%s is a fault', async (text, fault) => {
  await expect(render(text, CONTEXT)).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining(fault),
  });
});

test.each([
  '{{ get_env.constructor("return 1")() }}',
  '{{ range.constructor("return 1")() }}',
  '{{ key.constructor.constructor("return 1")() }}',
  '{{ ({}).constructor.constructor("return 1")() }}',
  '{{ [].map.constructor("return 1")() }}',
  '{{ cycler.prototype.constructor.constructor("return 1")() }}',
])('no template reaches code: %s', async (text) => {
  await expect(render(text, CONTEXT)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
});

test('the branch is the one checked out in the current folder', async () => {
  const cwd = await mkdtemp(join(tmpdir(), 'mirrord-branch-'));
  try {
    execFileSync('git', ['init', '-q', '-b', 'topic', cwd]);
    expect(await render('{{ git_branch }}', { key: null, env: process.env, cwd })).toBe('topic');
  } finally {
    await rm(cwd, { recursive: true });
  }
});

test('the key of a file is rendered first, and then known in the whole file', async () => {
  const text = "key: \"{{ git_branch | default(value='dev') }}-1\"\nfeature: {env: {override: {A: '{{ key }}'}}}\n";
  const { config } = await loadText(text, { ending: '.yaml', env: { MIRRORD_BRANCH_NAME: 'b' } });
  expect(config.key).toBe('b-1');
  expect(config.feature.env.override).toEqual([['A', 'b-1']]);
});

test('a key from outside is the one that templates see', async () => {
  const text = '{"key": "file", "feature": {"env": {"override": {"A": "{{ key }}"}}}}';
  const { config } = await loadText(text, { flags: { MIRRORD_KEY: 'flag' } });
  expect(config.feature.env.override).toEqual([['A', 'flag']]);
});

test('a file that cannot be parsed before it is rendered has a key that was made up, and says so', async () => {
  const text = '{"key": "k", "feature": {"env": {"override": {"A": "{{ key | default(value="x") }}"}}}}';
  const { config, warnings } = await loadText(text);
  expect(config.key).toBe('k');
  expect(config.feature.env.override[0]?.[1]).toMatch(/^[0-9a-f]{5}$/);
  expect(warnings.join()).toContain('key (line 1) could not be read before the templates');
});

test('a fault in a template names its line', async () => {
  expect(await faultsOf('{\n"key": "{{ nothing }}"}')).toEqual([expect.stringContaining('a variable is not known')]);
});
