// The library that lets calls which stay local skip the trap: it must make no difference but of time.

import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Ended, Peer, type PeerOptions, SUPERVISOR } from './peer.ts';

const LIBRARY = path.join(path.dirname(SUPERVISOR), 'mirrord-bypass.so');
const SOURCES = new URL('./src', import.meta.url).pathname;
const OFF = { MIRRORD_LAYER_BYPASS: 'off' };

let work: string;
let folder: string;
let names: string;

function compile(source: string, name: string, compiler: string, ...flags: string[]): string {
  const binary = path.join(work, name);
  const file = path.join(SOURCES, `${source}.c`);
  execFileSync(compiler, ['-O2', '-pthread', ...flags, '-o', binary, file], { stdio: 'pipe' });
  return binary;
}

beforeAll(() => {
  work = fs.mkdtempSync(path.join(os.tmpdir(), 'mirrord-layer-'));
  fs.chmodSync(work, 0o755);
  folder = path.join(work, 'target');
  fs.mkdirSync(folder);
  fs.writeFileSync(path.join(folder, 'plain'), 'from the target\n');
  names = path.join(work, 'names');
  fs.mkdirSync(path.join(names, 'dir'), { recursive: true });
  fs.mkdirSync(path.join(names, 'many'));
  fs.writeFileSync(path.join(names, 'file'), 'x\n');
  fs.writeFileSync(path.join(names, 'dir/in'), 'in\n');
  const links = { 'dir/up': '..', link: 'file', loop: 'loop', away: '/usr/bin', dangling: 'nowhere' };
  for (const [name, to] of Object.entries(links)) fs.symlinkSync(to, path.join(names, name));
  compile('bypass-use', 'use', 'gcc');
  compile('bypass-use', 'use-static', 'gcc', '-static');
  compile('bypass-use', 'use-musl', 'musl-gcc');
  compile('bypass-use', 'use-sanitized', 'gcc', '-fsanitize=address');
});

afterAll(() => {
  fs.rmSync(work, { recursive: true, force: true });
});

function run(command: readonly string[], options: Partial<PeerOptions> = {}): Promise<Ended> {
  return new Peer(command, { folder, ...options }).ended;
}

/** What the programs say: whether 500 stats of the path made the thread wait as often. */
function use(name: string, ...words: string[]): string[] {
  return [path.join(work, name), ...words];
}

describe('the functions it stands in front of', () => {
  it.each([
    ['glibc', 'gcc', []],
    ['glibc, fortified', 'gcc', ['-D_FORTIFY_SOURCE=2']],
    ['glibc, without a version of stat', 'gcc', ['-D_FILE_OFFSET_BITS=64']],
    ['musl', 'musl-gcc', []],
  ])('say what those of %s say', async (_, compiler, flags) => {
    const binary = compile('bypass-calls', 'calls', compiler, ...flags);
    // The folder's own time changes with each run.
    const cleaned = (text: string) => text.replace(/^( {2}\d+ 4\d+ \d+) \d+$/gm, '$1');
    const here = (variables: Record<string, string>) =>
      spawnSync(binary, { cwd: names, env: { LC_ALL: 'C', ...variables }, encoding: 'utf8', maxBuffer: 1 << 24 });
    const native = here({});
    const alone = here({ LD_PRELOAD: LIBRARY });
    const whole = await run([binary], { cwd: names });
    expect(native).toMatchObject({ status: 0, stderr: '' });
    expect(native.stdout.length).toBeGreaterThan(50_000);
    expect({ code: alone.status, said: cleaned(alone.stdout) }).toEqual({ code: 0, said: cleaned(native.stdout) });
    expect({ code: whole.code, said: cleaned(whole.stdout) }).toEqual({ code: 0, said: cleaned(native.stdout) });
  });

  it.each(['use', 'use-musl'])('are points where a thread is cancelled (%s)', async (name) => {
    const fifo = path.join(work, `fifo-${name}`);
    execFileSync('mkfifo', [fifo]);
    expect(await run(use(name, 'cancel', fifo))).toMatchObject({ code: 0, stdout: 'cancelled\n', stderr: '' });
  });
});

describe('a call', () => {
  it('that stays here does not trap, one that does not does', async () => {
    const ended = await run(use('use', 'traps', '/usr/bin', 'relative', '/remote/plain', '/missing'));
    const said = ['/usr/bin passes', 'relative passes', '/remote/plain traps', '/missing passes', ''];
    expect(ended).toMatchObject({ code: 0, stderr: '', stdout: said.join('\n') });
  });

  it('of a musl program too', async () => {
    const ended = await run(use('use-musl', 'traps', '/usr/bin', '/remote/plain'));
    expect(ended.stdout).toBe('/usr/bin passes\n/remote/plain traps\n');
  });

  it('of a static program traps, and is answered', async () => {
    const ended = await run(use('use-static', 'traps', '/usr/bin', '/remote/plain'));
    expect(ended).toMatchObject({ code: 0, stdout: '/usr/bin traps\n/remote/plain traps\n' });
  });

  it('is made where the working directory is, whoever changes it', async () => {
    expect(await run(use('use', 'wander'))).toMatchObject({ code: 0, stdout: '0 wrong\n', stderr: '' });
  });

  it('is made below the directory that is named', async () => {
    for (const variables of [{}, { MIRRORD_LAYER_FUSE: 'off' }]) {
      const ended = await run(use('use', 'descend'), { variables });
      expect(ended).toMatchObject({ code: 0, stdout: '0 -1 16 0 16 from the target\n' });
    }
  });

  it('traps again when it is switched off', async () => {
    const script = `'${path.join(work, 'use')}' traps /usr/bin; env`;
    const ended = await run(['sh', '-c', script], { variables: OFF });
    expect(ended).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\/usr\/bin traps\n/) });
    expect(ended.stdout).not.toContain('LD_PRELOAD');
    expect(ended.stdout).not.toContain('MIRRORD_LAYER_BYPASS');
  });
});

