import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ERRNO } from '../../proto/errno.ts';
import { can, canRun } from '../can.ts';
import { startTarget } from '../fixtures/target.ts';
import { Files, startFsEnv } from './fs-env-harness.ts';
import { askFiles, type Call, Oracle } from './fs-env-oracle.ts';

const O_CREAT = 0o100;
const O_EXCL = 0o200;
const O_TRUNC = 0o1000;
const O_DIRECTORY = 0o200000;
const O_NOFOLLOW = 0o400000;
const O_TMPFILE = 0o20200000;
const AT_SYMLINK_FOLLOW = 0x400;
const SECRET = 'of the machine, not of the target';

/** A tree with everything a path may meet. */
function buildTree(root: string): void {
  for (const folder of ['dir/sub', 'empty', 'full/x', 'top/a/b'])
    mkdirSync(path.join(root, folder), { recursive: true });
  for (const file of ['file', 'dir/file', 'dir/sub/file', 'full/x/y'])
    writeFileSync(path.join(root, file), `content of ${file}`);
  const links: Record<string, string> = {
    absolute: '/dir/file',
    'absolute-dir': '/dir',
    'absolute-up': '/../../../dir/file',
    relative: 'dir/file',
    up: '../../../../../../dir/file',
    'dir/up': '../file',
    'top/a/b/up': '../../../dir',
    dangling: '/nowhere/at/all',
    'dangling-here': 'nothing',
    self: 'self',
    ping: '/pong',
    pong: '/ping',
    'to-link': 'absolute',
    host: '/etc/passwd',
    dot: '.',
    'dir/root': '/',
  };
  for (const [name, content] of Object.entries(links)) symlinkSync(content, path.join(root, name));
  for (let depth = 0; depth < 42; depth += 1) {
    symlinkSync(depth === 0 ? 'file' : `chain-${depth - 1}`, path.join(root, `chain-${depth}`));
  }
  execFileSync('mkfifo', [path.join(root, 'fifo')]);
}

const NAMES = ['file', 'dir', 'dir/file', 'empty', 'full', 'absolute', 'absolute-dir', 'absolute-up', 'relative', 'up'];
NAMES.push('dir/up', 'top/a/b/up/file', 'top/a/b/up', 'dangling', 'dangling-here', 'self', 'ping', 'to-link', 'host');
NAMES.push('dot', 'dot/dot/file', 'dir/root/file', 'chain-39', 'chain-40', 'chain-41', 'fifo', 'none', 'none/below');
NAMES.push(
  'file/below',
  'dir/..',
  'dir/.',
  '.',
  '..',
  '../..',
  '',
  'x'.repeat(255),
  'x'.repeat(256),
  'a/'.repeat(2_047),
);
NAMES.push('dir/../file', '../../file', 'absolute-dir/../file', '/', 'dir//file', 'b\xffytes', 'a/'.repeat(2_048));

const PATHS = NAMES.flatMap((name) => [`/${name}`, `/${name}/`]);

function callsOf(at: string): Call[] {
  return [
    ['stat', at],
    ['lstat', at],
    ['readlink', at],
    ['access', at, 0],
    ['access', at, 2],
    ['open', at, 0, 0],
    ['open', at, 2, 0],
    ['open', at, O_DIRECTORY, 0],
    ['open', at, O_NOFOLLOW, 0],
    ['open', at, O_NOFOLLOW | O_DIRECTORY, 0],
    ['open', at, O_TMPFILE | 2, 0o600],
  ];
}

function changesOf(at: string): Call[] {
  return [
    ['mkdir', at, 0o750],
    ['rmdir', at],
    ['open', at, O_CREAT | 1, 0o640],
    ['open', at, O_CREAT | O_EXCL | 1, 0o640],
    ['open', at, O_CREAT | O_TRUNC | 1, 0o640],
    ['truncate', at, 3],
    ['chmod', at, 0o604],
    ['symlink', '/dir/file', at],
    ['link', '/file', at, 0],
    ['link', at, '/linked', 0],
    ['link', at, '/linked-through', AT_SYMLINK_FOLLOW],
    ['rename', '/file', at, 0],
    ['rename', at, '/moved', 1],
    ['rename', at, '/moved', 0],
    ['unlink', at],
  ];
}

const REQUIRED = { yes: can.root.yes && canRun('python3').yes, why: can.root.why || canRun('python3').why };

