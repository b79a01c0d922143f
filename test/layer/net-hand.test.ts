// Streams that the supervisor hands over to its client: the test has the other end of the app's own socket.

import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Flow, NetPeer } from './net-peer.ts';
import { descriptorsOf, until, Workshop, workerOf } from './net-run.ts';

let shop: Workshop;
beforeAll(() => {
  shop = new Workshop();
});
afterAll(() => shop.clean());

const PRELUDE = `
import errno, os, select, socket, sys
def dial(port=7):
    return socket.create_connection(('10.9.9.9', port))
`;

const run = (source: string) => shop.python(PRELUDE + source, { hasChannel: true });

async function first(peer: NetPeer): Promise<{ flow: Flow; socket: Socket }> {
  await until(() => peer.handed.size > 0, 'a socket');
  const [[id, socket]] = [...peer.handed] as [[bigint, Socket]];
  return { flow: peer.flows.get(id) as Flow, socket };
}

async function everything(socket: Socket): Promise<string> {
  let text = '';
  for await (const chunk of socket) text += String(chunk);
  return text;
}

describe('a stream that is handed over', () => {
  it.each([
    's = dial()',
    's = socket.socket(); s.setblocking(False); s.connect_ex(("10.9.9.9", 7)); s.setblocking(True)',
  ])('is the other end of the socket of the app: %s', async (connect) => {
    const running = run(`${connect}
select.select([], [s], [])
s.sendall(b'question'); print(s.recv(99), s.getpeername()); s.close()`);
    const { flow, socket } = await first(running.peer);
    const [question] = (await once(socket, 'data')) as [Buffer];
    expect(question.toString()).toBe('question');
    socket.end('answer');
    expect((await running).stdout).toBe("b'answer' ('10.9.9.9', 7)\n");
    expect(flow.received).toBe(0);
    expect(running.peer.logs).toEqual([]);
  });

  it('has all that was written before its process ended', async () => {
    const running = run(
      `s = dial(); s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20); s.send(b'x' * 300000)`,
    );
    const { socket } = await first(running.peer);
    await running;
    expect((await everything(socket)).length).toBe(300_000);
  });

  it('is reset by the client, after what the app has not taken yet', async () => {
    const running = run(`s = dial(); n = 0
print('open', flush=True)
try:
    while True: n += len(s.recv(4096))
except OSError as e: print(n, errno.errorcode[e.errno])`);
    const { flow, socket } = await first(running.peer);
    socket.write(Buffer.alloc(200_000, 'd'), () => {
      socket.destroy();
      running.peer.reset(flow, 104);
    });
    expect((await running).stdout).toBe('open\n200000 ECONNRESET\n');
  });

  it('is forgotten when the client says that it is over', async () => {
    const running = run(`
for _ in range(3):
    s = dial(); s.close()
sys.stdin = open('/dev/null'); s = dial(9); s.recv(1)`);
    await until(() => running.peer.handed.size === 4, 'all of them');
    const worker = workerOf(await running.peer.started);
    const before = descriptorsOf(worker);
    const flows = [...running.peer.flows.values()];
    for (const flow of flows.filter(({ port }) => port === 7)) {
      running.peer.handed.get(flow.id)?.destroy();
      running.peer.finish(flow);
    }
    await until(() => descriptorsOf(worker) === before - 3, 'the end of three descriptors');
    running.peer.handed.get((flows.find(({ port }) => port === 9) as Flow).id)?.destroy();
    running.peer.finish(flows.find(({ port }) => port === 9) as Flow);
    expect((await running).code).toBe(0);
  });

  it('is one of more than the channel holds', async () => {
    const running = run(`
all = [dial() for _ in range(700)]
for s in all: s.sendall(b'x')
print(sum(len(s.recv(1)) for s in all))`);
    await until(() => running.peer.handed.size === 700, 'all of them');
    for (const socket of running.peer.handed.values()) socket.on('data', (data) => socket.write(data));
    expect((await running).stdout).toBe('700\n');
  });

  it('is reset when the client dies', async () => {
    const running = run(`s = dial()
try: print(s.recv(1))
except OSError as e: print(errno.errorcode[e.errno])`);
    const { socket } = await first(running.peer);
    running.peer.hangUp();
    socket.destroy();
    expect((await running).stdout).toBe('ECONNRESET\n');
  });
});

it('the channel is not for the local process', async () => {
  const ended = await run(`
try: os.fstat(4); print('open')
except OSError as e: print([name for name in os.environ if 'CHANNEL' in name], errno.errorcode[e.errno])`);
  expect(ended.stdout).toBe('[] EBADF\n');
});
