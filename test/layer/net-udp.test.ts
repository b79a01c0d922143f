// Datagrams through the supervisor with real sockets; net-peer.ts plays the client and the target.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WireKind } from '#proto/wire.ts';
import { until, Workshop } from './net-run.ts';

let shop: Workshop;
beforeAll(() => {
  shop = new Workshop();
});
afterAll(() => shop.clean());

const PRELUDE = `
import errno, os, select, socket, threading, time
def udp(family=socket.AF_INET): return socket.socket(family, socket.SOCK_DGRAM)
`;

describe('a connected socket', () => {
  it('keeps boundaries, sizes and addresses', async () => {
    const ended = await shop.python(`${PRELUDE}
u = udp(); u.connect(('10.9.9.9', 5000)); print(u.getpeername(), u.getsockname())
for size in 0, 1, 1400, 65507: u.send(b'x' * size)
print([len(u.recv(70000)) for i in range(4)])
u.send(b'who'); print(u.recvfrom(9)); u.sendto(b'named', ('10.9.9.9', 5000)); print(u.recvmsg(9)[::3])
u.settimeout(0.05)
try: u.recv(1)
except TimeoutError: print('nothing more')`);
    expect(ended.stdout).toBe(
      "('10.9.9.9', 5000) ('10.1.2.3', 5353)\n[0, 1, 1400, 65507]\n(b'who', ('10.9.9.9', 5000))\n(b'named', ('10.9.9.9', 5000))\nnothing more\n",
    );
  });

  it('hears of an unreachable port while it waits, and lives on', async () => {
    const ended = await shop.python(`${PRELUDE}
u = udp(); u.connect(('10.9.9.9', 1001))
for i in range(2):
    u.send(b'x')
    try: u.recv(9)
    except OSError as e: print(errno.errorcode[e.errno])
u.connect(('10.9.9.9', 5000)); u.send(b'again'); print(u.recv(9))`);
    expect(ended.stdout).toBe("ECONNREFUSED\nECONNREFUSED\nb'again'\n");
  });

  it('that is only asked for its name sends nothing', async () => {
    const running = shop.python(`${PRELUDE}
u = udp(); u.connect(('10.9.9.9', 0)); print(u.getsockname()[0]); u.close()
u = udp(socket.AF_INET6); u.connect(('fd00::9', 53)); print(u.getpeername()[0]); u.close()
u = udp(socket.AF_INET6); u.connect(('::ffff:10.9.9.9', 53)); print(u.getpeername()[0], u.getsockname()[0]); u.close()`);
    expect((await running).stdout).toBe('10.1.2.3\nfd00::9\n::ffff:10.9.9.9 ::ffff:10.1.2.3\n');
    expect([...running.peer.flows.values()].map(({ received }) => received)).toEqual([0, 0, 0]);
  });

  it('is over soon after it was closed', async () => {
    const running = shop.python(`${PRELUDE}
for i in range(50):
    u = udp(); u.connect(('10.9.9.9', 5000)); u.send(b'q'); u.recv(9); u.close()
u = udp(); u.connect(('10.9.9.9', 9)); u.send(b'x'); u.recv(1)`);
    await until(() => running.peer.flows.size === 51 && running.peer.open.length === 1, 'only one flow left');
    expect([...running.peer.flows.values()].slice(0, 50).every(({ wasReset }) => wasReset === 0)).toBe(true);
    running.peer.hangUp();
    await running;
  });
});