/** Names, kinds, modes, links and contents below a folder; not inodes, which differ between twins. */
function listing(root: string): string {
  return execFileSync('find', ['.', '-xdev', '-printf', '%P %y %m %n %s %l\\n'], { cwd: root, encoding: 'latin1' })
    .split('\n')
    .filter((line) => !/^(proc|dev)\b/.test(line))
    .map((line) => (/ d \d+ \d+ \d+ $/.test(line) ? line.replace(/ \d+ $/, '') : line))
    .sort()
    .join('\n');
}

describe.skipIf(!REQUIRED.yes)(`paths of a target (${REQUIRED.why})`, () => {
  test('looking at any path says what the kernel says inside the target', async () => {
    await using target = await startTarget();
    buildTree(target.root);
    await using server = await startFsEnv();
    using files = await Files.open(server, { pid: target.pid });
    await using oracle = new Oracle(target.pid);
    const differences: unknown[] = [];
    for (const call of PATHS.flatMap(callsOf)) {
      const [ours, theirs] = [await askFiles(files, call), await oracle.ask(call)];
      // Every O_TMPFILE is a file of its own.
      if (call[0] === 'open' && call[2] === (O_TMPFILE | 2) && ours.errno === 0 && theirs.errno === 0) continue;
      if (JSON.stringify(ours) !== JSON.stringify(theirs)) differences.push({ call, ours, theirs });
    }
    expect(differences).toEqual([]);
  });

  test('changing anything at any path does what the kernel does inside the target', async () => {
    await using ours = await startTarget();
    await using theirs = await startTarget();
    for (const { root } of [ours, theirs]) buildTree(root);
    await using server = await startFsEnv();
    using files = await Files.open(server, { pid: ours.pid });
    await using oracle = new Oracle(theirs.pid);
    const differences: unknown[] = [];
    for (const call of PATHS.flatMap(changesOf)) {
      const [said, expected] = [await askFiles(files, call), await oracle.ask(call)];
      if (said.errno !== expected.errno) differences.push({ call, said, expected });
    }
    expect(differences).toEqual([]);
    expect(listing(ours.root)).toBe(listing(theirs.root));
  });

  test('random trees and random calls end as they do inside the target', async () => {
    await using ours = await startTarget({ files: { '/w/.keep': '' } });
    await using theirs = await startTarget({ files: { '/w/.keep': '' } });
    await using server = await startFsEnv();
    using files = await Files.open(server, { pid: ours.pid });
    await using oracle = new Oracle(theirs.pid);
    const run = async (calls: readonly Call[]): Promise<void> => {
      for (const call of calls) {
        const [said, expected] = [await askFiles(files, call), await oracle.ask(call)];
        expect({ call, errno: said.errno }).toEqual({ call, errno: expected.errno });
      }
      expect(listing(`${ours.root}/w`)).toBe(listing(`${theirs.root}/w`));
    };
    const corpus = path.join(import.meta.dirname, '../corpus/paths');
    for (const name of readdirSync(corpus)) await run(JSON.parse(readFileSync(path.join(corpus, name), 'utf8')));
    await fc.assert(fc.asyncProperty(fc.array(randomCall, { minLength: 5, maxLength: 40 }), run), {
      numRuns: 60,
      interruptAfterTimeLimit: 15_000,
    });
  }, 60_000);

  test('no link, `..` or magic link leaves the root', async () => {
    const outside = path.join('/tmp', `mirrord-outside-${process.pid}`);
    writeFileSync(outside, SECRET);
    try {
      await using target = await startTarget({ files: { '/etc/passwd': 'of the target' } });
      buildTree(target.root);
      symlinkSync(outside, `${target.root}/to-outside`);
      symlinkSync(`/proc/1/root${outside}`, `${target.root}/magic-root`);
      symlinkSync(`/proc/self/root${outside}`, `${target.root}/self-root`);
      symlinkSync('/proc/self/fd/0', `${target.root}/magic-fd`);
      symlinkSync('/proc/1/cwd', `${target.root}/magic-cwd`);
      await using server = await startFsEnv();
      using files = await Files.open(server, { pid: target.pid });
      const open = (at: string) => files.open(at, 0, 0, 65_536);
      expect((await open('/host')).data.toString()).toBe('of the target');
      expect((await open('/../../../etc/passwd')).data.toString()).toBe('of the target');
      expect((await open('/to-outside')).errno).toBe(ERRNO.ENOENT);
      expect((await open(outside)).errno).toBe(ERRNO.ENOENT);
      for (const at of ['/magic-root', '/proc/1/root/etc/passwd', '/proc/1/cwd', '/magic-cwd', '/proc/1/exe']) {
        expect([at, (await open(at)).errno]).toEqual([at, ERRNO.ELOOP]);
      }
      // Our process is not in the target's PID namespace, so there is no `self` in its /proc.
      for (const at of ['/self-root', '/magic-fd', '/proc/self/fd/0', '/proc/thread-self/root']) {
        expect([ERRNO.ENOENT, ERRNO.ELOOP]).toContain((await open(at)).errno);
      }
    } finally {
      execFileSync('rm', ['-f', outside]);
    }
  });

  test('a folder swapped for a link while it is walked never leads out', async () => {
    const outside = path.join('/tmp', `mirrord-race-${process.pid}`);
    mkdirSync(outside);
    writeFileSync(`${outside}/file`, SECRET);
    try {
      await using target = await startTarget({ files: { '/w/real/file': 'inside', '/w/deep/a/b/file': 'inside' } });
      symlinkSync(outside, `${target.root}/w/hostile`);
      symlinkSync(`..${'/..'.repeat(20)}${outside}`, `${target.root}/w/hostile-up`);
      await using server = await startFsEnv();
      using files = await Files.open(server, { pid: target.pid });
      const w = `${target.root}/w`;
      const seen = new Map<string, number>();
      const count = (what: string) => seen.set(what, (seen.get(what) ?? 0) + 1);
      const endMs = performance.now() + 3_000;
      const swap = (): void => {
        const hostile = Math.random() < 0.5 ? 'hostile' : 'hostile-up';
        renameSync(`${w}/real`, `${w}/aside`);
        renameSync(`${w}/${hostile}`, `${w}/real`);
        renameSync(`${w}/deep/a`, `${w}/away`);
        renameSync(`${w}/away`, `${w}/deep/a`);
        renameSync(`${w}/real`, `${w}/${hostile}`);
        renameSync(`${w}/aside`, `${w}/real`);
      };
      const ask = async (at: string): Promise<void> => {
        while (performance.now() < endMs) {
          const { errno, data } = await files.open(at, 0, 0, 1_000);
          count(errno === 0 ? data.toString() : `errno ${errno}`);
          const { reply } = await files.ask({
            $case: 'makeDir',
            value: { path: Buffer.from('/w/real/made'), mode: 0o700 },
          });
          if (reply.errno === 0) count('made');
          await files.ask({ $case: 'removeDir', value: { path: Buffer.from('/w/real/made') } });
        }
      };
      const asking = Promise.all(['/w/real/file', '/w/real/../real/file', '/w/deep/a/b/../../../real/file'].map(ask));
      while (performance.now() < endMs) {
        for (let round = 0; round < 20; round += 1) swap();
        await new Promise((resolve) => setImmediate(resolve));
      }
      await asking;
      expect(seen.get('inside')).toBeGreaterThan(0);
      expect([...seen.keys()]).not.toContain(SECRET);
      expect(readdirSync(outside)).toEqual(['file']);
    } finally {
      execFileSync('rm', ['-rf', outside]);
    }
  });
});

