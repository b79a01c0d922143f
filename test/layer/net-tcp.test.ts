// Streams through the supervisor with real sockets; net-peer.ts plays the client and the target.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WireKind } from '#proto/wire.ts';
import { descriptorsOf, until, Workshop, workerOf } from './net-run.ts';

let shop: Workshop;
beforeAll(() => {
  shop = new Workshop();
});
afterAll(() => shop.clean());

const PRELUDE = `
import errno, os, select, socket, struct, sys, time
def dial(port, host='10.9.9.9'):
    return socket.create_connection((host, port))
def begin(port, host='10.9.9.9', family=socket.AF_INET):
    s = socket.socket(family); s.setblocking(False)
    return s, s.connect_ex((host, port))
def outcome(s, how='poll'):
    if how == 'poll':
        p = select.poll(); p.register(s, select.POLLOUT); p.poll(20000)
    elif how == 'epoll':
        p = select.epoll(); p.register(s, select.EPOLLOUT | select.EPOLLET); p.poll(20)
    else:
        select.select([], [s], [s], 20)
    return s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
def everything(s):
    got = b''
    while True:
        piece = s.recv(65536)
        if not piece: return got
        got += piece
`;

describe('a blocking connect', () => {
  it('is held for the dial and then has the addresses of the target', async () => {
    const ended = await shop.python(
      `${PRELUDE}
t = time.monotonic()
s = dial(7)
print(time.monotonic() - t >= 0.1, s.getpeername(), s.getsockname())
s.sendall(b'hello'); print(s.recv(9)); s.shutdown(socket.SHUT_WR); print(s.recv(9))`,
      { dialMs: 100 },
    );
    expect(ended.stdout).toBe("True ('10.9.9.9', 7) ('10.1.2.3', 40000)\nb'hello'\nb''\n");
  });

  it('fails with the errno of the target', async () => {
    const ended = await shop.python(`${PRELUDE}
for port in 1001, 1002, 1003, 1004, 1005:
    try: dial(port)
    except OSError as e: print(errno.errorcode[e.errno])`);
    expect(ended.stdout).toBe('ECONNREFUSED\nETIMEDOUT\nEHOSTUNREACH\nENETUNREACH\nEACCES\n');
  });

  it('is not paced by BBR on its way over loopback, and has whatever else was chosen', async () => {
    const ended = await shop.python(`${PRELUDE}
def name(s): return s.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b'\\0').decode()
def chosen(s, wanted):
    try: s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, wanted)
    except OSError: pass
    return name(s)
def after(wanted, how):
    s = socket.socket()
    was = chosen(s, wanted)
    if how == 'held': s.connect(('10.9.9.9', 7))
    else:
        s.setblocking(False); s.connect_ex(('10.9.9.9', 7)); outcome(s)
    return name(s) == ('reno' if was == 'bbr' else was)
print([after(wanted, how) for wanted in (b'bbr', b'reno', b'cubic') for how in ('held', 'begun')])`);
    expect(ended.stdout).toBe('[True, True, True, True, True, True]\n');
  });

  it('is dialled once, however often a signal interrupts it', async () => {
    const binary = shop.compile(
      'interrupted',
      `#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>
static volatile long n;
static void on(int s){(void)s;n++;}
int main(void){struct sigaction a={.sa_handler=on,.sa_flags=SA_RESTART};sigaction(SIGALRM,&a,0);
struct itimerval t={{0,1000},{0,1000}};setitimer(ITIMER_REAL,&t,0);
struct sockaddr_in to={.sin_family=AF_INET,.sin_port=htons(7),.sin_addr.s_addr=inet_addr("10.9.9.9")};
int s=socket(AF_INET,SOCK_STREAM,0);int r=connect(s,(void*)&to,sizeof(to));printf("%d %d\\n",r,n>10);return 0;}`,
    );
    const running = shop.run([binary], { dialMs: 100 });
    expect((await running).stdout).toBe('0 1\n');
    expect(running.peer.count(WireKind.CONNECT)).toBe(1);
  });

  it('is no connect of MPTCP, which there is none of', async () => {
    const ended = await shop.python(`${PRELUDE}
for family in socket.AF_INET, socket.AF_INET6:
    try: socket.socket(family, socket.SOCK_STREAM, 262)
    except OSError as e: print(errno.errorcode[e.errno])
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP); s.connect(('10.9.9.9', 7)); print(s.getpeername())`);
    expect(ended.stdout).toBe("EPROTONOSUPPORT\nEPROTONOSUPPORT\n('10.9.9.9', 7)\n");
  });

  it('works on sockets that are bound to a port, to every address and to one', async () => {
    const ended = await shop.python(`${PRELUDE}
for host in '', '127.0.0.1', '0.0.0.0':
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind((host, 0))
    s.connect(('10.9.9.9', 1012)); print(s.recv(99), s.getpeername())`);
    expect(ended.stdout).toBe("b'welcome\\n' ('10.9.9.9', 1012)\n".repeat(3));
  });

  it('stays on this machine when the client says so', async () => {
    const ended = await shop.python(`${PRELUDE}
l = socket.create_server(('127.0.0.1', 0))
s = dial(l.getsockname()[1], '127.0.0.1'); print(s.getpeername() == l.getsockname())
n, r = begin(l.getsockname()[1], '127.0.0.1'); print(r in (0, errno.EINPROGRESS), outcome(n))`);
    expect(ended.stdout).toBe('True\nTrue 0\n');
  });
});

