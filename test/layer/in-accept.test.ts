// Connections that arrive, under the supervisor: programs of every kind accept them and see who is at the other end.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { connect } from 'node:net';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { InternetAddress } from '#proto/socket-address.ts';
import { InPeer, type InPeerOptions, readAll } from './in-peer.ts';
import { Workshop } from './net-run.ts';

const GOCACHE = new URL('../../build/go', import.meta.url).pathname;

let shop: Workshop;
const peers: InPeer[] = [];
beforeAll(() => {
  shop = new Workshop();
});
afterEach(() => {
  for (const peer of peers.splice(0)) peer.hangUp();
});
afterAll(() => shop.clean());

/** As nobody, so that ports below 1024 are moved: every test has its own, and none is really taken. */
function run(command: readonly string[], options: InPeerOptions = {}): InPeer {
  const prefix = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'];
  const peer = new InPeer(command, { prefix, ...options });
  peers.push(peer);
  return peer;
}

const python = (source: string, options?: InPeerOptions) => run(['python3', '-uc', source], options);
const PRELUDE = 'import socket,os,sys,errno,time,signal,select,threading\n';

describe('accept', () => {
  it('waits, tells the true peer, and the names agree with it', async () => {
    const peer = python(`${PRELUDE}
s = socket.socket(); s.bind(('0.0.0.0', 80)); s.listen()
for i in range(3):
    c, who = s.accept(); print(who, c.getpeername(), c.getsockname(), c.dup().getpeername()); c.sendall(c.recv(9)); c.close()`);
    const listen = await peer.listener(80);
    for (const who of ['10.9.9.9 4000', '10.9.9.8 4001', '192.0.2.7 65535']) {
      const socket = await peer.connect(listen, who);
      socket.end('hello');
      expect(await readAll(socket)).toBe('hello');
    }
    const { stdout } = await peer.ended;
    const line = (ip: string, port: number) =>
      `('${ip}', ${port}) ('${ip}', ${port}) ('10.1.2.4', 80) ('${ip}', ${port})\n`;
    expect(stdout).toBe(line('10.9.9.9', 4000) + line('10.9.9.8', 4001) + line('192.0.2.7', 65_535));
  });

  it('does not wait on a socket that must not, and tells of local connections what is true', async () => {
    const peer = python(`${PRELUDE}
s = socket.socket(); s.setblocking(False); s.bind(('127.0.0.1', 80)); s.listen()
try: s.accept()
except BlockingIOError: print('EAGAIN')
select.select([s], [], []); c, who = s.accept(); print(who, c.getblocking())
sys.stdin.readline(); select.select([s], [], []); c, who = s.accept(); print(who == c.getpeername(), who[0])`);
    const listen = await peer.listener(80);
    await peer.until(() => peer.stdout.includes('EAGAIN'), 'the accept of nothing');
    await peer.connect(listen, '10.9.9.9 4000');
    await peer.until(() => peer.stdout.includes('10.9.9.9'), 'the first');
    connect((listen.actual as InternetAddress).port, '127.0.0.1').on('error', () => undefined);
    peer.child.stdin?.write('go\n');
    expect((await peer.ended).stdout).toBe("EAGAIN\n('10.9.9.9', 4000) True\nTrue 127.0.0.1\n");
  });

  it('is interrupted by a signal, and by its own time limit', async () => {
    const binary = shop.compile(
      'signals',
      `#include <stdio.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/time.h>
static void on(int s) { (void)s; write(1, "handler\\n", 8); }
int main(void) {
 struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(80)}, p; socklen_t n = sizeof(p);
 struct sigaction act = {.sa_handler = on}; struct timeval limit = {0, 200000}; int s = socket(AF_INET, SOCK_STREAM, 0), c;
 sigaction(SIGALRM, &act, NULL); setvbuf(stdout, NULL, _IONBF, 0);
 if (bind(s, (void *)&a, sizeof(a)) || listen(s, 5)) return 1;
 alarm(1); c = accept(s, (void *)&p, &n); printf("%d %s\\n", c, strerror(errno));
 act.sa_flags = SA_RESTART; sigaction(SIGALRM, &act, NULL);
 alarm(1); n = sizeof(p); c = accept4(s, (void *)&p, &n, SOCK_CLOEXEC); printf("%d %s\\n", c > 0, inet_ntoa(p.sin_addr));
 setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
 c = accept(s, (void *)&p, &n); printf("%d %s\\n", c, strerror(errno)); return 0; }`,
    );
    fs.chmodSync(shop.folder, 0o755);
    const peer = run([binary]);
    const listen = await peer.listener(80);
    await peer.until(() => peer.stdout.split('handler').length === 3, 'both signals');
    await peer.connect(listen, '10.9.9.9 4000');
    expect(await peer.ended).toMatchObject({
      code: 0,
      stdout: 'handler\n-1 Interrupted system call\nhandler\n1 10.9.9.9\n-1 Resource temporarily unavailable\n',
    });
  });

  it('of an address that is too short, or of none, is as the kernel’s', async () => {
    const binary = shop.compile(
      'short',
      `#include <stdio.h>
#include <errno.h>
#include <string.h>
#include <arpa/inet.h>
#include <sys/socket.h>
int main(void) {
 struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(80)}, p = {0}; socklen_t n = 4; int s = socket(AF_INET, SOCK_STREAM, 0), c;
 if (bind(s, (void *)&a, sizeof(a)) || listen(s, 5)) return 1;
 c = accept(s, (void *)&p, &n); printf("%d %u %d %s\\n", c > 0, n, ntohs(p.sin_port), inet_ntoa(p.sin_addr));
 c = accept(s, NULL, NULL); n = sizeof(p); getpeername(c, (void *)&p, &n); printf("%d %s\\n", c > 0, inet_ntoa(p.sin_addr));
 n = -1; c = accept(s, (void *)&p, &n); printf("%d %s\\n", c, strerror(errno)); return 0; }`,
    );
    fs.chmodSync(shop.folder, 0o755);
    const peer = run([binary]);
    const listen = await peer.listener(80);
    for (let nth = 0; nth < 3; nth++) await peer.connect(listen, '10.9.9.9 4000');
    expect((await peer.ended).stdout).toBe('1 16 4000 0.0.0.0\n1 10.9.9.9\n-1 Invalid argument\n');
  });

  it('in IPv6: dual stack shows IPv4 as mapped, v6-only shows IPv6', async () => {
    const peer = python(`${PRELUDE}
a = socket.socket(socket.AF_INET6); a.bind(('::', 80)); a.listen()
b = socket.socket(socket.AF_INET6); b.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1); b.bind(('::1', 81)); b.listen()
for s in (a, a, b): c, who = s.accept(); print(who[:2], c.getpeername()[:2], c.getsockname()[:2])`);
    const [dual, only] = [await peer.listener(80), await peer.listener(81)];
    await peer.connect(dual, '10.9.9.9 4000');
    await peer.until(() => peer.stdout.includes('4000'), 'the first');
    await peer.connect(dual, 'fd00::9 4001', 'fd00::4 80');
    await peer.connect(only, 'fd00::8 4002', 'fd00::4 81');
    const { stdout } = await peer.ended;
    expect(stdout.split('\n').slice(0, 3)).toEqual([
      "('::ffff:10.9.9.9', 4000) ('::ffff:10.9.9.9', 4000) ('::ffff:10.1.2.4', 80)",
      "('fd00::9', 4001) ('fd00::9', 4001) ('fd00::4', 80)",
      "('fd00::8', 4002) ('fd00::8', 4002) ('fd00::4', 81)",
    ]);
  });

  it('of many threads and of processes that share the socket: each connection comes once', async () => {
    const peer = python(`${PRELUDE}
s = socket.socket(); s.bind(('0.0.0.0', 80)); s.listen(200); lock = threading.Lock()
def work():
    while True:
        c, who = s.accept(); os.write(1, b'%d\\n' % who[1]); c.close()
os.fork()
for i in range(4): threading.Thread(target=work, daemon=True).start()
sys.stdin.read(); os._exit(0)`);
    const listen = await peer.listener(80);
    const sockets = Array.from({ length: 100 }, (_, nth) => peer.connect(listen, `10.9.9.9 ${5000 + nth}`));
    for (const socket of sockets) (await socket).resume();
    await peer.until(() => peer.stdout.split('\n').length === 101, 'all connections');
    const seen = peer.stdout.trim().split('\n').map(Number);
    expect(seen.sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, nth) => 5000 + nth));
  });
});

