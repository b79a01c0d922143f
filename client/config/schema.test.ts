import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { loadText } from '../testing/load-text.ts';
import { documentation } from './documentation.ts';
import { jsonSchema } from './json-schema.ts';
import type { Key, Keys, Section } from './schema/dsl.ts';
import { root } from './schema/root.ts';

function keysOf(node: Section<Keys>, path = ''): [string, Key<unknown>][] {
  return Object.entries(node.keys).flatMap(([name, child]): [string, Key<unknown>][] =>
    child.node === 'section' ? keysOf(child, `${path}${name}.`) : [[path + name, child]],
  );
}

test('the JSON schema in the repository is the one that the schema makes (scripts/export-config.mjs)', () => {
  const file = readFileSync(new URL('mirrord-schema.json', import.meta.url), 'utf8');
  expect(JSON.parse(file)).toEqual(JSON.parse(JSON.stringify(jsonSchema())));
});

test('docs/configuration.md is the one that the schema makes (scripts/export-config.mjs)', () => {
  const file = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8');
  expect(file).toBe(documentation());
});

test('no variable means two keys', () => {
  const names = keysOf(root).flatMap(([, key]) => [
    ...new Set(key.env.map((one) => (typeof one === 'string' ? one : one.name))),
  ]);
  expect(new Set(names).size).toBe(names.length);
});

test('every key accepts its own default, written out', async () => {
  const whole: Record<string, unknown> = {};
  for (const [path, key] of keysOf(root)) {
    const isMap = key.type.name === 'a map of texts' && key.default !== null;
    place(whole, path.split('.'), isMap ? {} : key.default);
  }
  const { config } = await loadText(JSON.stringify(whole));
  const without = await loadText('{}');
  expect({ ...config, key: null }).toEqual({ ...without.config, key: null });
});

function place(map: Record<string, unknown>, path: string[], value: unknown): void {
  const [name = '', ...rest] = path;
  if (rest.length === 0) map[name] = value;
  else {
    map[name] ??= {};
    place(map[name] as Record<string, unknown>, rest, value);
  }
}
