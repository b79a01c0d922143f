// Builds the programs of the matrix into build/programs, each again only when its source or its command has changed.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const root = path.join(import.meta.dirname, '../..');
const source = (name: string) => path.join(import.meta.dirname, 'src', name);
/** The folder that holds every program, by the names of the recipes and of the scripts. */
export const COMPILED = path.join(root, 'build/programs');

interface Recipe {
  /** The result's name in build/programs. */
  name: string;
  from: string;
  command: string[];
  variables?: Record<string, string>;
}

const c = ['-O2', '-Wall', '-Wextra', '-Werror'];
const goVariables = { GO111MODULE: 'off', GOFLAGS: '', GOCACHE: path.join(root, 'build/go') };
const out = (name: string) => path.join(COMPILED, name);

const recipes: Recipe[] = [
  { name: 'c-dynamic', from: 'questions.c', command: ['cc', ...c] },
  { name: 'c-static-glibc', from: 'questions.c', command: ['cc', ...c, '-static'] },
  { name: 'c-static-musl', from: 'questions.c', command: ['musl-gcc', ...c, '-static'] },
  { name: 'go-cgo', from: 'questions.go', command: ['go', 'build'], variables: { ...goVariables, CGO_ENABLED: '1' } },
  {
    name: 'go-static',
    from: 'questions.go',
    command: ['go', 'build'],
    variables: { ...goVariables, CGO_ENABLED: '0' },
  },
  { name: 'rust', from: 'questions.rs', command: ['rustc', '-O'] },
  { name: 'map', from: 'map.c', command: ['cc', ...c] },
  { name: 'load', from: 'load.c', command: ['cc', ...c] },
  { name: 'list', from: 'list.c', command: ['cc', ...c] },
  { name: 'append', from: 'append.c', command: ['cc', ...c] },
  {
    name: 'differential',
    from: 'differential.c',
    command: ['cc', ...c, '-pthread', source('differential_worker.c'), source('differential_acts.c')],
  },
  { name: 'forks', from: 'forks.c', command: ['cc', ...c] },
  { name: 'libanswer.so.1', from: 'answer.c', command: ['cc', ...c, '-shared', '-fPIC'] },
];

const interpreted = [
  'questions.mjs',
  'questions.py',
  'questions.rb',
  'questions.pl',
  'questions.php',
  'questions.sh',
  'moved.py',
];

function isFresh(name: string, key: string): boolean {
  return existsSync(out(name)) && existsSync(`${out(name)}.key`) && readFileSync(`${out(name)}.key`, 'utf8') === key;
}

function make(name: string, from: string, command: string[], variables: Record<string, string> = {}): void {
  const key = createHash('sha256')
    .update(readFileSync(source(from)))
    .update(JSON.stringify([command, variables]))
    .digest('hex');
  if (isFresh(name, key)) return;
  const [file = '', ...rest] = command;
  execFileSync(file, rest, { env: { ...process.env, ...variables }, stdio: ['ignore', 'inherit', 'inherit'] });
  writeFileSync(`${out(name)}.key`, key);
}

/** Not while somebody uses them (setup.ts). */
export function compilePrograms(): void {
  mkdirSync(COMPILED, { recursive: true });
  for (const { name, from, command, variables } of recipes) {
    make(name, from, [...command, '-o', out(name), source(from)], variables);
  }
  make('Questions.class', 'Questions.java', ['javac', '-d', COMPILED, source('Questions.java')]);
  for (const name of interpreted) cpSync(source(name), out(name));
}