describe('programs', () => {
  it('node: http, its cluster, and the addresses it shows', async () => {
    const source = `
const cluster = require('node:cluster'), http = require('node:http');
if (cluster.isPrimary) { for (let i = 0; i < 2; i++) cluster.fork(); process.stdin.resume().on('end', () => process.exit(0)); }
else http.createServer((q, s) => { const k = q.socket; s.end([k.remoteAddress, k.remotePort, k.localAddress, k.localPort].join(' ')); })
  .listen(80, function () { console.log('up', this.address().port); });`;
    fs.writeFileSync(path.join(shop.folder, 'cluster.cjs'), source);
    fs.chmodSync(shop.folder, 0o755);
    const peer = run(['node', path.join(shop.folder, 'cluster.cjs')]);
    const listen = await peer.listener(80);
    await peer.until(() => peer.stdout === 'up 80\nup 80\n', 'both workers');
    for (let nth = 0; nth < 4; nth++) {
      const socket = await peer.connect(listen, `10.9.9.9 ${4000 + nth}`);
      socket.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
      expect(await readAll(socket)).toContain(`::ffff:10.9.9.9 ${4000 + nth} ::ffff:10.1.2.4 80`);
    }
    expect(peer.listening.size).toBe(1);
  });

  it('python: http.server, and workers that share a port by SO_REUSEPORT', async () => {
    const server = run(['python3', '-u', '-m', 'http.server', '80']);
    const socket = await server.connect(await server.listener(80), '10.9.9.9 4000');
    socket.write('GET /none HTTP/1.0\r\n\r\n');
    expect(await readAll(socket)).toContain('404');
    const peer = python(`${PRELUDE}
for i in range(3):
    if os.fork() == 0: break
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1); s.bind(('0.0.0.0', 80)); s.listen()
print('up')
while True: c, who = s.accept(); os.write(1, b'from %d\\n' % who[1]); c.close()`);
    await peer.until(() => peer.listening.size === 4, 'four listeners');
    const listeners = [...peer.listening.values()];
    expect(new Set(listeners.map(({ actual }) => (actual as InternetAddress).port)).size).toBe(1);
    for (let nth = 0; nth < 20; nth++) await peer.connect(listeners[0] as (typeof listeners)[0], `10.9.9.9 ${nth + 1}`);
    await peer.until(() => peer.stdout.split('from').length === 21, 'every connection');
  });

  it('a socket that listens survives exec', async () => {
    const peer = python(`${PRELUDE}
s = socket.socket(); s.bind(('0.0.0.0', 80)); s.listen(); os.set_inheritable(s.fileno(), True)
os.execvp('python3', ['python3', '-uc', 'import socket,sys; s = socket.socket(fileno=int(sys.argv[1])); c, who = s.accept(); print(s.getsockname(), who)', str(s.fileno())])`);
    await peer.connect(await peer.listener(80), '10.9.9.9 4000');
    expect((await peer.ended).stdout).toBe("('0.0.0.0', 80) ('10.9.9.9', 4000)\n");
  });

  it('a pure Go server', async () => {
    fs.writeFileSync(
      path.join(shop.folder, 'main.go'),
      `package main
import ("fmt"; "net")
func main() {
	l, err := net.Listen("tcp", ":80"); if err != nil { panic(err) }
	fmt.Println(l.Addr())
	c, err := l.Accept(); if err != nil { panic(err) }
	fmt.Fprint(c, c.RemoteAddr(), " ", c.LocalAddr()); c.Close()
}
`,
    );
    execFileSync('go', ['build', '-o', 'go-server', 'main.go'], {
      cwd: shop.folder,
      env: { ...process.env, CGO_ENABLED: '0', GO111MODULE: 'off', GOCACHE },
      stdio: 'pipe',
    });
    fs.chmodSync(shop.folder, 0o755);
    const peer = run([path.join(shop.folder, 'go-server')]);
    const socket = await peer.connect(await peer.listener(80), '10.9.9.9 4000');
    expect(await readAll(socket)).toBe('10.9.9.9:4000 10.1.2.4:80');
    expect(peer.stdout).toBe('[::]:80\n');
  }, 120_000);

  it('java: a socket that blocks, and its close from another thread', async () => {
    const source = path.join(shop.folder, 'Accepts.java');
    fs.writeFileSync(
      source,
      `import java.net.*;
public class Accepts { public static void main(String[] a) throws Exception {
  ServerSocket s = new ServerSocket(80); System.out.println(s.getLocalPort());
  Socket c = s.accept(); System.out.println(c.getRemoteSocketAddress() + " " + c.getLocalAddress());
  Thread main = Thread.currentThread();
  new Thread(() -> { try { while (!waits(main)) Thread.onSpinWait(); s.close(); } catch (Exception e) { } }).start();
  try { s.accept(); } catch (SocketException e) { System.out.println("closed"); } }
static boolean waits(Thread main) { StackTraceElement[] at = main.getStackTrace(); return at.length > 0 && at[0].isNativeMethod()
  && java.util.Arrays.stream(at).anyMatch(e -> e.getMethodName().equals("accept")); } }`,
    );
    fs.chmodSync(shop.folder, 0o755);
    const peer = run(['java', '-Xshare:auto', '-XX:TieredStopAtLevel=1', source]);
    await peer.connect(await peer.listener(80), '10.9.9.9 4000');
    expect(await peer.ended).toMatchObject({ code: 0, stdout: '80\n/10.9.9.9:4000 /10.1.2.4\nclosed\n' });
  }, 60_000);
});
