// Remote directories that become the working one and remote programs that are run: what no descriptor alone can give.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WireKind } from '#proto/wire.ts';
import { type Ended, Peer, type PeerOptions } from './peer.ts';

const CAN_PTRACE = 8;

let work: string;
let folder: string;

function compile(binary: string, source: string): void {
  fs.writeFileSync(path.join(work, 'source.c'), source);
  execFileSync('gcc', ['-O1', '-pthread', '-o', binary, path.join(work, 'source.c')], { stdio: 'pipe' });
}

const SAY = `#include <stdio.h>
#include <unistd.h>
int main(int count, char **words) {
  char exe[4096];
  long len = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
  exe[len > 0 ? len : 0] = 0;
  for (int i = 0; i < count; i++) printf("[%s]", words[i]);
  printf(" %s\\n", exe);
  return 3;
}`;

const THREADS = `#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <fcntl.h>
#include <unistd.h>
static void tick(int signal) { (void)signal; }
static void *walk(void *unused) {
  char at[4096];
  int bad = 0, open = 0;
  for (int i = 0; i < 60; i++) {
    const char *to = i % 2 ? "/remote/dir" : "/remote/dir/sub";
    bad += chdir(to) != 0 || !getcwd(at, sizeof(at)) || strcmp(at, to) != 0;
  }
  for (int fd = 3; fd < 64; fd++) open += fcntl(fd, F_GETFD) >= 0;
  printf("%d bad, %d left\\n", bad, open);
  fflush(stdout);
  return unused;
}
static void *become(void *unused) {
  execl("/remote/dir/say", "say", "from a thread", NULL);
  return unused;
}
int main(void) {
  struct sigaction action = {.sa_handler = tick, .sa_flags = SA_RESTART};
  struct itimerval often = {{0, 3000}, {0, 3000}}, never = {{0, 0}, {0, 0}};
  pthread_t thread;
  sigaction(SIGALRM, &action, NULL);
  setitimer(ITIMER_REAL, &often, NULL);
  pthread_create(&thread, NULL, walk, NULL);
  pthread_join(thread, NULL);
  setitimer(ITIMER_REAL, &never, NULL);
  pthread_create(&thread, NULL, become, NULL);
  for (;;) pause();
}`;

beforeAll(() => {
  work = fs.mkdtempSync(path.join(os.tmpdir(), 'mirrord-layer-'));
  fs.chmodSync(work, 0o755);
  folder = path.join(work, 'target');
  fs.mkdirSync(path.join(folder, 'dir/sub'), { recursive: true });
  fs.writeFileSync(path.join(folder, 'plain'), 'plain\n');
  fs.writeFileSync(path.join(folder, 'dir/file'), 'inside\n');
  fs.writeFileSync(path.join(folder, 'dir/script'), '#!/bin/sh -e\necho "$0" "$@"; pwd; exit 7\n', { mode: 0o755 });
  compile(path.join(folder, 'dir/say'), SAY);
  compile(path.join(work, 'threads'), THREADS);
});

afterAll(() => {
  fs.rmSync(work, { recursive: true, force: true });
});

function run(command: readonly string[], options: Partial<PeerOptions> = {}): Promise<Ended> & { peer: Peer } {
  const peer = new Peer(command, { folder, ...options });
  return Object.assign(peer.ended, { peer });
}

describe('a remote directory', () => {
  it('is entered, walked about in and left', async () => {
    const script =
      'cd /remote/dir && /bin/pwd && cat file && cd sub && /bin/pwd && cat ../file && cd .. && (cd /; /bin/pwd) && /bin/pwd && readlink /proc/self/cwd && cd /tmp && /bin/pwd';
    const ended = await run(['bash', '-c', script]);
    const lines = ['/remote/dir', 'inside', '/remote/dir/sub', 'inside', '/', '/remote/dir', '/remote/dir', '/tmp', ''];
    expect(ended).toMatchObject({ code: 0, stderr: '', stdout: lines.join('\n') });
  });

  it('keeps its name, whatever way it is opened and how often', async () => {
    const script = [
      'import os',
      'os.chdir("/remote/dir/sub"); os.chdir(".."); print(os.getcwd())',
      'os.listdir("."); os.listdir("sub/.."); print(os.getcwd())',
      'd = os.open("/remote/dir/sub", os.O_RDONLY); os.fchdir(d); os.close(d)',
      'for i in range(600): os.close(os.open("/remote/dir/sub", 0)); os.close(os.open("/remote/dir/file", 0))',
      'print(os.getcwd(), open("../file").read(), end="")',
    ];
    const ended = await run(['python3', '-c', script.join('\n')]);
    expect(ended).toMatchObject({ stderr: '', stdout: '/remote/dir\n/remote/dir\n/remote/dir/sub inside\n' });
  });

  it('is where children start', async () => {
    const script =
      'import subprocess as s\nprint(s.run(["/bin/pwd"], cwd="/remote/dir/sub", capture_output=True, text=True).stdout, end="")';
    expect(await run(['python3', '-c', script])).toMatchObject({ code: 0, stdout: '/remote/dir/sub\n', stderr: '' });
  });

  it('that is none gives the errno of the target', async () => {
    const script =
      'import os\nfor p in ("none", "plain"):\n try: os.chdir("/remote/" + p)\n except OSError as e: print(e.errno)';
    expect((await run(['python3', '-c', script])).stdout).toBe('2\n20\n');
  });
});

