// What a new user reads when something is wrong: what happened, whose move it is and what to do, and the exit code.

import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { type RunningTarget, startTarget } from '../fixtures/target.ts';
import { ExecHarness } from './exec-harness.ts';

/** Starts what follows under a seccomp filter that answers seccomp(2) itself with an errno: an old kernel, a strict one. */
const WITHOUT_SECCOMP = `
import ctypes, os, struct, sys
step = lambda code, k, yes=0, no=0: struct.pack('HBBI', code, yes, no, k)
code = step(0x20, 0) + step(0x15, 317, 0, 1) + step(0x06, 0x00050000 | int(sys.argv[1])) + step(0x06, 0x7fff0000)
class Program(ctypes.Structure): _fields_ = [('len', ctypes.c_ushort), ('filter', ctypes.c_char_p)]
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.byref(Program(4, code))) == 0
os.execvp(sys.argv[2], sys.argv[2:])
`;

describe.skipIf(!can.root.yes)(`messages of a run (${can.root.why})`, () => {
  let target: RunningTarget;
  let harness: ExecHarness;

  beforeAll(async () => {
    target = await startTarget();
    harness = new ExecHarness();
    const at = (name: string) => path.join(harness.folder, name);
    writeFileSync(at('typo.json'), '{\n  "target": "pid/1",\n  "feature": {\n    "evn": true\n  }\n}\n');
    const filter = '{ "path_filter": "^/cart(?=/)" }';
    writeFileSync(
      at('filter.json'),
      `{ "feature": { "network": { "incoming": {\n  "mode": "steal",\n  "http_filter": ${filter} } } } }`,
    );
    writeFileSync(
      at('tls.json'),
      `{ "feature": { "network": { "incoming": {
  "mode": "steal", "tls": [{ "from": "local", "certificate": "/no/crt", "key": "/no/key" }] } } } }`,
    );
    writeFileSync(at('plain'), 'no program');
    writeFileSync(at('lost'), '#!/no/such/interpreter\n');
    chmodSync(at('lost'), 0o755);
    mkdirSync(at('folder'));
    writeFileSync(at('key'), '01'.repeat(32), { mode: 0o600 });
    writeFileSync(at('open-key'), '01'.repeat(32), { mode: 0o644 });
    writeFileSync(at('short-key'), 'zz', { mode: 0o600 });
  });

  afterAll(async () => {
    await harness.leavesNothing();
    harness.close();
    await target.stop();
  });

  const ON = ['-t', 'pid/TARGET', '--progress', 'off'];
  const agent = (address: string, key: string) => ({ MIRRORD_AGENT_ADDRESS: address, MIRRORD_AGENT_KEY_FILE: key });

  test.each([
    ['a number alone', ['-t', '4711', '--', 'true'], {}, 2, /"4711" is not a target: did you mean pid\/4711\?/],
    ['no number', ['-t', 'pid/x', '--', 'true'], {}, 2, /pid\/ wants the number of a process/],
    ['a cluster nobody knows', ['-t', 'pod/x', '--', 'true'], { KUBECONFIG: '/no/config' }, 2, /no cluster is known/],
    ['no target', ['--', 'true'], {}, 2, /a target is missing: --target pid\/N, container\/NAME/],
    ['no command', ['-t', 'pid/1'], {}, 2, /a command is missing/],
    ['no such process', ['-t', 'pid/4194303', '--', 'true'], {}, 2, /no process 4194303 on this machine/],
    ['no such container', ['-t', 'container/none', '--', 'true'], {}, 2, /no container "none" on this machine/],
    ['an unknown flag', ['--tarjet', 'pid/1', '--', 'true'], {}, 2, /--tarjet; did you mean --target\?/],
    [
      'an unknown key',
      ['-f', 'typo.json', '--', 'true'],
      {},
      2,
      /feature\.evn \(line 4\): no such key; did you mean env/,
    ],
    [
      'a filter that cannot be, before the agent is asked',
      ['-f', 'filter.json', ...ON, '--', 'true'],
      agent('127.0.0.1:1', 'key'),
      2,
      /filter\.json: \S+path_filter \(line 3\): look-around is not offered[\s\S]*\n +\^\/cart\(\?=\/\)\n +\^{3}\n +instead: /,
    ],
    [
      'a certificate of this machine that is not there, before any agent is asked',
      ['-f', 'tls.json', ...ON, '--', 'true'],
      agent('127.0.0.1:1', 'key'),
      2,
      /feature\.network\.incoming: \/no\/crt cannot be read on this machine: ENOENT/,
    ],
    ['no configuration', ['-f', 'none.json', '--', 'true'], {}, 2, /none\.json: cannot read it: there is no such file/],
    ['an unknown command', [...ON, '--', 'no-such'], {}, 127, /no-such: command not found/],
    ['no program', [...ON, '--', './plain'], {}, 126, /plain: not executable[\s\S]*chmod \+x/],
    ['a folder', [...ON, '--', './folder'], {}, 126, /folder: is a folder/],
    [
      'a program without interpreter',
      [...ON, '--', './lost'],
      {},
      127,
      /\.\/lost cannot be run: its interpreter[\s\S]*names what it wants/,
    ],
    ['a run in a run', [...ON, '--', 'true'], { MIRRORD_SESSION_ID: 'x' }, 2, /inside a process of mirrord exec/],
    [
      'a far agent',
      [...ON, '--', 'true'],
      agent('example.com:1', 'key'),
      2,
      /must be unix:\/path, 127\.0\.0\.1:port or tls:host:port/,
    ],
    [
      'no agent',
      [...ON, '--', 'true'],
      agent('127.0.0.1:1', 'key'),
      5,
      /agent at 127\.0\.0\.1:1: nobody listens there$/m,
    ],
    [
      'no socket',
      [...ON, '--', 'true'],
      agent('unix:/no/one', 'key'),
      5,
      /agent at unix:\/no\/one: there is no such socket$/m,
    ],
    ['no key', [...ON, '--', 'true'], agent('unix:/no/one', ''), 2, /MIRRORD_AGENT_KEY_FILE is not/],
    ['a key alone', [...ON, '--', 'true'], { MIRRORD_AGENT_KEY_FILE: 'key' }, 2, /MIRRORD_AGENT_ADDRESS is not/],
    [
      'a redirect that nobody knows',
      [...ON, '--', 'true'],
      { MIRRORD_STEALER_REDIRECT: 'ipvs' },
      2,
      /MIRRORD_STEALER_REDIRECT is "ipvs", not one of auto, sk_lookup/,
    ],
    [
      'a level of logs that nobody knows',
      [...ON, '--', 'true'],
      { MIRRORD_LOG_LEVEL: 'bad' },
      2,
      /MIRRORD_LOG_LEVEL is "bad", not one of trace, debug, info, warn, error, silent/,
    ],
    [
      'a configured level that nobody knows',
      [...ON, '-l', 'mirrord=bad', '--', 'true'],
      {},
      2,
      /agent\.log_level: "mirrord=bad" is not one of trace, debug, info, warn, error, silent, off/,
    ],
    [
      'a ring of the sniffer that is none',
      [...ON, '--', 'true'],
      { MIRRORD_SNIFFER_RING_BYTES: '12' },
      2,
      /MIRRORD_SNIFFER_RING_BYTES is "12", not a whole number from 1048576 to 536870912/,
    ],
    ['a lost key', [...ON, '--', 'true'], agent('unix:/no/one', 'gone'), 2, /KEY_FILE: gone: there is no such file/],
    [
      'an open key',
      [...ON, '--', 'true'],
      agent('unix:/no/one', 'open-key'),
      2,
      /mode 644 lets others read it: chmod 600/,
    ],
    ['a bad key', [...ON, '--', 'true'], agent('unix:/no/one', 'short-key'), 2, /must be 64 hex digits, not 2/],
  ] as const)('%s', async (_name, words, variables, code, said) => {
    const run = await harness.run(['exec', ...words.map((word) => word.replace('TARGET', String(target.pid)))], {
      variables,
    });
    expect(run.stderr).toMatch(said);
    expect(run.stderr).toMatch(/^mirrord: [\s\S]*\n {2}whose move: \S[\s\S]*\n {2}what to do: \S/m);
    expect([run.code, run.stdout]).toEqual([code, '']);
  });

  test.each([
    ['a kernel without user notification', 38, 4, /needs Linux 5\.14 or newer[\s\S]*whose move: whoever grants/],
    [
      'a container profile against it',
      1,
      3,
      /a container profile that allows seccomp[\s\S]*whose move: whoever grants/,
    ],
    [
      'another supervisor',
      16,
      2,
      /already runs under a seccomp supervisor[\s\S]*Start mirrord outside[\s\S]*whose move: yours/,
    ],
  ] as const)('%s', async (_name, errno, code, said) => {
    const words = ['exec', ...ON.map((word) => word.replace('TARGET', String(target.pid))), '--', 'true'];
    const run = await harness.run(words, { under: ['python3', '-c', WITHOUT_SECCOMP, String(errno)] });
    expect(run.stderr).toMatch(said);
    expect([run.code, run.stdout]).toEqual([code, '']);
  });

  test('too few open files are told as that', async () => {
    const words = ['exec', ...ON.map((word) => word.replace('TARGET', String(target.pid))), '--', 'true'];
    const run = await harness.run(words, { under: ['prlimit', '--nofile=21'] });
    expect(run.stderr).toMatch(/the agent could not be started: [\s\S]*whose move: yours[\s\S]*ulimit -n 1024/);
    expect([run.code, run.stdout]).toEqual([4, '']);
  });
});
