// Sockets that listen, under the supervisor: where they are bound, what they are told, and when they are over.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type InternetAddress, internet } from '#proto/socket-address.ts';
import { InPeer, type InPeerOptions, readAll } from './in-peer.ts';
import { until, Workshop, workerOf } from './net-run.ts';

let shop: Workshop;
const peers: InPeer[] = [];
const servers: Server[] = [];
beforeAll(() => {
  shop = new Workshop();
});
afterEach(() => {
  for (const peer of peers.splice(0)) peer.hangUp();
  for (const server of servers.splice(0)) server.close();
});
afterAll(() => shop.clean());

function run(command: readonly string[], options: InPeerOptions = {}): InPeer {
  const peer = new InPeer(command, options);
  peers.push(peer);
  return peer;
}

const python = (source: string, options?: InPeerOptions) => run(['python3', '-uc', source], options);
const UNPRIVILEGED = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'];

/** A port of this machine that somebody outside of the session listens on. */
async function takenPort(): Promise<number> {
  const server = createServer();
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve));
  return (server.address() as { port: number }).port;
}

/** Beyond the ports that the kernel gives to whoever asks for any. */
let nextPort = 61_000 + ((process.pid * 13) % 4_000);
async function freePort(): Promise<number> {
  const probe = createServer();
  const port = nextPort++;
  const isFree = await new Promise((resolve) => {
    probe.once('error', () => resolve(false));
    probe.listen(port, '0.0.0.0', () => resolve(true));
  });
  await new Promise((resolve) => probe.close(resolve));
  return isFree ? port : freePort();
}

const PRELUDE = 'import socket,os,sys,errno,time,signal\n';