describe('a non-blocking connect', () => {
  it.each(['poll', 'epoll', 'select'])('is in progress until the dial is over, as %s sees it', async (how) => {
    const ended = await shop.python(
      `${PRELUDE}
for port in 7, 1001, 1002, 1003:
    t = time.monotonic(); s, r = begin(port)
    e = outcome(s, '${how}')
    print(errno.errorcode[r], errno.errorcode.get(e, e), 0.09 < time.monotonic() - t < 20, s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))`,
      { dialMs: 100 },
    );
    const lines = ['0', 'ECONNREFUSED', 'ETIMEDOUT', 'EHOSTUNREACH'].map((e) => `EINPROGRESS ${e} True 0\n`);
    expect(ended.stdout).toBe(lines.join(''));
  });

  it('repeated says EALREADY, then success once, then EISCONN; or the errno', async () => {
    const ended = await shop.python(
      `${PRELUDE}
name = lambda e: errno.errorcode.get(e, e)
s, r = begin(7); to = ('10.9.9.9', 7)
print(name(r), name(s.connect_ex(to)))
p = select.poll(); p.register(s, select.POLLOUT); p.poll(20000)
print(name(s.connect_ex(to)), name(s.connect_ex(to)))
s, r = begin(1001); p = select.poll(); p.register(s, select.POLLOUT); p.poll(20000)
print(name(s.connect_ex(('10.9.9.9', 1001))))
print(name(s.connect_ex(to))); print(outcome(s), s.getpeername())`,
      { dialMs: 60 },
    );
    expect(ended.stdout).toBe("EINPROGRESS EALREADY\n0 EISCONN\nECONNREFUSED\nEINPROGRESS\n0 ('10.9.9.9', 7)\n");
  });

  it('does not stop the event loop of the app during the dial', async () => {
    const ended = await shop.python(
      `${PRELUDE}
import asyncio
async def main():
    gaps = []; last = time.monotonic()
    async def tick():
        nonlocal last
        while True: # a tick that the loop must not miss
            now = time.monotonic(); gaps.append(now - last); last = now
            await asyncio.sleep(0.005)
    ticking = asyncio.create_task(tick())
    t = time.monotonic()
    r, w = await asyncio.open_connection('10.9.9.9', 7)
    print(time.monotonic() - t >= 1.5, max(gaps) < 1.4, len(gaps) > 2)
    w.write(b'ping'); print(await r.readexactly(4)); w.close()
    ticking.cancel()
asyncio.run(main())`,
      { dialMs: 1500 },
    );
    expect(ended).toMatchObject({ stdout: "True True True\nb'ping'\n" });
  });

  it('that the app gives up leaves nothing behind', async () => {
    const running = shop.python(
      `${PRELUDE}
for i in range(20): begin(7)[0].close()
dial(9).recv(1)`,
      { dialMs: 50 },
    );
    await until(() => running.peer.flows.size === 21 && running.peer.open.length === 1, 'the end of what was given up');
    expect(running.peer.open[0]?.port).toBe(9);
    running.peer.hangUp();
    await running;
  });

  it('without FLOW_DIALING is held, and right', async () => {
    const ended = await shop.python(
      `${PRELUDE}
s, r = begin(7); print(outcome(s), s.getpeername())
s, r = begin(1001); print(errno.errorcode[r])`,
      { dialMs: 50, saysDialing: false },
    );
    expect(ended.stdout).toBe("0 ('10.9.9.9', 7)\nECONNREFUSED\n");
  });
});

