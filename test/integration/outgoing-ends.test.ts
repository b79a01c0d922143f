// How connections of a local process end, the whole way: by its own end, by the peer's, by nobody who reads.

import { readdirSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { BEYOND, type Peer, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { ExecHarness, until } from './exec-harness.ts';

let network: TargetNetwork;
let peer: Peer;
let harness: ExecHarness;

beforeAll(async () => {
  network = await startNetwork();
  peer = await network.servePeer(network.beyond, BEYOND);
});

afterAll(async () => {
  await network?.[Symbol.asyncDispose]();
});

afterEach(async () => {
  await harness.leavesNothing();
  harness.close();
});

function python(source: string) {
  harness = new ExecHarness();
  const script = `import errno, os, socket, struct, time\ndef dial(port): return socket.create_connection(('${BEYOND}', port))\n${source}`;
  return harness.run(['exec', '-t', `pid/${network.target.pid}`, '--', '/usr/bin/python3', '-c', script]);
}

test('what a process sent right before its end arrives whole, and then the end', async () => {
  expect(await python(`s = dial(7002); print(s.recv(99), s.recv(99)); s.sendall(b'x' * 5_000_000)`)).toMatchObject({
    code: 0,
    stdout: "b'all I have' b''\n",
  });
  await peer.line('after-end 5000000');
});

test('a killed process ends its connections as the kernel would', async () => {
  expect((await python(`s = dial(7006); s.sendall(b'x'); os.kill(os.getpid(), 9)`)).signal).toBe('SIGKILL');
  await peer.line('ended FIN');
});

test('a close with linger 0 is a reset there, a reset there is a reset here', async () => {
  const source = `
s = dial(7006); s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); s.close()
s = dial(7003); s.sendall(b'x')
try: print(s.recv(9))
except OSError as e: print(errno.errorcode[e.errno])`;
  expect(await python(source)).toMatchObject({ code: 0, stdout: 'ECONNRESET\n' });
  await peer.line('ended ECONNRESET');
});

test('urgent data keeps its place among the other, both ways', async () => {
  const server = `
import socket
l = socket.create_server(('', 7099)); print('ready', flush=True); c, _ = l.accept()
c.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1); c.sendall(b'ab'); c.send(b'!', socket.MSG_OOB); c.sendall(b'cd')
print('urgent', c.recv(5, socket.MSG_WAITALL).decode(), flush=True)`;
  const urgent = await network.serve(network.beyond, ['/usr/bin/python3', '-c', server]);
  const source = `
s = dial(7099); s.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1); print(s.recv(5, socket.MSG_WAITALL))
s.sendall(b'ef'); s.send(b'?', socket.MSG_OOB); s.sendall(b'gh')
try: s.recv(1)
except ConnectionResetError: pass`;
  expect(await python(source)).toMatchObject({ code: 0, stdout: "b'ab!cd'\n" });
  await urgent.line('urgent ef?gh');
});

test('a peer that does not read stops its own writer only, and holds up nobody’s end', async () => {
  const source = `
s = dial(7004); s.setblocking(False); sent = 0; quiet = 0
while quiet < 20:
    try: sent += s.send(b'x' * 65536); quiet = 0
    except BlockingIOError:
        quiet += 1
        t = dial(7007); t.sendall(b'y' * 100_000); t.shutdown(socket.SHUT_WR); assert t.recv(9) == b'100000'
print(100_000 < sent < 50_000_000)
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))`;
  expect(await python(source)).toMatchObject({ code: 0, stdout: 'True\n' });
});

test('descriptors come and go with connections', async () => {
  harness = new ExecHarness();
  const source = `
import socket
def dial(): return socket.create_connection(('${BEYOND}', 7001))
dial().close(); print('one'); input()
many = [dial() for _ in range(100)]; print('all'); input()
for s in many: s.sendall(b'x'); assert s.recv(1) == b'x'; s.close()
print('none'); input()`;
  const words = ['exec', '-t', `pid/${network.target.pid}`, '--', '/usr/bin/python3', '-u', '-c', source];
  const run = harness.start(words);
  const descriptors = () =>
    ['bin/mirrord', 'mirrord-supervisor', 'dist/agent.js'].map((name) => {
      const pids = harness.processes().filter(({ command }) => command.includes(name));
      return pids.reduce((sum, { pid }) => sum + readdirSync(`/proc/${pid}/fd`).length, 0);
    });
  await run.said('one');
  const before = descriptors();
  run.child.stdin?.write('\n');
  await run.said('all');
  expect(descriptors().every((count, index) => count >= (before[index] as number) + 90)).toBe(true);
  run.child.stdin?.write('\n');
  await run.said('none');
  const isAsBefore = () => descriptors().every((count, index) => count <= (before[index] as number) + 3);
  await until('all descriptors of connections are closed', isAsBefore);
  run.child.stdin?.end('\n');
  expect((await run.outcome).code).toBe(0);
});
