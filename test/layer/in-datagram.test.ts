// Sockets of datagrams under the supervisor: what stands for a port of the target, who its datagrams are from, and where its
// answers end.

import dgram from 'node:dgram';
import { afterEach, describe, expect, it } from 'vitest';
import { WireTransport } from '#proto/wire.ts';
import { InPeer, type InPeerOptions } from './in-peer.ts';

const peers: InPeer[] = [];
const sockets: dgram.Socket[] = [];
afterEach(() => {
  for (const peer of peers.splice(0)) peer.hangUp();
  for (const socket of sockets.splice(0)) socket.close();
});

function python(source: string, options: InPeerOptions = {}): InPeer {
  const peer = new InPeer(['python3', '-uc', `import socket,os,sys,errno,select\n${source}`], options);
  peers.push(peer);
  return peer;
}

/** A port that nobody has; the kernel gives each only once in a while. */
async function freePort(): Promise<number> {
  const socket = dgram.createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(0, resolve));
  const { port } = socket.address();
  await new Promise<void>((resolve) => socket.close(resolve));
  return port;
}

/** Sends as the client does, and keeps what comes back. */
async function send(
  peer: InPeer,
  text: string,
  from: string,
  port: number,
): Promise<{ said: string[]; socket: dgram.Socket }> {
  const listen = await peer.listener(port);
  const source = await peer.datagramSource(listen, from, `10.1.2.4 ${port}`);
  const socket = dgram.createSocket('udp4');
  sockets.push(socket);
  const said: string[] = [];
  socket.on('message', (message) => said.push(message.toString()));
  await new Promise<void>((resolve) => socket.bind(source.port, source.ip.join('.'), resolve));
  await new Promise((resolve) => socket.send(text, (listen.actual as { port: number }).port, '127.0.0.1', resolve));
  return { said, socket };
}

describe('a socket of datagrams', () => {
  it('stands for its port from bind on, and until it is closed', async () => {
    const port = await freePort();
    const peer = python(`
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('127.0.0.1',${port})); print('bound'); sys.stdin.readline()
s.close(); print('closed'); sys.stdin.read()`);
    const listen = await peer.listener(port);
    expect(listen.transport).toBe(WireTransport.UDP);
    await peer.until(() => peer.stdout.includes('bound'), 'the bind');
    peer.child.stdin?.write('\n');
    await peer.until(() => peer.closed.includes(listen.listener), 'word of its end');
  });

  it('is this machine’s alone when it has no port, or the client wants nothing of it', async () => {
    const port = await freePort();
    const peer = python(
      `
for p in (0,${port}):
  s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('127.0.0.1',p)); print(s.getsockname()[1]==p)`,
      { onBind: () => 'own' },
    );
    expect((await peer.ended).stdout).toBe('False\nTrue\n');
    expect([peer.binds.length, peer.listening.size]).toEqual([1, 0]);
  });

  it('has a port of its own beside a socket of connections, and shares it as the kernel allows', async () => {
    const port = await freePort();
    const peer = python(`
t=socket.create_server(('127.0.0.1',${port}))
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('127.0.0.1',${port}))
u=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)
try: u.bind(('127.0.0.1',${port}))
except OSError as e: print(errno.errorcode[e.errno])
a,b=[socket.socket(socket.AF_INET,socket.SOCK_DGRAM) for _ in 'ab']
for x in (a,b): x.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1); x.bind(('127.0.0.1',${port}+1))
print('both')`);
    expect((await peer.ended).stdout).toBe('EADDRINUSE\nboth\n');
  });

  it.each([
    ['blocking', 'print(s.recvfrom(9))'],
    ['of recvmsg', 'm=s.recvmsg(9); print((m[0],m[3]))'],
    ['that does not block', 's.setblocking(False); select.select([s],[],[]); print(s.recvfrom(9))'],
    ['after a fork', 'os.fork() and os.wait() or (print(s.recvfrom(9)), os._exit(0))'],
  ])('tells the true peer to a call %s', async (_, receive) => {
    const port = await freePort();
    const peer = python(`
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('0.0.0.0',${port})); print('bound')
${receive}`);
    await send(peer, 'hello', '10.9.9.9 4000', port);
    await peer.ended;
    expect(peer.stdout).toContain("(b'hello', ('10.9.9.9', 4000))");
  });

  it('sends its answers nowhere, and everything else where it is meant', async () => {
    const port = await freePort();
    const other = dgram.createSocket('udp4');
    sockets.push(other);
    await new Promise<void>((resolve) => other.bind(0, '127.0.0.1', resolve));
    const heard = new Promise<string>((resolve) => other.once('message', (message) => resolve(message.toString())));
    const peer = python(`
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('127.0.0.1',${port}))
data,who=s.recvfrom(9); print(s.sendto(b'answer',who), s.sendmsg([b'an',b'swer'],[],0,who))
print(s.sendto(b'to another',('127.0.0.1',${other.address().port})))`);
    const { said } = await send(peer, 'hello', '203.0.113.7 4000', port);
    expect((await peer.ended).stdout).toBe('6 6\n10\n');
    expect(await heard).toBe('to another');
    expect(said).toEqual([]);
  });

  it('that is connected to such a peer hears it, is named as meant, and its answers end at the client', async () => {
    const port = await freePort();
    const peer = python(`
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('0.0.0.0',${port})); _,who=s.recvfrom(9)
s.connect(who); print(s.getpeername(), s.getsockname()); s.send(b'answer'); print(s.recv(9)); s.close()`);
    const { said, socket } = await send(peer, 'hello', '203.0.113.7 4000', port);
    await peer.until(() => said.length === 1 || peer.stdout.includes('203'), 'the answer');
    await new Promise((resolve) => socket.send('again', port, '127.0.0.1', resolve));
    expect((await peer.ended).stdout).toBe(`('203.0.113.7', 4000) ('10.1.2.4', ${port})\nb'again'\n`);
  });
});