describe('the names of a socket', () => {
  it('are right on dups, after fork and after exec', async () => {
    const binary = shop.compile(
      'names',
      `#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static void say(int s){struct sockaddr_in a,b;socklen_t n=sizeof(a);getpeername(s,(void*)&a,&n);n=sizeof(b);getsockname(s,(void*)&b,&n);
char x[32],y[32];inet_ntop(2,&a.sin_addr,x,32);inet_ntop(2,&b.sin_addr,y,32);printf("%s:%d %s:%d\\n",x,ntohs(a.sin_port),y,ntohs(b.sin_port));fflush(stdout);}
int main(int c,char**v){if(c>1){say(atoi(v[1]));return 0;}
struct sockaddr_in to={.sin_family=AF_INET,.sin_port=htons(7),.sin_addr.s_addr=inet_addr("10.9.9.9")};
int s=socket(AF_INET,SOCK_STREAM,0);if(connect(s,(void*)&to,sizeof(to)))return 1;
say(s);int d=dup(s);close(s);say(d);if(fork()==0){say(d);char n[8];sprintf(n,"%d",d);execl(v[0],v[0],n,(char*)0);}
wait(0);return 0;}`,
    );
    expect((await shop.run([binary])).stdout).toBe('10.9.9.9:7 10.1.2.3:40000\n'.repeat(4));
  });

  it('are v4-mapped in a socket of IPv6, and of IPv6 where the peer is', async () => {
    const ended = await shop.python(`${PRELUDE}
for host in '::ffff:10.9.9.9', 'fd00::9':
    s = socket.socket(socket.AF_INET6); s.connect((host, 7)); print(s.getpeername()[:2], s.getsockname()[0])`);
    expect(ended.stdout).toBe("('::ffff:10.9.9.9', 7) ::ffff:10.1.2.3\n('fd00::9', 7) fd00::3\n");
  });
});

describe('bytes', () => {
  it('flow both ways at once', async () => {
    const ended = await shop.python(`${PRELUDE}
import hashlib, threading
s = dial(7); data = os.urandom(1 << 20) * 8
threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR))).start()
print(hashlib.md5(everything(s)).digest() == hashlib.md5(data).digest())`);
    expect(ended.stdout).toBe('True\n');
  });

  it('end one way while they go on the other', async () => {
    const running = shop.python(`${PRELUDE}
s = dial(1011); print(s.recv(9)); s.sendall(b'x' * 300000); s.close()`);
    expect((await running).stdout).toBe("b''\n");
    const [flow] = [...running.peer.flows.values()];
    await until(() => flow?.isOver === true, 'the end of the other way');
    expect(flow).toMatchObject({ received: 300_000, wasReset: undefined });
  });

  it('come whole before the reset that follows them', async () => {
    const ended = await shop.python(`${PRELUDE}
s = dial(1013); n = 0
try:
    while True: n += len(s.recv(4096))
except OSError as e: print(n, errno.errorcode[e.errno])
s = dial(1010)
try: print(s.recv(1))
except OSError as e: print(errno.errorcode[e.errno])`);
    expect(ended.stdout).toBe('200000 ECONNRESET\nECONNRESET\n');
  });

  it('cut off by the app with a reset are reset at the target', async () => {
    const running = shop.python(`${PRELUDE}
s = dial(7); s.sendall(b'x'); s.recv(1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); s.close()
input()`);
    await running;
    expect([...running.peer.flows.values()][0]?.wasReset).toBe(104);
  });

  it('are no more than the credit towards a target that does not read', async () => {
    const running = shop.python(`${PRELUDE}
s = dial(1014); s.settimeout(0.3); n = 0
try:
    while True: n += s.send(b'x' * 65536)
except TimeoutError: pass
t = dial(7); t.sendall(b'other'); print(t.recv(9))
s.settimeout(None); s.sendall(b'end'); print('done')`);
    await until(() => running.peer.open.some((flow) => flow.port === 7), 'another connection');
    const stuck = running.peer.open.find((flow) => flow.port === 1014);
    expect(stuck?.ungranted).toBe(1 << 20);
    const granting = setInterval(() => stuck && running.peer.grant(stuck), 5);
    expect((await running).stdout).toBe("b'other'\ndone\n");
    clearInterval(granting);
  });

  it('wait in the target while the app does not read, and others flow', async () => {
    const ended = await shop.python(`${PRELUDE}
slow = dial(1015); t = dial(7)
for i in range(50): t.sendall(b'ping'); t.recv(4)
n = 0
while n < 8 << 20: n += len(slow.recv(1 << 20))
print(n)`);
    expect(ended.stdout).toBe(`${8 << 20}\n`);
  });
});

