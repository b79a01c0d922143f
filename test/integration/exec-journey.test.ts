import { createHash } from 'node:crypto';
import { copyFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { type RunningTarget, startTarget } from '../fixtures/target.ts';
import { ExecHarness } from './exec-harness.ts';

const BIG = Buffer.alloc(3 << 20, 'abcdefg');

describe.skipIf(!can.root.yes)(`a local process in the place of a target (${can.root.why})`, () => {
  let target: RunningTarget;
  let harness: ExecHarness;
  let exec: (...words: string[]) => ReturnType<ExecHarness['run']>;

  beforeAll(async () => {
    target = await startTarget({
      env: { SHOP: 'Corner Shop', PATH: '/nowhere' },
      files: {
        '/etc/hostname': 'shop-1\n',
        '/srv/shop/prices': 'tea 3.2\n',
        '/srv/shop/big': BIG,
      },
    });
  });

  beforeEach(() => {
    harness = new ExecHarness();
    exec = (...words) => harness.run(['exec', '-t', `pid/${target.pid}`, ...words]);
  });

  afterEach(async () => {
    try {
      await harness.leavesNothing();
    } finally {
      harness.close();
    }
  });

  afterAll(async () => {
    await target.stop();
  });

  test('it has the variables of the target and its own PATH', async () => {
    const { stdout, stderr, code } = await exec('--', 'sh', '-c', 'echo "$SHOP"; command -v sh >&2');
    expect([stdout, code]).toEqual(['Corner Shop\n', 0]);
    expect(stderr).toContain('/sh\n');
  });

  test('it reads the files of the target, small and large', async () => {
    const { stdout, stderr } = await exec('--', 'cat', '/etc/hostname', '/srv/shop/prices');
    expect(stdout, stderr).toBe('shop-1\ntea 3.2\n');
    const big = await exec('--', 'md5sum', '/srv/shop/big');
    expect(big.stdout, big.stderr).toBe(`${createHash('md5').update(BIG).digest('hex')}  /srv/shop/big\n`);
  });

  test('it has the name of the target, unless that is not wanted', async () => {
    const program = ['--', '/usr/bin/python3', '-c', 'import socket; print(socket.gethostname())'];
    const { stdout, stderr } = await exec(...program);
    expect(stdout, stderr).toBe('shop-1\n');
    writeFileSync(path.join(harness.folder, 'own-name.json'), '{"feature": {"hostname": false}}');
    expect((await exec('-f', 'own-name.json', ...program)).stdout).toBe(`${hostname()}\n`);
  });

  test('openat2 keeps to what it is asked, or says that it cannot', async () => {
    // Of the working directory, which is of this machine.
    copyFileSync(path.join(import.meta.dirname, '../fixtures/openat2.py'), path.join(harness.folder, 'openat2.py'));
    const { stdout, stderr } = await exec('--', '/usr/bin/python3', 'openat2.py');
    const lines = ['without tea 3.2 tea 3.2', 'with ENOSYS ENOSYS ENOSYS ENOSYS EAGAIN EINVAL', 'here own shop-1'];
    expect(stdout, stderr).toBe(`${lines.join('\n')}\n`);
  });

  test('the last line before its own is Ready!', async () => {
    const { stderr } = await exec('--', 'sh', '-c', 'echo mine >&2');
    expect(stderr).toMatch(/\nReady!\nmine\n$/);
  });

  test.each([0, 3, 255])('its exit code %i is ours', async (code) => {
    expect(await exec('--progress', 'off', '--', 'sh', '-c', `exit ${code}`)).toMatchObject({ code, stderr: '' });
  });

  test.each(['SIGTERM', 'SIGKILL', 'SIGSEGV'])('its death by %s is ours', async (signal) => {
    const outcome = await exec('--progress', 'off', '--', 'sh', '-c', `kill -${signal.slice(3)} $$`);
    expect(outcome).toMatchObject({ code: null, signal });
  });

  test('a command that is not there ends as shells say it, and nothing is started for it', async () => {
    const outcome = await exec('--', 'no-such-command');
    expect(outcome.code).toBe(127);
    expect(outcome.stderr).toBe(
      'mirrord: no-such-command: command not found\n  whose move: yours\n' +
        '  what to do: name a program of this machine: COMMAND runs here, not in the target.\n',
    );
    writeFileSync(path.join(harness.folder, 'plain'), 'text', { mode: 0o644 });
    expect((await exec('--', './plain')).code).toBe(126);
    writeFileSync(path.join(harness.folder, 'broken'), '#!/no/interpreter\n', { mode: 0o755 });
    expect((await exec('--', './broken')).code).toBe(127);
  });

  test('a target that does not run is told, with the exit code of what the user can mend', async () => {
    const { code, stderr } = await harness.run(['exec', '-t', 'pid/4194304', '--', 'true']);
    expect(code).toBe(2);
    expect(stderr).toContain('4194304');
    expect(stderr).toContain('whose move: yours');
  });

  test('a target of a cluster needs one, and the file that was looked for is named', async () => {
    const variables = { KUBECONFIG: '/not/there/config' };
    const { code, stderr } = await harness.run(['exec', '-t', 'deployment/shop', '--', 'true'], { variables });
    expect([code, stderr.includes('/not/there/config')]).toEqual([2, true]);
  });

  test('a run inside a run is refused', async () => {
    const mirrord = path.join(import.meta.dirname, '../../bin/mirrord');
    const { code, stderr } = await exec('--fs-mode', 'local', '--', mirrord, 'exec', '-t', 'pid/1', '--', 'true');
    expect(code).toBe(2);
    expect(stderr).toContain('was called inside a process of mirrord exec');
  });

  test('neither key nor address of the agent reaches it', async () => {
    const { stdout } = await exec('--progress', 'off', '--', 'env');
    expect(stdout.split('\n').filter((line) => line.startsWith('MIRRORD_'))).toEqual([
      expect.stringMatching(/^MIRRORD_SESSION_ID=/),
    ]);
  });

  test('its pipes block, as without us', async () => {
    const { stdout } = await exec('--', 'sh', '-c', 'for fd in 0 1 2; do grep flags /proc/self/fdinfo/$fd; done');
    const flags = stdout
      .trim()
      .split('\n')
      .map((line) => Number.parseInt(line.split('\t')[1] ?? '', 8));
    const nonBlocking = 0o4000;
    expect(flags.map((flag) => flag & nonBlocking)).toEqual([0, 0, 0]);
  });

  test('with fs-mode local it has the target’s variables and its own files', async () => {
    const { stdout } = await exec('--fs-mode', 'local', '--', 'sh', '-c', 'echo $SHOP; cat /etc/hostname');
    expect(stdout).toMatch(/^Corner Shop\n/);
    expect(stdout).not.toContain('shop-1');
  });

  test('an agent given without its key is refused before anything starts', async () => {
    const variables = { MIRRORD_AGENT_ADDRESS: 'unix:/nowhere' };
    const outcome = await harness.run(['exec', '-t', 'pid/1', '--', 'true'], { variables });
    expect(outcome.code).toBe(2);
    expect(outcome.stderr).toContain('MIRRORD_AGENT_KEY_FILE');
  });
});