describe('an unconnected socket', () => {
  it('talks with several peers and knows who answered', async () => {
    const running = shop.python(`${PRELUDE}
u = udp()
for i in range(1, 5): u.sendto(b'%d' % i, ('10.9.9.%d' % i, 50 + i))
print(sorted(u.recvfrom(9) for i in range(4)))
u.sendmsg([b'a', b'b'], [], 0, ('10.9.9.1', 51)); print(u.recvmsg(9))
u.setblocking(False)
try: u.recvfrom(9)
except BlockingIOError: print('nothing more')
v = udp(socket.AF_INET6); v.sendto(b'six', ('fd00::9', 53)); print(v.recvfrom(9)); v.sendto(b'four', ('::ffff:10.9.9.9', 53)); print(v.recvfrom(9))`);
    expect((await running).stdout).toBe(
      "[(b'1', ('10.9.9.1', 51)), (b'2', ('10.9.9.2', 52)), (b'3', ('10.9.9.3', 53)), (b'4', ('10.9.9.4', 54))]\n(b'ab', [], 0, ('10.9.9.1', 51))\nnothing more\n(b'six', ('fd00::9', 53, 0, 0))\n(b'four', ('::ffff:10.9.9.9', 53, 0, 0))\n",
    );
    expect(running.peer.count(WireKind.UDP_OPEN)).toBe(2);
    expect(running.peer.count(WireKind.UDP_PEER)).toBe(6);
  });

  it('reaches local and remote peers at once', async () => {
    const ended = await shop.python(`${PRELUDE}
here = udp(); here.bind(('127.0.0.1', 0)); u = udp()
u.sendto(b'near', here.getsockname()); data, who = here.recvfrom(9); here.sendto(b'back', who); print(data, u.recvfrom(9)[1] == here.getsockname())
u.sendto(b'far', ('10.9.9.9', 7)); print(u.recvfrom(9))
here.sendto(b'more', who); print(u.recvfrom(9)[1] == here.getsockname())`);
    expect(ended.stdout).toBe("b'near' True\n(b'far', ('10.9.9.9', 7))\nTrue\n");
  });

  it('may wait before it sends; poll and time limits hold', async () => {
    const ended = await shop.python(
      `${PRELUDE}
u = udp(); u.bind(('0.0.0.0', 0)); got = []
t = threading.Thread(target=lambda: got.append(u.recvfrom(9))); t.start()
u.sendto(b'x', ('10.9.9.9', 7)); t.join(); print(got)
p = select.poll(); p.register(u, select.POLLIN); print(p.poll(20)); u.sendto(b'y', ('10.9.9.9', 7)); print(len(p.poll(5000)), u.recvfrom(9))
u.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, (0).to_bytes(8, 'little') + (100000).to_bytes(8, 'little'))
s = time.monotonic()
try: u.recvfrom(9)
except BlockingIOError: print(0.09 < time.monotonic() - s < 20)`,
    );
    expect(ended.stdout).toBe("[(b'x', ('10.9.9.9', 7))]\n[]\n1 (b'y', ('10.9.9.9', 7))\nTrue\n");
  });

  it('sends and receives in batches', async () => {
    const binary = shop.compile(
      'batches',
      `#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
int main(void){int s=socket(AF_INET,SOCK_DGRAM,0);struct sockaddr_in to[5];struct iovec v[5];struct mmsghdr m[5];char d[5][64];memset(m,0,sizeof(m));
for(int i=0;i<5;i++){memset(&to[i],0,sizeof(to[i]));to[i].sin_family=AF_INET;to[i].sin_port=htons(60+i);to[i].sin_addr.s_addr=inet_addr("10.9.9.9");
v[i]=(struct iovec){d[i],(size_t)sprintf(d[i],"message %d",i)};m[i].msg_hdr=(struct msghdr){.msg_name=&to[i],.msg_namelen=sizeof(to[i]),.msg_iov=&v[i],.msg_iovlen=1};}
int sent=0;while(sent<5){int n=sendmmsg(s,m+sent,5-sent,0);if(n<=0)return 1;sent+=n;}
int seen=0,ok=0;while(seen<5){for(int i=0;i<5;i++){v[i].iov_len=64;m[i].msg_hdr.msg_namelen=sizeof(to[i]);}int n=recvmmsg(s,m,5,MSG_WAITFORONE,0);if(n<=0)return 2;
for(int i=0;i<n;i++){int k=d[i][8]-'0';if(ntohs(to[i].sin_port)==60+k&&m[i].msg_len==9)ok++;}seen+=n;}
printf("%d\\n",ok);return 0;}`,
    );
    expect((await shop.run([binary])).stdout).toBe('5\n');
  });

  it('is cut into several where the socket or the message says so', async () => {
    const ended = await shop.python(`${PRELUDE}
SEGMENT = 103
u = udp(); u.sendmsg([b'x' * 2500], [(17, SEGMENT, b'\\xe8\\x03')], 0, ('10.9.9.9', 5000)); print([len(u.recv(9000)) for i in range(3)])
u.setsockopt(17, SEGMENT, 1200); u.sendto(b'x' * 2500, ('10.9.9.9', 5000)); print([len(u.recv(9000)) for i in range(3)])`);
    expect(ended.stdout).toBe('[1000, 1000, 500]\n[1200, 1200, 100]\n');
  });

  it('is refused what the client refuses', async () => {
    const ended = await shop.python(`${PRELUDE}
u = udp()
try: u.sendto(b'x', ('10.9.9.9', 1005))
except OSError as e: print(errno.errorcode[e.errno])
u.sendto(b'x', ('10.9.9.9', 7)); print(u.recvfrom(9))`);
    expect(ended.stdout).toBe("EACCES\n(b'x', ('10.9.9.9', 7))\n");
  });

  it('ends with the link', async () => {
    const running = shop.python(`${PRELUDE}
u = udp(); u.sendto(b'x', ('10.9.9.9', 7)); print(u.recvfrom(9)); c = udp(); c.connect(('10.9.9.9', 9)); c.send(b'x')
try: c.recv(1); print('?')
except OSError as e: print(errno.errorcode[e.errno])
try: u.sendto(b'x', ('10.9.9.8', 7)); print('?')
except OSError as e: print(errno.errorcode[e.errno])`);
    const isHeard = () => running.peer.open.some(({ port, received }) => port === 9 && received > 0);
    await until(isHeard, 'the datagram of the connected one');
    running.peer.hangUp();
    expect((await running).stdout).toBe("(b'x', ('10.9.9.9', 7))\nECONNREFUSED\nENETDOWN\n");
  });
});