describe('many connections', () => {
  it('a thousand at once, each with its own bytes', async () => {
    const ended = await shop.python(
      `${PRELUDE}
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
all = [begin(7)[0] for i in range(1000)]
bad = sum(outcome(s) for s in all)
for s in all: s.setblocking(True)
for i, s in enumerate(all): s.sendall(b'%6d' % i)
print(bad, all and sum(s.recv(6) == b'%6d' % i for i, s in enumerate(all)))`,
      { dialMs: 20 },
    );
    expect(ended.stdout).toBe('0 1000\n');
  });

  it('opened and closed leave no descriptor', async () => {
    const running = shop.python(`${PRELUDE}
def turn():
    for i in range(300):
        s = dial(7); s.sendall(b'x'); s.recv(1); s.close()
        s, r = begin(7); outcome(s); s.close()
        s, r = begin(1001); outcome(s); s.close()
turn(); s = dial(9); s.sendall(b'1'); s.recv(1)`);
    const worker = workerOf(await running.peer.started);
    const before = descriptorsOf(worker);
    await until(() => running.peer.open.some((flow) => flow.port === 9), 'the last connection');
    await until(() => running.peer.open.length === 1, 'the end of the others');
    // The open connection and the pidfd of the process.
    await until(() => descriptorsOf(worker) <= before + 2, 'the descriptors of ended connections closed');
    running.peer.hangUp();
    await running;
  });
});

describe('the end of the supervisor', () => {
  it('resets what is open; what comes fails, but for this machine', async () => {
    const running = shop.python(`${PRELUDE}
l = socket.create_server(('127.0.0.1', 0))
s = dial(9); s.sendall(b'x')
try: print(s.recv(1))
except OSError as e: print(errno.errorcode[e.errno])
try: dial(7)
except OSError as e: print(errno.errorcode[e.errno])
print(dial(l.getsockname()[1], '127.0.0.1').getpeername() == l.getsockname())`);
    const worker = workerOf(await running.peer.started);
    await until(() => running.peer.open[0]?.received === 1, 'a connection');
    process.kill(worker, 'SIGKILL');
    expect((await running).stdout).toMatch(/^(b''|ECONNRESET)\nENETDOWN\nTrue\n$/);
  });
});

describe('the end of the link', () => {
  it('resets what is open, fails what waits and what comes, and holds nothing', async () => {
    const running = shop.python(
      `${PRELUDE}
import threading
def late():
    try: dial(7)
    except OSError as e: print('waits', errno.errorcode[e.errno])
s = dial(9); n, r = begin(7)
t = threading.Thread(target=late); t.start()
try: print(s.recv(1))
except OSError as e: print('open', errno.errorcode[e.errno])
t.join(); print('in progress', errno.errorcode[outcome(n)])
try: dial(7)
except OSError as e: print('comes', errno.errorcode[e.errno])`,
      { dialMs: 300 },
    );
    await until(() => running.peer.count(WireKind.CONNECT) === 3, 'three connects');
    running.peer.hangUp();
    const { stdout } = await running;
    expect(stdout.split('\n').sort().join(' ')).toBe(
      ' comes ENETDOWN in progress ENETDOWN open ECONNRESET waits ENETDOWN',
    );
  });
});