describe('where a socket is bound', () => {
  it('is where it asked, when that can be had', async () => {
    const port = await freePort();
    const peer = python(
      `${PRELUDE}s=socket.create_server(('127.0.0.1',${port})); print(s.getsockname()); sys.stdin.read()`,
    );
    const listen = await peer.listener(port);
    expect(listen.actual).toEqual(internet(Buffer.from([127, 0, 0, 1]), port));
    peer.child.stdin?.end();
    expect((await peer.ended).stdout).toBe(`('127.0.0.1', ${port})\n`);
    expect(peer.binds).toEqual([`127.0.0.1:${port}`]);
  });

  it('is nearby for a port below 1024 without root, and the process does not notice', async () => {
    const source = `${PRELUDE}
for family, at in ((socket.AF_INET, ('0.0.0.0', 80)), (socket.AF_INET6, ('::', 81)), (socket.AF_INET, ('127.0.0.1', 82))):
    s = socket.socket(family); s.bind(at); s.listen(); print(s.getsockname()[:2]); globals()['keep%d' % at[1]] = s
sys.stdin.read()`;
    const peer = python(source, { prefix: UNPRIVILEGED });
    const ports = await Promise.all([80, 81, 82].map((port) => peer.listener(port)));
    for (const { actual } of ports) expect((actual as InternetAddress).port).toBeGreaterThan(1023);
    peer.child.stdin?.end();
    expect((await peer.ended).stdout).toBe("('0.0.0.0', 80)\n('::', 81)\n('127.0.0.1', 82)\n");
  });

  it('is nearby when another program has the port, or the address is none of this machine', async () => {
    const [port, other] = [await takenPort(), await freePort()];
    const peer = python(`${PRELUDE}
a = socket.create_server(('', ${port})); b = socket.create_server(('10.99.99.99', ${other}))
print(a.getsockname(), b.getsockname()); sys.stdin.read()`);
    await peer.until(() => peer.listening.size === 2, 'two listeners');
    const actual = [...peer.listening.values()].map((listen) => listen.actual as InternetAddress);
    expect(actual.map(({ ip }) => ip.join('.'))).toEqual(['0.0.0.0', '127.0.0.1']);
    expect([actual[0]?.port !== port, actual[1]?.port]).toEqual([true, other]);
    peer.child.stdin?.end();
    expect((await peer.ended).stdout).toBe(`('0.0.0.0', ${port}) ('10.99.99.99', ${other})\n`);
  });

  it('is refused when the session itself has it, moved or not, and free again after close', async () => {
    const port = await takenPort();
    const peer = python(`${PRELUDE}
def attempt():
    try: s = socket.create_server(('', ${port})); return s
    except OSError as e: print(errno.errorcode[e.errno])
a = attempt(); b = attempt()
c = socket.socket(); c.bind(('127.0.0.1', 0)); c.listen(); p = c.getsockname()[1]
try: d = socket.create_server(('127.0.0.1', p)); print('moved', d.getsockname()[1] == p)
except OSError as e: print(errno.errorcode[e.errno])
a.close(); a = attempt(); print(a.getsockname()[1] == ${port})`);
    expect(await peer.ended).toMatchObject({ code: 0, stdout: 'EADDRINUSE\nmoved True\nTrue\n' });
  });

  it('is free for the other family, as on any machine, whether it was moved or not', async () => {
    const [free, taken] = [await freePort(), await takenPort()];
    const peer = python(`${PRELUDE}
keep = []
def attempt(family, port, only=None, shared=False, at=None):
    s = socket.socket(family); keep.append(s)
    if shared: s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if only is not None: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
    try: s.bind((at or ('::' if family == V6 else '0.0.0.0'), port)); s.listen(); return s.getsockname()[1] == port
    except OSError as e: return errno.errorcode[e.errno]
V4, V6 = socket.AF_INET, socket.AF_INET6
def close():
    for s in keep: s.close()
    keep.clear()
for port in (${free}, ${taken}):
    print(attempt(V4, port), attempt(V6, port, 1)); close()
    print(attempt(V6, port, 1), attempt(V4, port)); close()
    print(attempt(V4, port), attempt(V6, port, 0)); close()
    print(attempt(V6, port, 0), attempt(V4, port), attempt(V6, port, 1, at='::ffff:127.0.0.1')); close()
    print(attempt(V4, port, shared=True), attempt(V6, port, 1, True), attempt(V4, port, shared=True)); close()
print(attempt(V6, ${free}, 0, True), attempt(V4, ${free}, shared=True))`);
    const once = 'True True\nTrue True\nTrue EADDRINUSE\nTrue EADDRINUSE EINVAL\nTrue True True\n';
    expect(await peer.ended).toMatchObject({ code: 0, stdout: `${once}${once}True True\n` });
  });

  it.each(['tcp', 'udp'])('may be had by whom the kernel lets have it: 80 random orders of %s', async (kind) => {
    const program = ['python3', path.join(import.meta.dirname, '../fixtures/bound_sockets.py')];
    const words = [...program, kind, `${await freePort()}`, '80'];
    const truth = execFileSync(words[0] as string, words.slice(1), { encoding: 'utf8' });
    expect(truth.split('\n').length).toBe(81);
    expect((await run(words).ended).stdout).toBe(truth);
  });

  it('is exactly where the client says, and the errno is the kernel’s when that cannot be had', async () => {
    const [free, taken] = [await freePort(), await takenPort()];
    const peer = python(
      `${PRELUDE}
a = socket.create_server(('0.0.0.0', 7001)); print(a.getsockname()[1])
try: socket.create_server(('0.0.0.0', 7002))
except OSError as e: print(errno.errorcode[e.errno])`,
      {
        onBind: (asked) =>
          internet((asked as InternetAddress).ip, (asked as InternetAddress).port === 7001 ? free : taken),
      },
    );
    expect(await peer.ended).toMatchObject({ code: 0, stdout: '7001\nEADDRINUSE\n' });
  });

  it('is its own business for port 0, for unix sockets, and where the client says so', async () => {
    const port = await freePort();
    const peer = python(
      `${PRELUDE}
a = socket.create_server(('127.0.0.1', 0)); b = socket.create_server(('127.0.0.1', ${port}))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('127.0.0.1', ${port})); x = socket.socket(socket.AF_UNIX); x.bind('\\0in-${port}')
print(b.getsockname()[1], u.getsockname()[1])`,
      { onBind: () => 'own' },
    );
    expect(await peer.ended).toMatchObject({ code: 0, stdout: `${port} ${port}\n` });
    expect([peer.binds, peer.listening.size]).toEqual([[`127.0.0.1:${port}`, `127.0.0.1:${port}`], 0]);
  });
});

describe('listen', () => {
  it('fails as the client says, and the socket no longer listens', async () => {
    const port = await freePort();
    const peer = python(
      `${PRELUDE}
s = socket.socket(); s.bind(('127.0.0.1', ${port}))
try: s.listen()
except OSError as e: print(errno.errorcode[e.errno])
c = socket.socket(); print(errno.errorcode[c.connect_ex(('127.0.0.1', ${port}))])`,
      { onListen: () => -13 },
    );
    expect(await peer.ended).toMatchObject({ code: 0, stdout: 'EACCES\nECONNREFUSED\n' });
  });

  it('is told once, however often it is called', async () => {
    const port = await freePort();
    let told = 0;
    const count = () => {
      told += 1;
      return 0;
    };
    const peer = python(`${PRELUDE}s=socket.create_server(('',${port})); s.listen(1); s.listen(5); print('ok')`, {
      onListen: count,
    });
    expect((await peer.ended).stdout).toBe('ok\n');
    expect(told).toBe(1);
  });
});