const word = fc.constantFrom('a', 'b', 'c', 'd');
const step = fc.oneof({ weight: 6, arbitrary: word }, fc.constantFrom('.', '..', ''));
const steps = fc.array(step, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
const somewhere = fc.tuple(steps, fc.constantFrom('', '', '', '/')).map(([middle, end]) => `/w/${middle}${end}`);
/** Above /w they would meet what belongs to the target itself. */
const stayed = somewhere.filter((at) => path.posix.normalize(at).startsWith('/w/'));
const content = fc.oneof(
  stayed,
  steps.map((at) => at || '.'),
);

const randomCall: fc.Arbitrary<Call> = fc.oneof(
  fc.tuple(fc.constant('mkdir' as const), stayed, fc.constantFrom(0o755, 0o700)),
  fc.tuple(fc.constant('symlink' as const), content, stayed),
  fc.tuple(
    fc.constant('open' as const),
    stayed,
    fc.constantFrom(0, O_CREAT | 1, O_CREAT | O_EXCL | 2),
    fc.constant(0o644),
  ),
  fc.tuple(fc.constantFrom('stat' as const, 'lstat' as const, 'readlink' as const), stayed),
  fc.tuple(fc.constantFrom('rmdir' as const, 'unlink' as const), stayed),
  fc.tuple(fc.constant('rename' as const), stayed, stayed, fc.constantFrom(0, 1, 2)),
  fc.tuple(fc.constant('link' as const), stayed, stayed, fc.constantFrom(0, AT_SYMLINK_FOLLOW)),
  fc.tuple(fc.constant('truncate' as const), stayed, fc.constant(7)),
);
