// Builds what a test runs that is not run from its source, into build/peers: each again only when its source or its command
// has changed.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { source } from './stage.ts';

const root = path.join(import.meta.dirname, '../..');
const folder = path.join(root, 'build/peers');
const strict = ['-O2', '-Wall', '-Wextra', '-Werror'];

/** Pure Go: no libc, and Go's own resolver. */
export const buildGo = (name: string) =>
  build(name, (out) => ['go', 'build', '-o', out], {
    CGO_ENABLED: '0',
    GO111MODULE: 'off',
    GOFLAGS: '',
    GOCACHE: path.join(root, 'build/go'),
  });

export const buildMusl = (name: string) => build(name, (out) => ['musl-gcc', ...strict, '-static', '-o', out]);

export const buildLibrary = (name: string) => build(name, (out) => ['cc', ...strict, '-shared', '-fPIC', '-o', out]);

/** Into a folder of its own, which becomes the class path. */
export const buildJava = (name: string) => build(name, (out) => ['javac', '-d', out]);

/** Whoever builds the same at the same time puts the same in its place. */
function build(name: string, command: (out: string) => string[], variables: Record<string, string> = {}): string {
  const key = createHash('sha256')
    .update(readFileSync(source(name)))
    .update(JSON.stringify([command(''), variables]))
    .digest('hex')
    .slice(0, 16);
  const place = path.join(folder, `${name}-${key}`);
  if (existsSync(place)) return place;
  mkdirSync(folder, { recursive: true });
  const own = `${place}.${process.pid}`;
  const [file = '', ...words] = command(own);
  execFileSync(file, [...words, source(name)], { env: { ...process.env, ...variables }, stdio: 'inherit' });
  // A folder that is there already is as good.
  if (existsSync(place)) rmSync(own, { recursive: true });
  else renameSync(own, place);
  return place;
}