describe('the library', () => {
  it('comes after those that the user has preloaded, and reaches children', async () => {
    const own = path.join(work, 'own.so');
    fs.writeFileSync(`${own}.c`, 'int access(const char *p, int m) { (void)p; (void)m; return 0; }');
    execFileSync('gcc', ['-shared', '-fPIC', '-o', own, `${own}.c`]);
    const script = `import os, subprocess; print(os.access("/not/there", os.R_OK), flush=True); subprocess.run(["${path.join(work, 'use')}", "traps", "/usr/bin"]); print(os.environ["LD_PRELOAD"])`;
    const ended = await run(['python3', '-c', script], { variables: { LD_PRELOAD: own } });
    expect(ended).toMatchObject({ stderr: '', stdout: `True\n/usr/bin passes\n${own}:${LIBRARY}\n` });
  });

  it('is missed by nobody: children with an empty environment are served', async () => {
    const binary = path.join(work, 'use');
    const ended = await run(['sh', '-c', `env -i ${binary} traps /usr/bin; env -i /bin/cat /remote/plain`]);
    expect(ended).toMatchObject({ code: 0, stderr: '', stdout: '/usr/bin traps\nfrom the target\n' });
  });

  it('lets programs start that were built with a sanitizer', async () => {
    const ended = await run(use('use-sanitized', 'traps', '/usr/bin', '/remote/plain'));
    expect(ended).toMatchObject({ code: 0, stderr: '', stdout: '/usr/bin passes\n/remote/plain traps\n' });
  });

  it('is found by a process that may not read the folder it is in, and after a change of root', async () => {
    const closed = path.join(work, 'closed');
    fs.mkdirSync(closed, { mode: 0o700 });
    for (const file of [SUPERVISOR, LIBRARY]) fs.copyFileSync(file, path.join(closed, path.basename(file)));
    const prefix = ['bash', '-c', `exec ${closed}/mirrord-supervisor "\${@:1}"`];
    const other = ['setpriv', '--reuid', '65534', '--clear-groups', ...use('use', 'traps', '/usr/bin')];
    expect(await run(other, { prefix })).toMatchObject({ code: 0, stderr: '', stdout: '/usr/bin passes\n' });
    const root = path.join(work, 'root');
    const needed = execFileSync('ldd', use('use'), { encoding: 'utf8' }).match(/\/\S+/g) ?? [];
    for (const file of needed) {
      fs.mkdirSync(path.dirname(root + file), { recursive: true });
      fs.copyFileSync(file, root + file);
    }
    fs.copyFileSync(path.join(work, 'use'), path.join(root, 'use'));
    const rooted = await run(['chroot', root, '/use', 'traps', '/', '/remote/plain']);
    expect(rooted).toMatchObject({ code: 0, stderr: '', stdout: '/ passes\n/remote/plain traps\n' });
  });

  it('is silent when the supervisor was killed: what starts then traps', async () => {
    const script = `while read -r x < /remote/plain; do :; done 2>/dev/null; ${path.join(work, 'use')} traps /usr/bin`;
    const peer = new Peer(['bash', '-c', script], { folder });
    const app = await peer.started;
    process.kill(Number(fs.readFileSync(`/proc/${app}/stat`, 'latin1').split(') ')[1]?.split(' ')[1]), 'SIGKILL');
    expect(await peer.ended).toMatchObject({ code: 0, stderr: '', stdout: '/usr/bin traps\n' });
  });

  it('does not believe a file, and is not written to', async () => {
    const script = [
      'import os, mmap',
      'fd = os.open("/.mirrord/bypass/1", os.O_RDWR)',
      'def fails(what):',
      '  try: what(); return False',
      '  except (OSError, ValueError): return True',
      'print(fails(lambda: os.write(fd, b"x")), fails(lambda: os.pwrite(fd, b"x", 0)), fails(lambda: os.ftruncate(fd, 0)))',
      'print(fails(lambda: mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_WRITE)))',
      'print(fails(lambda: os.write(os.open(f"/proc/self/fd/{fd}", os.O_RDWR), b"x")))',
    ];
    const ended = await run(['env', '-i', 'python3', '-c', script.join('\n')]);
    expect(ended).toMatchObject({ stderr: '', stdout: 'True True True\nTrue\nTrue\n' });
    const off = await run(['cat', '/.mirrord/bypass/1'], { variables: OFF });
    expect(off).toMatchObject({ code: 1, stderr: expect.stringContaining('No such file') });
  });
});
