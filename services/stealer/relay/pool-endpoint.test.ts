import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { stealerAddon } from '../native/index.ts';
import { LOOPBACK } from '../testing/relay-world.ts';
import type { EndpointEvents } from './endpoint.ts';
import { PoolEndpoint } from './pool-endpoint.ts';
import { joinEndpoints } from './raw-relay.ts';
import { SocketPool } from './socket-pool.ts';

let pool: SocketPool;
let cleanups: Array<() => void> = [];
beforeEach(() => {
  pool = new SocketPool({ isMemoryWiped: true });
});
afterEach(() => {
  for (const cleanup of cleanups) cleanup();
  cleanups = [];
});

/** A server of Node's, and where it listens. */
async function serve(onConnection: (socket: Socket) => void): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    cleanups.push(() => socket.destroy());
    socket.on('error', () => socket.destroy());
    onConnection(socket);
  });
  cleanups.push(() => server.close());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return (server.address() as AddressInfo).port;
}

function dial(port: number, onDialled?: () => void): PoolEndpoint {
  const fd = stealerAddon().connect(-1, { address: LOOPBACK, port });
  const endpoint = new PoolEndpoint(fd, { pool, dialMs: 10_000, ...(onDialled && { onDialled }) });
  cleanups.push(() => endpoint.destroy());
  return endpoint;
}

/** What an endpoint tells, as words; data by its length. */
function tellTo(said: string[], events: Partial<EndpointEvents> = {}): EndpointEvents {
  return {
    onData: (bytes) => said.push(`data ${bytes.length}`),
    onEnd: () => said.push('end'),
    onDrain: () => said.push('drain'),
    onClosed: (error) => said.push(error === undefined ? 'closed' : `closed: ${error.message}`),
    ...events,
  };
}

describe('one endpoint', () => {
  test('hears, is heard, is told when it is connected, and is over when both sides have ended', async () => {
    const port = await serve((socket) => socket.pipe(socket));
    const said: string[] = [];
    const endpoint = dial(port, () => said.push('dialled'));
    endpoint.listen(tellTo(said));
    endpoint.write(Buffer.from('hello'));
    endpoint.end();
    await expect.poll(() => said).toEqual(['dialled', 'data 5', 'end', 'closed']);
    expect(pool.size).toBe(0);
  });

  test('that nobody listens is told once, behind the listening', async () => {
    const port = await serve(() => undefined);
    cleanups.pop()?.();
    const said: string[] = [];
    dial(port, () => said.push('dialled')).listen(tellTo(said));
    await expect.poll(() => said).toEqual(['dialled', 'closed: read: ECONNREFUSED']);
    expect(pool.size).toBe(0);
  });

  test('a peer that resets is told as a failure, and what it said before is read', async () => {
    const port = await serve((socket) => {
      socket.end('413 and goodbye');
      // Unread bytes make a close of the kernel's a reset.
      socket.pause();
      socket.once('finish', () => socket.resetAndDestroy());
    });
    const said: string[] = [];
    const endpoint = dial(port);
    const fill = (): void => {
      // More than any socket's buffers hold; one that has failed takes everything.
      for (let count = 0; count < 400 && endpoint.write(Buffer.alloc(64 * 1024)); count++);
    };
    let text = '';
    endpoint.listen(tellTo(said, { onData: (bytes) => (text += bytes.toString('latin1')), onDrain: fill }));
    fill();
    await expect.poll(() => said.at(-1)).toMatch(/^closed: (read|write): E(CONNRESET|PIPE)$/);
    expect(text).toBe('413 and goodbye');
    expect([pool.size, pool.waitingBytes]).toEqual([0, 0]);
  });

  test('destroy is a reset, and nothing is told after it', async () => {
    const errors: string[] = [];
    const port = await serve((socket) => {
      socket.resume().on('error', (error: NodeJS.ErrnoException) => errors.push(String(error.code)));
      socket.write('x');
    });
    const said: string[] = [];
    const endpoint = dial(port);
    endpoint.listen(tellTo(said, { onData: () => endpoint.destroy() }));
    await expect.poll(() => errors).toEqual(['ECONNRESET']);
    expect(said).toEqual([]);
  });

  test('while it is paused nothing is told, and all of it afterwards', async () => {
    const port = await serve((socket) => socket.end('late'));
    const said: string[] = [];
    const endpoint = dial(port);
    endpoint.pause();
    endpoint.listen(tellTo(said));
    const other = dial(port);
    const control: string[] = [];
    other.listen(tellTo(control));
    await expect.poll(() => control).toEqual(['data 4', 'end']);
    expect(said).toEqual([]);
    endpoint.resume();
    await expect.poll(() => said).toEqual(['data 4', 'end']);
  });
});

describe('two joined', () => {
  test('64 MiB pass whole between a fast sender and a slow reader, and little waits in between', async () => {
    const [sent, got] = [createHash('sha256'), createHash('sha256')];
    const bytes = Buffer.alloc(64 << 20, 'some bytes that repeat, but not at a power of two ');
    let received = 0;
    const sink = await serve((socket) => {
      socket.on('readable', () => {
        for (let part = socket.read() as Buffer | null; part !== null; part = socket.read() as Buffer | null) {
          got.update(part);
          received += part.length;
        }
      });
      socket.on('end', () => socket.end('done'));
    });
    const answers: string[] = [];
    const source = await serve((socket) => {
      sent.update(bytes);
      socket.end(bytes);
      socket.on('data', (data: Buffer) => answers.push(data.toString()));
    });
    let isClosed = false;
    joinEndpoints(dial(source), dial(sink), () => {
      isClosed = true;
    });
    let most = 0;
    await expect
      .poll(
        () => {
          most = Math.max(most, pool.waitingBytes);
          return isClosed;
        },
        { timeout: 30_000, interval: 1 },
      )
      .toBe(true);
    await expect.poll(() => answers).toEqual(['done']);
    expect(received).toBe(bytes.length);
    expect(got.digest('hex')).toBe(sent.digest('hex'));
    expect(most).toBeLessThanOrEqual(512 * 1024);
    expect([pool.size, pool.waitingBytes]).toEqual([0, 0]);
  });
});
