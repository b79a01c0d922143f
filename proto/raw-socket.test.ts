import dgram from 'node:dgram';
import { once } from 'node:events';
import { closeSync, openSync, readlinkSync } from 'node:fs';
import net from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { type RawSocket, rawSocket } from './raw-socket.ts';

// Megabytes through a machine where much else runs.
vi.setConfig({ testTimeout: 20_000 });

const PATIENCE = { timeout: 15_000 };
const open: (() => void)[] = [];

afterEach(() => {
  for (const close of open.splice(0).reverse()) close();
});

function descriptorOf(socket: net.Socket): number {
  return Object((socket as net.Socket & { _handle?: unknown })._handle).fd as number;
}

/** A socket as a carrier's, ours by descriptor, and its peer. */
async function carried() {
  const server = net.createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = net.connect({ port: (server.address() as net.AddressInfo).port }).pause();
  const [[peer]] = (await Promise.all([once(server, 'connection'), once(socket, 'connect')])) as [
    [net.Socket],
    unknown,
  ];
  server.close();
  peer.on('error', () => undefined);
  open.push(
    () => peer.destroy(),
    () => socket.destroy(),
  );
  const heard: { bytes: string; onFirst: () => void } = { bytes: '', onFirst: () => undefined };
  const room = Buffer.alloc(16);
  const raw: RawSocket = rawSocket(socket, {
    room: () => room,
    onBytes: (count) => {
      heard.bytes += room.toString('latin1', 0, count);
      heard.onFirst();
      heard.onFirst = () => undefined;
    },
    onReadEnd: () => undefined,
    onTaken: () => undefined,
    onFailed: () => undefined,
  });
  return { socket, peer, raw, heard };
}

/** A socket of datagrams on loopback at once: node asks no resolver, and the descriptor is there when this returns. */
function datagrams(): dgram.Socket {
  const socket = dgram.createSocket({ type: 'udp4', lookup: (_, __, done) => done(null, '127.0.0.1', 4) });
  open.push(() => socket.close());
  socket.bind(0, '127.0.0.1');
  return socket;
}

/** One with this descriptor, which has just become free; null where somebody else was quicker. */
function datagramsAt(fd: number): dgram.Socket | null {
  for (;;) {
    const filler = openSync('/dev/null', 'r');
    open.push(() => closeSync(filler));
    if (filler > fd) return null;
    if (filler < fd) continue;
    open.pop();
    closeSync(filler);
    return datagrams();
  }
}

/** All in one turn of the event loop: what is told of the end of a socket comes in a later one. */
function destroyAndReuse({ socket, raw }: Awaited<ReturnType<typeof carried>>) {
  const fd = descriptorOf(socket);
  const inode = () => readlinkSync(`/proc/self/fd/${fd}`);
  const before = inode();
  const witness = datagrams();
  socket.destroy();
  const victim = datagramsAt(fd);
  if (victim === null) return null;
  const now = inode();
  expect([now.startsWith('socket:'), now === before]).toEqual([true, false]);
  victim.connect(witness.address().port, '127.0.0.1');
  witness.connect(victim.address().port, '127.0.0.1');
  const heard = { victim: [] as string[], witness: [] as string[] };
  victim.on('message', (data) => heard.victim.push(data.toString()));
  witness.on('message', (data) => heard.witness.push(data.toString()));
  witness.send('for the victim');
  raw.write([Buffer.from('for the carrier')]);
  return { victim, witness, heard };
}

test.each([
  ['nothing waits to be written', 0],
  ['much waits to be written', 16 * 1024 * 1024],
])(
  'a socket that is destroyed past its owner makes no byte go astray, though its number is used again: %s',
  async (_, bytes) => {
    for (;;) {
      const carrier = await carried();
      const { peer, raw, heard } = carrier;
      raw.write([Buffer.alloc(bytes)]);
      expect(raw.waitingBytes > 0).toBe(bytes > 0);
      raw.resume();
      peer.write('x'.repeat(20));
      // Where four bytes are still to be read, and are at the end of this turn.
      const others = await new Promise<ReturnType<typeof destroyAndReuse>>((resolve, reject) => {
        heard.onFirst = () => {
          try {
            resolve(destroyAndReuse(carrier));
          } catch (thrown) {
            reject(thrown);
          }
        };
      });
      if (others === null) continue;
      await vi.waitFor(() => expect(others.heard.victim).toEqual(['for the victim']), PATIENCE);
      others.victim.send('for the witness');
      await vi.waitFor(() => expect(others.heard.witness).toEqual(['for the witness']), PATIENCE);
      expect(heard.bytes).toMatch(/^x+$/);
      return;
    }
  },
);

test('a socket that is destroyed past its owner ends the connection at once for its peer', async () => {
  const { socket, peer } = await carried();
  peer.resume();
  socket.destroy();
  await once(peer, 'end');
});
