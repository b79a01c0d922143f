// The programs of the matrix and what each must print: real programs, unmodified, in every language people deploy.

import { execFileSync } from 'node:child_process';
import { cpSync } from 'node:fs';
import path from 'node:path';
import { answers, manyListing, mappedSum, VARIABLES } from '../fixtures/target-files.ts';

export interface Places {
  /** Of the compiled programs. */
  programs: string;
  /** The target's FOLDER as the program names it. */
  folder: string;
  /** A local folder of the run's own, writable, the working directory. */
  work: string;
}

export interface Program {
  name: string;
  command(places: Places): string[];
  /** Of standard output; absent where the result of the same command on the target's own folder is the measure. */
  prints?: string;
  /** `--fs-mode write`. */
  writes?: true;
  /** It cannot be served from copies: without FUSE it must be refused, cleanly, with this in its own words. */
  withoutFuse?: RegExp;
}

const questions = answers(VARIABLES);
const asks = (name: string, command: (program: (file: string) => string) => string[]): Program => ({
  name,
  command: ({ programs, folder }) => [...command((file) => path.join(programs, file)), path.join(folder, 'questions')],
  prints: questions,
});

const shell = (script: string) => (places: Places) => ['sh', '-c', script, 'sh', places.folder, places.programs];

export const languages: Program[] = [
  asks('C, dynamic', (at) => [at('c-dynamic')]),
  asks('C, static with glibc', (at) => [at('c-static-glibc')]),
  asks('C, static with musl', (at) => [at('c-static-musl')]),
  asks('Node', (at) => ['node', at('questions.mjs')]),
  asks('Python', (at) => ['python3', at('questions.py')]),
  asks('Ruby', (at) => ['ruby', at('questions.rb')]),
  asks('Perl', (at) => ['perl', at('questions.pl')]),
  asks('PHP', (at) => ['php', at('questions.php')]),
  asks('Java', (at) => ['java', '-Xshare:auto', '-cp', at('.'), 'Questions']),
  asks('Go with cgo', (at) => [at('go-cgo')]),
  asks('Go, pure static', (at) => [at('go-static')]),
  asks('Rust', (at) => [at('rust')]),
  asks('bash with coreutils', (at) => ['bash', at('questions.sh')]),
];

export const tools: Program[] = [
  {
    name: 'find walks a tree',
    command: shell('find "$1/tree" -type f -printf "%P %s %m\\n" | LC_ALL=C sort'),
  },
  {
    // The owner is left out: FUSE in a user namespace can show nobody's descriptors no other owner than nobody.
    name: 'tar packs a tree, byte for byte as on the target',
    command: shell('tar -C "$1" --sort=name --owner=x:0 --group=x:0 -cf - tree | sha256sum'),
  },
  {
    name: 'cp copies a tree here with its times and modes',
    command: shell(
      'cp -r --preserve=mode,timestamps "$1/tree" copy && find copy -type f -printf "%P %s %m %T@\\n" | LC_ALL=C sort && cat copy/deep/deeper/three.txt | sha256sum',
    ),
  },
  {
    name: 'git status in a local folder',
    command: shell(
      'git init -q . && echo one >one && git -c user.name=n -c user.email=e add one && git -c user.name=n -c user.email=e commit -q -m one && echo two >>one && git status --porcelain',
    ),
    prints: ' M one\n',
  },
  {
    name: 'sqlite3 reads a database',
    command: shell('sqlite3 -readonly "$1/shop.db" "select sum(price), count(*) from goods"'),
    prints: '10000|5000\n',
  },
  {
    name: 'sqlite3 changes a database',
    command: shell(
      'cp "$1/shop.db" "$1/written/$$.db" && sqlite3 "$1/written/$$.db" "update goods set price = 3; select sum(price) from goods"',
    ),
    prints: '15000\n',
    writes: true,
    withoutFuse: /read-only|readonly|replaced while being copied/i,
  },
  {
    name: 'a file is mapped',
    command: ({ programs, folder }) => [path.join(programs, 'map'), path.join(folder, 'mapped.bin')],
    prints: `${mappedSum()}\n`,
  },
  {
    name: 'a library is loaded with dlopen',
    command: ({ programs, folder }) => [path.join(programs, 'load'), path.join(folder, 'libanswer.so.1')],
    prints: '42\n',
  },
  {
    name: 'a folder of 20,000 entries is listed with every stat',
    command: ({ programs, folder }) => [path.join(programs, 'list'), path.join(folder, 'many')],
    prints: `${manyListing()}\n`,
  },
  {
    name: '1 GiB is read and hashed',
    command: shell('b2sum <"$1/large.bin"'),
    withoutFuse: /too large|too big/i,
  },
  {
    name: 'two processes append to one file',
    command: shell(
      '"$2/append" "$1/written/$$" 200 && LC_ALL=C sort -u "$1/written/$$" | grep -Ec "^writer [01] line [0-9]{5}$"',
    ),
    prints: '400\n',
    writes: true,
    withoutFuse: /read-only/i,
  },
  {
    name: 'folders are moved while they are open, and while they are the working directory',
    command: ({ programs, folder }) => ['python3', path.join(programs, 'moved.py'), path.join(folder, 'written')],
    prints: [
      "['by-outer', 'in'] ['by-inner'] ['by-like'] False",
      "['by-outer', 'by-working-directory', 'in'] ['by-outer', 'by-working-directory', 'in'] c",
      "[] ['again', 'by-outer', 'by-working-directory', 'in']",
      'False\n',
    ].join('\n'),
    writes: true,
    withoutFuse: /Permission denied: .*\/b'/,
  },
  {
    name: '100 children read at once',
    command: ({ programs, folder }) => [path.join(programs, 'forks'), path.join(folder, 'questions/hello.txt')],
    prints: '100\n',
  },
];

/** What compilePrograms and the matrix call. */
export const TOOLCHAINS = [
  'cc',
  'musl-gcc',
  'go',
  'rustc',
  'javac',
  'java',
  'python3',
  'ruby',
  'perl',
  'php',
  'git',
  'sqlite3',
];

/** The target's files that have to be built: a database of 5,000 rows, a library. */
export function addBuiltFiles(folder: string, programs: string): void {
  cpSync(path.join(programs, 'libanswer.so.1'), path.join(folder, 'libanswer.so.1'));
  execFileSync('sqlite3', [path.join(folder, 'shop.db')], {
    input:
      'create table goods (name text, price integer);' +
      'with recursive n(i) as (select 1 union all select i + 1 from n where i < 5000)' +
      " insert into goods select printf('article %08d', i), 2 from n;",
  });
}
