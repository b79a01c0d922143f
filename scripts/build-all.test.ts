// What tests run is what the sources say: a native part is made anew when any file of its folder has changed, and has been made
// by now (scripts/built.mjs).

import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';

const root = path.join(import.meta.dirname, '..');
const folders = [
  'layer',
  'proto/sockets/native',
  ...readdirSync(path.join(root, 'services'))
    .map((name) => `services/${name}/native`)
    .filter((name) => readdirSync(path.join(root, path.dirname(name))).includes('native')),
];

/** Whether `make` would do nothing, as if these files had just changed. */
function isFresh(folder: string, changed: readonly string[] = []): boolean {
  const { status, stderr } = spawnSync('make', ['-q', '-C', folder, ...changed.flatMap((file) => ['-W', file])], {
    cwd: root,
    encoding: 'utf8',
  });
  if (status !== 0 && status !== 1) throw new Error(`make -q in ${folder}: ${stderr}`);
  return status === 0;
}

test.each(folders)('%s is built, and is built again when a source or a header of it changes', (folder) => {
  expect(isFresh(folder)).toBe(true);
  const names = readdirSync(path.join(root, folder));
  const oneOfEach = [/\.cc?$/, /\.h$/].map((kind) => names.find((name) => kind.test(name)) ?? '');
  expect(oneOfEach.filter((name) => isFresh(folder, [name]))).toEqual([]);
});

test('`npm run build` and every suite that runs what is compiled build it first', () => {
  const { scripts } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
  expect(scripts.build).toBe('bash scripts/build-all');
  const config = readFileSync(path.join(root, 'vitest.config.ts'), 'utf8');
  expect(config.match(/\.\.\.common/g)).toHaveLength(2);
});
