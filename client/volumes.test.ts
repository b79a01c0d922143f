import { expect, test } from 'vitest';
import { FileRules } from './file-rules.ts';
import { loadText } from './testing/load-text.ts';
import { withVolumes } from './volumes.ts';

const MOUNTS = [
  { path: '/data', isAlone: false },
  { path: '/kept', isAlone: false },
  { path: '/tmp', isAlone: false },
];
const HERE = { home: '/home/me', cwd: '/home/me/app', tmp: '/tmp', executable: '/usr/bin/node' };

async function placesOf(feature: object): Promise<string[]> {
  const { config } = await loadText(JSON.stringify({ feature }));
  const told: string[] = [];
  const { feature: changed } = withVolumes(config, MOUNTS, HERE, { info: (text) => told.push(text) });
  expect(told.length > 0).toBe(changed.fs.read_only.length > 0);
  const rules = FileRules.compile(changed.fs, HERE);
  return ['/data/a', '/kept/a', '/tmp/a', '/other/a'].map((path) => rules.decide(path, false).where);
}

test('with local files and overrides, volumes are read in the target, unless they are named or needed here', async () => {
  expect(await placesOf({ fs: { mode: 'localwithoverrides', local: '^/KEPT' } })).toEqual([
    'remote',
    'local',
    'local',
    'local',
  ]);
});

test('auto_mount can be switched off, and other modes are as they were', async () => {
  expect(await placesOf({ fs: 'localwithoverrides', magic: { auto_mount: false } })).toEqual(Array(4).fill('local'));
  expect(await placesOf({ fs: 'local' })).toEqual(Array(4).fill('local'));
  expect(await placesOf({ fs: 'read' })).toEqual(['remote', 'remote', 'local', 'remote']);
});
