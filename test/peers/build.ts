// Builds what a test runs that is not run from its source, into build/peers: each again only when its source or its command
// has changed.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { source } from './stage.ts';

const root = path.join(import.meta.dirname, '../..');
const folder = path.join(root, 'build/peers');
/** For packages that are CommonJS. */
const REQUIRE = "import{createRequire as makeRequire}from'node:module';const require=makeRequire(import.meta.url);";
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

/** With the packages that it imports, in one file. */
export function buildNode(name: string): string {
  const packages = createHash('sha256')
    .update(readFileSync(path.join(root, 'package-lock.json')))
    .digest('hex');
  const words = [
    '--bundle',
    '--platform=node',
    '--format=esm',
    '--target=node20',
    '--log-level=error',
    `--banner:js=${REQUIRE}`,
  ];
  return build(name, (out) => ['node_modules/.bin/esbuild', ...words, `--outfile=${out}`], {}, packages, '.mjs');
}

/** Into a folder of its own, which becomes the class path. */
export const buildJava = (name: string) => build(name, (out) => ['javac', '-d', out]);

/** Whoever builds the same at the same time puts the same in its place. */
function build(
  name: string,
  command: (out: string) => string[],
  variables: Record<string, string> = {},
  alsoOf = '',
  ending = '',
): string {
  const key = createHash('sha256')
    .update(readFileSync(source(name)))
    .update(JSON.stringify([command(''), variables, alsoOf]))
    .digest('hex')
    .slice(0, 16);
  const place = path.join(folder, `${name}-${key}${ending}`);
  if (existsSync(place)) return place;
  mkdirSync(folder, { recursive: true });
  const own = path.join(folder, `${process.pid}-${path.basename(place)}`);
  const [file = '', ...words] = command(own);
  execFileSync(file, [...words, source(name)], {
    cwd: root,
    env: { ...process.env, ...variables },
    stdio: 'inherit',
  });
  // A folder that is there already is as good.
  if (existsSync(place)) rmSync(own, { recursive: true });
  else renameSync(own, place);
  return place;
}