describe('a remote program', () => {
  it('runs under its name with its words', async () => {
    const ended = await run(['bash', '-c', 'cd /remote/dir; ./say a "b c"; /remote/dir/say d; exec ./say e']);
    const stdout =
      '[./say][a][b c] /remote/dir/say\n[/remote/dir/say][d] /remote/dir/say\n[./say][e] /remote/dir/say\n';
    expect(ended).toMatchObject({ code: 3, stderr: '', stdout });
  });

  it('may be the command itself', async () => {
    expect(await run(['/remote/dir/say', 'x'])).toMatchObject({
      code: 3,
      stdout: '[/remote/dir/say][x] /remote/dir/say\n',
    });
    const none = run(['/remote/dir/none']);
    expect((await none).code).toBe(127);
  });

  it('may be a script', async () => {
    const ended = await run(['bash', '-c', 'cd /remote/dir; ./script a; cd /; /remote/dir/script b; exit $?']);
    expect(ended).toMatchObject({
      code: 7,
      stderr: '',
      stdout: './script a\n/remote/dir\n/remote/dir/script b\n/\n',
    });
  });

  it('is spawned and run from any thread, signals or not', async () => {
    const ended = await run([path.join(work, 'threads')], { delayMs: 2 });
    expect(ended).toMatchObject({
      code: 3,
      stdout: '0 bad, 0 left\n[say][from a thread] /remote/dir/say\n',
    });
    const spawn = 'import os\nprint(os.waitpid(os.posix_spawn("/remote/dir/say", ["say", "spawned"], {}), 0)[1] >> 8)';
    expect((await run(['python3', '-c', spawn])).stdout).toBe('[say][spawned] /remote/dir/say\n3\n');
  });

  it('of this machine is run from here, though the rules call its path remote', async () => {
    const here = path.join(work, 'here');
    fs.mkdirSync(here);
    fs.copyFileSync('/bin/echo', path.join(here, 'echo'));
    const running = run(['bash', '-c', `test -e ${here}/echo || ${here}/echo here`], { alsoRemote: here });
    expect(await running).toMatchObject({ stdout: 'here\n', stderr: '' });
    expect(running.peer.count(WireKind.OPEN)).toBe(0);
  });

  it('is refused to a process under a debugger, with a line that says so', async () => {
    const running = run(['strace', '-f', '-o', '/dev/null', 'bash', '-c', 'cd /remote/dir']);
    expect((await running).stderr).toMatch(/Permission denied/);
    expect(running.peer.logs.join()).toMatch(/a debugger has it/);
    expect(running.peer.hello.capabilities & CAN_PTRACE).toBe(CAN_PTRACE);
  });
});

describe('without FUSE', () => {
  const variables = { MIRRORD_LAYER_FUSE: 'off' };

  it('directories are listed, walked, copied and told apart from files', async () => {
    const script =
      'ls /remote/dir | sort | paste -sd, ; find /remote -type d | sort | paste -sd, ; cp -r /remote/dir copy && cat copy/file && tar cf - -C /remote dir | tar tf - | sort | paste -sd, ';
    const ended = await run(['bash', '-c', script], { variables, cwd: work });
    const lines = [
      'file,say,script,sub',
      '/remote,/remote/dir,/remote/dir/sub',
      'inside',
      'dir/,dir/file,dir/say,dir/script,dir/sub/',
      '',
    ];
    expect(ended).toMatchObject({ stderr: '', stdout: lines.join('\n') });
  });

  it('a directory of 20,000 names is whole, from the start as often as wanted', async () => {
    const many = path.join(folder, 'many');
    fs.mkdirSync(many);
    for (let i = 0; i < 20_000; i++) fs.writeFileSync(path.join(many, `name-${i}`), '');
    const script =
      'import os\nd = os.open("/remote/many", 0)\nfor i in range(2): print(len(set(os.listdir(d))))\nos.lseek(d, 0, 0)\nprint(sum(1 for e in os.scandir("/remote/many") if e.is_file()))';
    const memfd = await run(['python3', '-c', script], { variables });
    const fuse = await run(['python3', '-c', script]);
    fs.rmSync(many, { recursive: true });
    expect([memfd.stdout, fuse.stdout]).toEqual(['20000\n20000\n20000\n', '20000\n20000\n20000\n']);
  });

  it('fstat of a descriptor is the stat of the path', async () => {
    const script =
      'import os\nfor p in ("/remote/plain", "/remote/dir"):\n d = os.open(p, 0); a = os.fstat(d); b = os.stat(p)\n print(all(getattr(a, "st_" + n) == getattr(b, "st_" + n) for n in "dev ino mode nlink uid gid size mtime_ns ctime_ns".split()), os.readlink("/proc/self/fd/%d" % d))';
    expect((await run(['python3', '-c', script], { variables })).stdout).toBe('True /remote/plain\nTrue /remote/dir\n');
  });

  it('nothing is created or cut by an open that is refused', async () => {
    const running = run(['bash', '-c', 'echo x > /remote/new; echo x > /remote/plain'], { variables });
    expect((await running).stderr).toMatch(/Read-only file system/);
    expect(running.peer.count(WireKind.OPEN)).toBe(0);
    expect(fs.readFileSync(path.join(folder, 'plain'), 'utf8')).toBe('plain\n');
  });

  it('entering directories and running programs are refused with a line that says why', async () => {
    const running = run(['bash', '-c', 'cd /remote/dir; /remote/dir/say'], { variables });
    expect((await running).stderr.match(/Permission denied/g)).toHaveLength(2);
    expect(running.peer.logs.join()).toMatch(/needs FUSE/);
  });
});
