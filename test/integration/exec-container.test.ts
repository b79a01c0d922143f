import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { can, canRun } from '../can.ts';
import { ExecHarness } from './exec-harness.ts';

const podman = canRun('podman', 'runc');

// A container without an image: a folder with one static program, run by Podman as it runs any other. Resource limits are
// given because Podman's own defaults want more than a machine inside a machine may have.
describe.skipIf(!can.root.yes || !podman.yes)(`a container of Podman (${can.root.why}${podman.why})`, () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'mirrord-container-test-'));
  const name = `mirrord-test-${process.pid}`;
  const harness = new ExecHarness();
  let id = '';

  beforeAll(() => {
    for (const made of ['etc', 'proc', 'sys', 'dev', 'bin', 'srv'])
      mkdirSync(path.join(folder, 'root', made), { recursive: true });
    writeFileSync(path.join(folder, 'root/srv/prices'), 'tea 3.2\n');
    writeFileSync(path.join(folder, 'wait.c'), '#include <unistd.h>\nint main(void) { for (;;) pause(); }\n');
    execFileSync('cc', ['-static', '-o', path.join(folder, 'root/bin/wait'), path.join(folder, 'wait.c')]);
    const limits = ['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1000:1000', '--network', 'none'];
    const made = ['--name', name, '--env', 'SHOP=Corner Shop', '--rootfs', path.join(folder, 'root'), '/bin/wait'];
    id = execFileSync('podman', ['--runtime', 'runc', 'run', '-d', ...limits, ...made], { encoding: 'utf8' }).trim();
  });

  afterAll(() => {
    execFileSync('podman', ['rm', '--force', '--time', '0', name]);
    harness.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test.each([
    ['its name', () => name],
    ['its id', () => id],
    ['the beginning of its id', () => id.slice(0, 12)],
  ])('is found by %s', async (_, word) => {
    const run = await harness.run([
      'exec',
      '-t',
      `container/${word()}`,
      '--',
      'sh',
      '-c',
      'cat /srv/prices; echo "$SHOP"',
    ]);
    expect(run.stdout, run.stderr).toBe('tea 3.2\nCorner Shop\n');
    await harness.leavesNothing();
  });

  test('is named when another was asked for', async () => {
    const { code, stderr } = await harness.run(['exec', '-t', `container/${name}x`, '--', 'true']);
    expect(code).toBe(2);
    expect(stderr).toContain(name);
    expect(stderr).toContain(id.slice(0, 12));
  });
});
