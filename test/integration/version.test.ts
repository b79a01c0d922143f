import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';

const checkout = path.join(import.meta.dirname, '../..');
const mirrord = path.join(checkout, 'bin/mirrord');

test('the version is that of the package', () => {
  const { version } = JSON.parse(readFileSync(path.join(checkout, 'package.json'), 'utf8'));
  expect(spawnSync(mirrord, ['--version'], { encoding: 'utf8' }).stdout).toBe(`mirrord ${version}\n`);
});

// What it costs is `startup` in bench/; here, that nothing is read for it that only other commands need.
test('the version is told without opening anything of ours but the command and package.json', () => {
  const words = ['-f', '-qq', '-e', 'trace=open,openat', mirrord, '--version'];
  const { stdout, stderr } = spawnSync('strace', words, { encoding: 'utf8' });
  expect(stdout).toMatch(/^mirrord /);
  const opened = [...stderr.matchAll(/open(?:at)?\(.*?"([^"]+)".*= \d+$/gm)].map(([, file]) => file as string);
  const ours = opened.filter((file) => file.startsWith(checkout)).map((file) => path.relative(checkout, file));
  expect([...new Set(ours)].sort()).toEqual(['bin/mirrord', 'bin/package.json', 'package.json']);
});

test('a checkout that is not built says so, and what builds it', () => {
  const fresh = mkdtempSync(path.join(tmpdir(), 'mirrord-fresh-'));
  try {
    for (const name of ['bin', 'package.json'])
      cpSync(path.join(checkout, name), path.join(fresh, name), { recursive: true });
    const { status, stderr } = spawnSync(path.join(fresh, 'bin/mirrord'), ['exec', '--', 'true'], { encoding: 'utf8' });
    expect({ status, stderr }).toEqual({
      status: 2,
      stderr: `mirrord: ${fresh} is not built: \`npm run setup\` there does it\n`,
    });
  } finally {
    rmSync(fresh, { recursive: true });
  }
});