describe('the end of a listener', () => {
  it('is its last close, not the first, and not before the child that has it too', async () => {
    const port = await freePort();
    const peer = python(`${PRELUDE}
s = socket.create_server(('', ${port})); d = s.dup(); s.close(); child = os.fork()
if child == 0: sys.stdin.readline(); os._exit(0)
d.close(); print('closed'); os.waitpid(child, 0); print('child'); sys.stdin.read()`);
    const { listener } = await peer.listener(port);
    await peer.until(() => peer.stdout.includes('closed'), 'the first closes');
    expect(peer.closed).toEqual([]);
    peer.child.stdin?.write('go\n');
    await peer.until(() => peer.closed.includes(listener), 'the end of the listener');
    expect(peer.stdout).toContain('closed');
  });

  it('comes when its process is killed', async () => {
    const port = await freePort();
    const peer = python(`${PRELUDE}
child = os.fork()
if child == 0: s = socket.create_server(('', ${port})); s.accept()
sys.stdin.readline(); os.kill(child, signal.SIGKILL); os.waitpid(child, 0); sys.stdin.read()`);
    const { listener } = await peer.listener(port);
    peer.child.stdin?.write('go\n');
    await peer.until(() => peer.closed.includes(listener), 'the end of the listener');
  });

  it('leaves the port to the next one at once, also when it died in accept', async () => {
    const port = await freePort();
    const peer = python(`${PRELUDE}
for i in range(5):
    child = os.fork()
    if child == 0:
        s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(('127.0.0.1', ${port})); s.listen(); os.write(1, b'up\\n'); s.accept(); os._exit(0)
    sys.stdin.readline(); os.kill(child, signal.SIGKILL); os.waitpid(child, 0)
print('done')`);
    for (let nth = 1; nth <= 5; nth++) {
      await peer.until(() => peer.stdout.split('up').length > nth, `listener ${nth}`);
      peer.child.stdin?.write('go\n');
    }
    expect((await peer.ended).stdout).toBe('up\nup\nup\nup\nup\ndone\n');
    for (const { actual } of peer.listening.values()) expect((actual as InternetAddress).port).toBe(port);
  });
});

describe('without the feature, or without a client', () => {
  it('a program whose client is gone binds, listens and accepts on its own', async () => {
    const port = await freePort();
    const peer = python(`${PRELUDE}
s = socket.create_server(('127.0.0.1', ${port})); print('up'); sys.stdin.readline()
c = socket.create_connection(('127.0.0.1', ${port})); a, p = s.accept(); print(p == c.getsockname())
t = socket.socket(); t.bind(('127.0.0.1', 0)); t.listen(); print('still')`);
    await peer.until(() => peer.stdout.includes('up'), 'the listener');
    peer.write([Buffer.alloc(64, 0xff)]);
    peer.child.stdin?.write('go\n');
    expect((await peer.ended).stdout).toBe('up\nTrue\nstill\n');
  });

  it('a call that waits in accept goes on when the supervisor’s worker is killed', async () => {
    const port = await freePort();
    const peer = python(`${PRELUDE}
s = socket.create_server(('127.0.0.1', ${port}))
print(os.getpid())
a, p = s.accept(); print(p[0]); print(s.getsockname()[1] == ${port})`);
    await peer.listener(port);
    await peer.until(() => peer.stdout.endsWith('\n'), 'the process');
    const pid = Number(peer.stdout);
    const ACCEPT4 = '288 ';
    await until(() => readFileSync(`/proc/${pid}/syscall`, 'latin1').startsWith(ACCEPT4), 'the call');
    process.kill(workerOf(pid), 'SIGKILL');
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => undefined);
    expect((await peer.ended).stdout).toMatch(/\n127\.0\.0\.1\nTrue\n$/);
  });

  it('a call that waits in accept goes on when the client goes', async () => {
    const binary = shop.compile(
      'accepts',
      `#include <stdio.h>
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>
int main(int argc, char **argv) { (void)argc;
 struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(0x7f000001)}, p;
 socklen_t n = sizeof(p); int s = socket(AF_INET, SOCK_STREAM, 0), on = 1;
 setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
 if (bind(s, (void *)&a, sizeof(a)) || listen(s, 5)) return 1;
 int c = accept(s, (void *)&p, &n); printf("%d %s\\n", c > 0, inet_ntoa(p.sin_addr)); return 0; }`,
    );
    const port = await freePort();
    const peer = run([binary, String(port)]);
    await peer.listener(port);
    peer.write([Buffer.alloc(64, 0xff)]);
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => undefined);
    expect(await peer.ended).toMatchObject({ code: 0, stdout: '1 127.0.0.1\n' });
    await readAll(socket).catch(() => '');
  });
});
