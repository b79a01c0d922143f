// Calls that are interrupted, abandoned or stopped, and the ends of those who should have answered them.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WireKind } from '#proto/wire.ts';
import { canRun } from '../can.ts';
import { Peer, type PeerOptions } from './peer.ts';

let work: string;
let folder: string;

beforeAll(() => {
  work = fs.mkdtempSync(path.join(os.tmpdir(), 'mirrord-layer-'));
  folder = path.join(work, 'target');
  fs.mkdirSync(folder);
  fs.writeFileSync(path.join(folder, 'plain'), 'from the target\n');
  fs.writeFileSync(path.join(folder, 'large'), Buffer.alloc(8 << 20, 'x'));
});

afterAll(() => {
  fs.rmSync(work, { recursive: true, force: true });
});

function start(command: readonly string[], options: Partial<PeerOptions> = {}): Peer {
  return new Peer(command, { folder, ...options });
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 15_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error('waited 15 s in vain');
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function parentOf(pid: number): number {
  return Number(fs.readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ')[1]);
}

const FOREVER = ['bash', '-c', 'cat /remote/large & exec sleep 1000'];

async function killTheOneWhoAsks(peer: Peer): Promise<void> {
  await until(() => peer.count(WireKind.OPEN) === 1);
  const open = peer.asked.find((request) => request.kind === WireKind.OPEN);
  if (open?.kind === WireKind.OPEN) process.kill(open.pid, 'SIGKILL');
}

describe('a request that nobody waits for', () => {
  it('is cancelled when its process is dead', async () => {
    const peer = start(FOREVER, { delayMs: 60_000 });
    await killTheOneWhoAsks(peer);
    await until(() => peer.cancelled.length === 1);
    process.kill(await peer.started, 'SIGKILL');
    await peer.ended;
  });

  it('gives its handle back though no other call comes', async () => {
    const peer = start(FOREVER, { delayMs: 1000 });
    await killTheOneWhoAsks(peer);
    await until(() => peer.openHandles === 1);
    await until(() => peer.openHandles === 0);
    process.kill(await peer.started, 'SIGKILL');
    await peer.ended;
  });
});

describe('descriptors of a killed worker', () => {
  const READER =
    'import os,sys\nf=os.open("/remote/large",os.O_RDONLY)\nos.read(f,10);print("open",flush=True)\nsys.stdin.read(1)\ntry:\n while os.read(f,1<<20): pass\n print("end")\nexcept OSError as e: print(e.errno)\nprint(open("/etc/passwd").readline()!="")';

  it('give an error at once, and the program goes on', async () => {
    const go = path.join(work, 'go');
    execFileSync('mkfifo', [go]);
    const peer = start(['bash', '-c', `exec python3 -c '${READER}' < ${go}`], { inlineBytes: 0 });
    const pipe = fs.openSync(go, fs.constants.O_RDWR);
    await until(() => peer.stdout.includes('open'));
    process.kill(parentOf(await peer.started), 'SIGKILL');
    fs.writeSync(pipe, '!');
    const ended = await peer.ended;
    fs.closeSync(pipe);
    expect(ended.stdout).toMatch(/^open\n(5|103|107)\nTrue\n$/);
  });
});

describe('a terminal', () => {
  it('has job control: a stopped job reads the target when it goes on', async () => {
    // Every word that is typed waits for what was to be seen first; the quotes keep the echo from looking like it.
    const talk = [
      'import os, pty, re, sys',
      'pid, fd = pty.fork()',
      'if not pid: os.execvp("bash", ["bash", "--norc", "-i"])',
      'seen = b""',
      'def expect(what):',
      '  global seen',
      '  while not re.search(what, seen):',
      '    seen += os.read(fd, 4096)',
      '  seen = seen[re.search(what, seen).end():]',
      'def say(text): os.write(fd, text)',
      'say(b"PS1=; echo rea\\"\\"dy\\n"); expect(rb"\\nready")',
      'say(b"sh -c \'echo run\\"\\"ning; read x; cat /remote/plain\'\\n"); expect(rb"\\nrunning")',
      'say(b"\\x1a"); expect(rb"Stopped")',
      'say(b"jobs; echo jo\\"\\"bs\\n"); expect(rb"Stopped.*\\n(.*\\n)*jobs")',
      'say(b"fg\\n"); expect(rb"read x"); say(b"\\n"); expect(rb"from the target")',
      'say(b"sh -c \'echo sle\\"\\"eps; exec sleep 100\'\\n"); expect(rb"\\nsleeps"); say(b"echo st=$?\\n"); say(b"\\x03"); expect(rb"\\^C"); say(b"echo af\\"\\"ter\\n"); expect(rb"after")',
      'say(b"exit 5\\n")',
      'while True:',
      '  try:',
      '    if not os.read(fd, 4096): break',
      '  except OSError: break',
      'print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))',
    ];
    const ended = await start(['python3', '-c', talk.join('\n')]).ended;
    expect(ended).toMatchObject({ code: 0, stdout: '5\n', stderr: '' });
  });
});

const go = canRun('go');

describe.skipIf(!go.yes)(`a Go program (${go.why})`, () => {
  it('that is preempted all the time reads files that are 50 ms away', async () => {
    const source = path.join(work, 'main.go');
    fs.writeFileSync(
      source,
      `package main

import (
	"fmt"
	"os"
	"sync"
)

func main() {
	var group sync.WaitGroup
	bad := 0
	var lock sync.Mutex
	done := make(chan bool)
	for i := 0; i < 4; i++ {
		go func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
			}
		}()
	}
	for i := 0; i < 8; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for j := 0; j < 3; j++ {
				text, err := os.ReadFile("/remote/plain")
				if err != nil || string(text) != "from the target\\n" {
					lock.Lock()
					bad++
					lock.Unlock()
				}
			}
		}()
	}
	group.Wait()
	close(done)
	fmt.Println("bad", bad)
}
`,
    );
    const variables = { HOME: work, GOCACHE: path.join(work, 'cache'), PATH: process.env['PATH'] ?? '' };
    execFileSync('go', ['build', '-o', path.join(work, 'preempted'), source], { env: variables, stdio: 'pipe' });
    const ended = await start([path.join(work, 'preempted')], { delayMs: 50 }).ended;
    expect(ended).toMatchObject({ code: 0, stdout: 'bad 0\n' });
  }, 60_000);
});
