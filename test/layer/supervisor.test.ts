// The supervisor with real programs and a real kernel; the client's part is played by peer.ts.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WireKind } from '#proto/wire.ts';
import { type Ended, Peer, type PeerOptions } from './peer.ts';

let work: string;
let folder: string;

beforeAll(() => {
  work = fs.mkdtempSync(path.join(os.tmpdir(), 'mirrord-layer-'));
  fs.chmodSync(work, 0o755);
  folder = path.join(work, 'target');
  fs.mkdirSync(path.join(folder, 'list'), { recursive: true });
  fs.writeFileSync(path.join(folder, 'plain'), 'from the target\n', { mode: 0o640 });
  fs.writeFileSync(path.join(folder, 'large'), Buffer.alloc(300_000, 'x'));
  fs.symlinkSync('plain', path.join(folder, 'link'));
  for (let i = 0; i < 30; i++) fs.writeFileSync(path.join(folder, 'list', `name-${i}`), String(i));
});

afterAll(() => {
  fs.rmSync(work, { recursive: true, force: true });
});

function run(command: readonly string[], options: Partial<PeerOptions> = {}): Promise<Ended> & { peer: Peer } {
  const peer = new Peer(command, { folder, ...options });
  return Object.assign(peer.ended, { peer });
}

function compile(name: string, source: string, flags: readonly string[] = []): string {
  const binary = path.join(work, name);
  fs.writeFileSync(`${binary}.c`, source);
  execFileSync('gcc', ['-O1', '-pthread', '-o', binary, `${binary}.c`, ...flags], { stdio: 'pipe' });
  return binary;
}

