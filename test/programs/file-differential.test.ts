// The target's kernel against what the local process sees of it: one program does the same random operations on a folder
// of the target under mirrord and, natively, on an equal one, and every answer must be the same. Seeds are named in the
// failure; MIRRORD_DIFFERENTIAL_SEEDS=500 runs that many.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { run } from '../fixtures/run.ts';
import { SYSTEM_PATH, Whole } from '../fixtures/whole.ts';
import { COMPILED } from './compile.ts';

const program = path.join(COMPILED, 'differential');
const SEEDS = Number(process.env['MIRRORD_DIFFERENTIAL_SEEDS'] ?? 6);
const OPERATIONS = '400';
const PROCESSES = '2';
const THREADS = '2';

describe.skipIf(!can.root.yes)(`files under mirrord and natively (${can.root.why})`, () => {
  let whole: Whole;

  beforeAll(async () => {
    whole = await Whole.start({ variables: {} });
  });
  afterAll(() => whole.close());

  const inTarget = (name: string) => path.join(whole.target.root, name);
  const write = (command: readonly string[]) => whole.exec(command, { flags: ['--fs-mode', 'write'] });

  test.each(Array.from({ length: SEEDS }, (_, i) => i + 1))(
    'every operation of seed %i says the same',
    async (seed) => {
      const numbers = [String(seed), OPERATIONS, PROCESSES, THREADS];
      const [remote, native] = [`/srv/remote-${seed}`, `/srv/native-${seed}`];
      for (const name of [remote, native]) mkdirSync(inTarget(name), { recursive: true });
      const expected = await run([program, inTarget(native), ...numbers], {
        folder: whole.base,
        variables: { PATH: SYSTEM_PATH },
      });
      const outcome = await write([program, remote, ...numbers]);
      expect(outcome).toMatchObject({ code: 0, stderr: '' });
      expect(firstDifferences(outcome.stdout, expected.stdout)).toEqual([]);
      expect(treeOf(inTarget(remote))).toBe(treeOf(inTarget(native)));
      for (const name of [remote, native]) rmSync(inTarget(name), { recursive: true });
    },
  );

  const python = '/usr/bin/python3';

  test.skipIf(!existsSync(python))(
    'a shared mapping of a file opened for appending changes it in its place',
    async () => {
      writeFileSync(inTarget('/srv/log'), 'one\ntwo\n');
      const change =
        'import mmap,os;f=os.open("/srv/log",os.O_RDWR|os.O_APPEND);m=mmap.mmap(f,0);m[0:3]=b"ONE";m.flush();m.close();' +
        'os.write(f,b"three\\n")';
      expect(await write([python, '-c', change])).toMatchObject({ code: 0, stderr: '' });
      expect(readFileSync(inTarget('/srv/log'), 'utf8')).toBe('ONE\ntwo\nthree\n');
    },
  );

  test.skipIf(!existsSync(python))(
    'what may only be read is not changed through a descriptor, and nobody hangs',
    async () => {
      for (const [name, bytes] of [
        ['small', 1],
        ['large', 1_000_000],
      ] as const) {
        writeFileSync(inTarget(`/srv/${name}`), Buffer.alloc(bytes), { mode: 0o644 });
        const change = `import os;os.fchmod(os.open("/srv/${name}",os.O_RDONLY),0o600)`;
        const { code, stderr } = await whole.exec([python, '-c', change]);
        expect([code, stderr]).toEqual([1, expect.stringContaining('Read-only file system')]);
        expect(execFileSync('stat', ['-c', '%a', inTarget(`/srv/${name}`)], { encoding: 'utf8' })).toBe('644\n');
      }
    },
  );
});

/** Of each worker the first line in which the two differ: what follows follows from it. */
function firstDifferences(remote: string, native: string): string[] {
  const expected = byWorker(native);
  return [...byWorker(remote)].flatMap(([worker, lines]) => {
    const at = lines.findIndex((line, i) => line !== expected.get(worker)?.[i]);
    return at < 0 ? [] : [`under mirrord: ${lines[at]}\nnatively: ${expected.get(worker)?.[at]}`];
  });
}

/** A name may hold a line's end: a line begins with its numbers. */
function byWorker(log: string): Map<string, string[]> {
  const lines = new Map<string, string[]>();
  for (const line of log.split(/\n(?=\d+\.\d+ )/)) {
    const worker = line.slice(0, line.indexOf('.'));
    lines.set(worker, [...(lines.get(worker) ?? []), line.trimEnd()]);
  }
  return lines;
}

function treeOf(folder: string): string {
  const script =
    'find . -printf "%P %y %m %U %G %n %l\\n" | LC_ALL=C sort; find . -type f -exec md5sum {} + | LC_ALL=C sort';
  return execFileSync('sh', ['-c', script], { cwd: folder, encoding: 'latin1', maxBuffer: 1 << 26 });
}
