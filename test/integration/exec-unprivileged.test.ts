// No root anywhere: client, agent of its own, fs-env and target are one ordinary user's. What the kernel lets that user see
// of a process of its own works.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { type User, Whole } from '../fixtures/whole.ts';

/** Files that are in the target's /srv and not in this machine's, as only a mount namespace of its own can have them. */
const TARGET = `
  mount -t tmpfs -o mode=755 none /srv && mkdir /srv/shop && echo 'tea 3.2' >/srv/shop/prices &&
  echo ours >/srv/shop/ours && chmod 600 /srv/shop/ours && chown -R 65534:65534 /srv/shop &&
  echo theirs >/srv/shop/theirs && chmod 600 /srv/shop/theirs &&
  exec setpriv --reuid 65534 --regid 65534 --clear-groups env -i SHOP='Corner Shop' sh -c 'echo up; exec sleep 1000'
`;

describe.skipIf(!can.root.yes)(`without root (${can.root.why})`, () => {
  let whole: Whole;
  let target: ChildProcess;

  beforeAll(async () => {
    whole = await Whole.start({ variables: {} });
    target = spawn('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', TARGET], {
      cwd: '/',
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(target.stdout as NonNullable<typeof target.stdout>, 'data');
  });

  afterAll(async () => {
    target.kill('SIGKILL');
    await once(target, 'exit');
    await whole.close();
  });

  const exec = (user: User, flags: readonly string[], script: string, pid = target.pid) =>
    whole.mirrord(['exec', '-t', `pid/${pid}`, '--progress', 'simple', ...flags, '--', 'sh', '-c', script], {
      user,
      variables: { MIRRORD_AGENT_ADDRESS: '', MIRRORD_AGENT_KEY_FILE: '', XDG_RUNTIME_DIR: '' },
    });

  test.each(['nobody with FUSE', 'nobody without FUSE'] as const)(
    '%s: variables and files of a process of the same user',
    async (user) => {
      const script = 'id -u; echo "$SHOP"; cat /srv/shop/prices /srv/shop/ours; cat /srv/shop/theirs';
      const { code, stdout, stderr } = await exec(user, [], script);
      expect(stdout, stderr).toBe('65534\nCorner Shop\ntea 3.2\nours\n');
      expect(stderr).toContain('/srv/shop/theirs: Permission denied');
      expect(code).toBe(1);
    },
  );

  test('with FUSE folders are listed and files written, as that user', async () => {
    const script = 'ls /srv/shop; echo new >/srv/shop/new && cat /srv/shop/new; echo x >/srv/new';
    const { stdout, stderr } = await exec('nobody with FUSE', ['--fs-mode', 'write'], script);
    expect(stdout, stderr).toBe('ours\nprices\ntheirs\nnew\n');
    expect(stderr).toContain('/srv/new: Permission denied');
  });

  test('a process that forbids to be looked at is this machine’s, and that is told once', async () => {
    const program = [
      'import ctypes, socket',
      'ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)',
      'for _ in range(2):',
      '    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:',
      "        print(tcp.connect_ex(('127.0.0.1', 1)), udp.sendto(b'x', ('127.0.0.1', 9)))",
    ];
    const { stdout, stderr } = await exec('nobody without FUSE', [], `exec python3 -c "${program.join('\n')}"`);
    expect(stdout, stderr).toBe('111 1\n111 1\n');
    expect(stderr.match(/process \d+ does not let mirrord look at it/g), stderr).toHaveLength(1);
  });

  test('a process of another user is refused, and what to do is told', async () => {
    const { code, stderr } = await exec('nobody without FUSE', [], 'true', whole.target.pid);
    expect(code).toBe(3);
    expect(stderr).toMatch(/user 65534, may not look into that process/);
    expect(stderr).toMatch(/run mirrord as the owner of the target’s process, or as root/);
  });
});