async function isGone(pid: number): Promise<boolean> {
  const deadline = Date.now() + 5000;
  while (Date.now() < deadline) {
    try {
      const state = fs.readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.[0];
      if (state === 'Z') return true;
    } catch {
      return true;
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  return false;
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error('waited 10 s in vain');
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe('files', () => {
  it('shows the target to coreutils', async () => {
    const script =
      'cat /remote/plain; stat -c %s:%a /remote/plain; readlink /remote/link; ls /remote/list | wc -l; wc -c < /remote/large';
    const ended = await run(['bash', '-c', script]);
    expect(ended).toMatchObject({ code: 0, stderr: '', stdout: 'from the target\n16:640\nplain\n30\n300000\n' });
  });

  it('lists, joins and reads below a remote directory', async () => {
    const ended = await run(['find', '/remote', '-type', 'f', '-name', 'name-1*', '-exec', 'cat', '{}', '+']);
    expect(ended.stderr).toBe('');
    expect([...ended.stdout].sort().join('')).toBe(`0${'1'.repeat(12)}23456789`);
  });

  it('has the name of the target, unless it took names of its own', async () => {
    const script =
      'uname -n; python3 -c "import socket; print(socket.gethostname())"; setarch i686 uname -n; unshare --map-root-user --uts uname -n; uname -sr';
    const named = await run(['sh', '-c', script], { hostName: 'shop-1' });
    const { stdout: here } = await run(['sh', '-c', 'uname -n; uname -sr']);
    const [name, release] = here.split('\n');
    expect(named.stdout).toBe(`shop-1\nshop-1\n${name}\n${name}\n${release}\n`);
  });

  it('takes what is read of large files from the memory that it shares with the client', async () => {
    const running = run(['cat', '/remote/large'], { inlineBytes: 0 });
    const ended = await running;
    expect(ended).toMatchObject({ code: 0, stderr: '', stdout: 'x'.repeat(300_000) });
    expect(running.peer.given).toBeGreaterThan(0);
  });

  it('changes the target', async () => {
    const script =
      'umask 027; mkdir /remote/d && echo new > /remote/d/f && chmod 600 /remote/d/f && mv /remote/d/f /remote/d/g && ln -s g /remote/d/l && truncate -s 2 /remote/d/g && cat /remote/d/l && rm -r /remote/d && ! test -e /remote/d';
    const ended = await run(['bash', '-c', script]);
    expect(ended).toMatchObject({ code: 0, stderr: '', stdout: 'ne' });
    expect(fs.existsSync(path.join(folder, 'd'))).toBe(false);
  });

  it('says what the target says when it refuses', async () => {
    const ended = await run([
      'python3',
      '-c',
      'import os\nfor f in (lambda: open("/remote/none"), lambda: os.rmdir("/remote/list"), lambda: open("/remote/hidden"), lambda: os.rename("/remote/plain", "/tmp/x"), lambda: os.mkdir("/remote/list")):\n try: f()\n except OSError as e: print(e.errno)',
    ]);
    expect(ended.stdout).toBe('2\n39\n2\n18\n17\n');
  });

  it('keeps the identity of a file between stat and fstat', async () => {
    const ended = await run([
      'python3',
      '-c',
      'import os\nf=open("/remote/plain")\na=os.fstat(f.fileno());b=os.stat("/remote/plain")\nprint((a.st_dev,a.st_ino)==(b.st_dev,b.st_ino), a.st_mtime_ns==b.st_mtime_ns, os.readlink("/proc/self/fd/%d"%f.fileno()))',
    ]);
    expect(ended.stdout).toBe('True True /remote/plain\n');
  });

  it('serves static programs', async () => {
    const binary = compile(
      'static',
      '#include <stdio.h>\nint main(void){char b[64];FILE*f=fopen("/remote/plain","r");if(!f){perror("x");return 1;}fputs(fgets(b,64,f),stdout);return 0;}',
      ['-static'],
    );
    expect(await run([binary])).toMatchObject({ code: 0, stdout: 'from the target\n' });
  });

  it('asks the client once about a path that turns out to be local', async () => {
    const running = run(['bash', '-c', 'cat /remote/ask/x; cat /remote/ask/x; cat /remote/ask/mapped']);
    const ended = await running;
    expect(ended.stdout).toBe('from the target\n');
    expect(running.peer.asked.filter((r) => 'path' in r && r.path.toString() === '/remote/ask/x').length).toBe(1);
  });

  it('copies for reading and refuses to write without FUSE', async () => {
    const running = run(
      ['bash', '-c', 'cat /remote/plain; wc -c < /remote/large; stat -c %a - < /remote/plain; echo x > /remote/new'],
      {
        variables: { MIRRORD_LAYER_FUSE: 'off' },
      },
    );
    const ended = await running;
    expect(ended.stdout).toBe('from the target\n300000\n640\n');
    expect(ended.stderr).toMatch(/Read-only file system/);
    expect(running.peer.hello.lines[0]).toMatch(/no FUSE/);
  });
});

describe('calls and signals', () => {
  it('finishes a slow call that a timer interrupts a thousand times a second, and does it once', async () => {
    const binary = compile(
      'timer',
      `#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>
static volatile long n;
static void on(int s){n++;}
int main(void){struct sigaction a={.sa_handler=on,.sa_flags=SA_RESTART};sigaction(SIGALRM,&a,0);
struct itimerval t={{0,1000},{0,1000}};setitimer(ITIMER_REAL,&t,0);
struct stat st;int fd=open("/remote/plain",O_RDONLY);int d=mkdir("/remote/once",0755);int s=stat("/remote/once",&st);int r=rmdir("/remote/once");
printf("%d %d %d %d %d\\n",fd,d,s,r,n>10);return 0;}`,
    );
    const running = run([binary], { delayMs: 50 });
    expect(await running).toMatchObject({ code: 0, stdout: '3 0 0 0 1\n' });
    expect(running.peer.count(WireKind.MKDIR)).toBe(1);
  });

  it('answers fifty threads at once', async () => {
    const binary = compile(
      'threads',
      `#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static int bad;
static void*go(void*x){char b[32];for(int i=0;i<20;i++){int fd=open("/remote/plain",O_RDONLY|O_CLOEXEC);if(fd<0||read(fd,b,32)!=16)__sync_fetch_and_add(&bad,1);close(fd);}return 0;}
int main(void){pthread_t t[50];for(int i=0;i<50;i++)pthread_create(&t[i],0,go,0);for(int i=0;i<50;i++)pthread_join(t[i],0);printf("%d\\n",bad);return 0;}`,
    );
    expect(await run([binary])).toMatchObject({ code: 0, stdout: '0\n' });
  });

  it('follows a hundred children', async () => {
    const script = 'for i in $(seq 100); do /bin/cat /remote/plain & done; wait';
    expect((await run(['bash', '-c', script])).stdout).toBe('from the target\n'.repeat(100));
  });

  it('makes io_uring unavailable', async () => {
    const binary = compile(
      'uring',
      '#include <errno.h>\n#include <unistd.h>\n#include <sys/syscall.h>\nint main(void){return syscall(425,8,0)==-1&&errno==ENOSYS?0:1;}',
    );
    expect((await run([binary])).code).toBe(0);
  });
});

describe('start and end', () => {
  it('ends as the program ends', async () => {
    expect(await run(['bash', '-c', 'exit 42'])).toMatchObject({ code: 42, signal: null });
    expect(await run(['bash', '-c', 'kill -SEGV $$'])).toMatchObject({ code: null, signal: 'SIGSEGV' });
    expect(await run(['bash', '-c', 'kill -TERM $$'])).toMatchObject({ code: null, signal: 'SIGTERM' });
  });

  it('says which command it could not start', async () => {
    const missing = run(['/no/such/command']);
    expect((await missing).code).toBe(127);
    expect(missing.peer.failed?.what).toMatch(/no\/such\/command: command not found/);
    const denied = run([path.join(folder, 'plain')]);
    expect((await denied).code).toBe(126);
  });

  it('leaks no descriptor and no signal disposition', async () => {
    const command = 'ls /proc/self/fd; grep SigIgn /proc/self/status';
    const native = execFileSync('bash', ['-c', command], { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' });
    expect((await run(['bash', '-c', command])).stdout).toBe(native);
  });

  it('stays until the last background process ends', async () => {
    const running = run([
      'bash',
      '-c',
      'setsid bash -c "read x < /remote/plain; until test -e /remote/go; do sleep 0.05; done; echo \\$x" & exit 3',
    ]);
    await until(() => running.peer.left !== undefined);
    expect(running.peer.left).toMatchObject({ status: 3 << 8, left: 1 });
    fs.writeFileSync(path.join(folder, 'go'), '');
    const ended = await running;
    fs.rmSync(path.join(folder, 'go'));
    expect(ended).toMatchObject({ code: 3, stdout: 'from the target\n' });
  });

  it('refuses to run inside another supervisor and says so', async () => {
    const { SUPERVISOR } = await import('./peer.ts');
    const ended = await run(['bash', '-c', `exec 3<>/dev/null; exec ${SUPERVISOR} -- true`]);
    expect(ended.code).toBe(126);
    expect(ended.stderr).toMatch(/already runs under a seccomp supervisor/);
  });

  it('runs without root', async () => {
    fs.chmodSync(path.join(folder, 'plain'), 0o644);
    const ended = await run(['cat', '/remote/plain'], { prefix: ['setpriv', '--reuid', '65534', '--clear-groups'] });
    fs.chmodSync(path.join(folder, 'plain'), 0o640);
    expect(ended).toMatchObject({ code: 0, stdout: 'from the target\n' });
  });
});

describe('deaths', () => {
  const waiting =
    'echo ready; while read -r -t 0.1 x < /remote/plain; do :; done; echo over; cat /remote/plain; cat /etc/hostname >/dev/null && echo local';

  async function start(): Promise<{ running: ReturnType<typeof run>; app: number; worker: number }> {
    const running = run(['bash', '-c', waiting], { delayMs: 5 });
    const app = await running.peer.started;
    const worker = Number(fs.readFileSync(`/proc/${app}/stat`, 'latin1').split(') ')[1]?.split(' ')[1]);
    await until(() => running.peer.asked.length > 0);
    return { running, app, worker };
  }

  it('of the client: remote calls get EIO, local ones go on', async () => {
    const { running, app, worker } = await start();
    running.peer.hangUp();
    const ended = await running;
    expect(ended.stdout).toMatch(/over\nlocal\n$/);
    expect(ended.stderr).toMatch(/Input\/output error/);
    expect([await isGone(app), await isGone(worker)]).toEqual([true, true]);
  });

  it('of the worker: the keeper goes on', async () => {
    const { running, app, worker } = await start();
    process.kill(worker, 'SIGKILL');
    const ended = await running;
    expect(ended).toMatchObject({ code: 0 });
    expect(ended.stdout).toMatch(/over\nlocal\n$/);
    expect(ended.stderr).toMatch(/Input\/output error/);
    expect(await isGone(app)).toBe(true);
  });

  it('of the keeper: the worker goes on to the end', async () => {
    const { running, app, worker } = await start();
    running.peer.child.kill('SIGKILL');
    await until(() => running.peer.child.signalCode !== null);
    const before = running.peer.asked.length;
    await until(() => running.peer.asked.length > before + 5);
    running.peer.hangUp();
    expect([await isGone(app), await isGone(worker)]).toEqual([true, true]);
  });
});

describe('a core file', () => {
  it('is never written of keeper and worker, and of the program as its limit says', async () => {
    const script = 'ulimit -c; grep -h core /proc/$PPID/limits /proc/$(ps -o ppid= $PPID | tr -d " ")/limits';
    const ended = await run(['bash', '-c', script], { prefix: ['prlimit', '--core=4096:8192'] });
    const [own, ...ours] = ended.stdout.trim().split('\n');
    expect(own).toBe('4');
    expect(ours.map((line) => line.split(/\s{2,}/)[1])).toEqual(['0', '0']);
  });
});
