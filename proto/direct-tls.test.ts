import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import tls from 'node:tls';
import { afterEach, expect, test, vi } from 'vitest';
import { connectDirect, createDirectServer, DIRECT_KEY_BYTES, directKeyOf } from './direct-tls.ts';

// What takes a moment may take many on a busy machine; each test waits for an event and not for time.
vi.setConfig({ testTimeout: 60_000 });

const key = Buffer.alloc(DIRECT_KEY_BYTES, 5);
const secret = 'what the two say to each other';
let closers: (() => void)[] = [];

afterEach(() => {
  for (const close of closers) close();
  closers = [];
});

async function serve(admitted: net.Socket[] = []): Promise<number> {
  const server = createDirectServer(key, (socket) => {
    admitted.push(socket);
    socket.on('error', () => undefined);
    socket.end(secret);
  });
  return listening(server);
}

async function listening(server: net.Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(() => server.close());
  return (server.address() as net.AddressInfo).port;
}

/** What the connection brings. */
async function bringing(socket: tls.TLSSocket): Promise<string> {
  closers.push(() => socket.destroy());
  let text = '';
  socket.on('data', (data: Buffer) => {
    text += data;
  });
  await once(socket, 'end');
  return text;
}

const refusal = { code: 'AGENT_LOST', message: expect.stringMatching(/^no direct connection to 127.0.0.1:\d+: ./) };

test('both ends with the key speak TLS 1.3 with a fresh key exchange, and not a byte in the clear', async () => {
  const port = await serve();
  let wire = Buffer.alloc(0);
  const tap = net.createServer((client) => {
    const server = net.connect(port, '127.0.0.1');
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      from.on('data', (data) => {
        wire = Buffer.concat([wire, data]);
      });
      from.on('error', () => to.destroy());
      from.pipe(to);
    }
  });
  const socket = await connectDirect('127.0.0.1', await listening(tap), key);
  expect(await bringing(socket)).toBe(secret);
  expect(socket.getProtocol()).toBe('TLSv1.3');
  expect(wire.length).toBeGreaterThan(200);
  expect(wire.includes(secret)).toBe(false);
  expect(wire.includes(key)).toBe(false);
});

test('a client with another key, or none, does not get past the handshake', async () => {
  const admitted: net.Socket[] = [];
  const port = await serve(admitted);
  await expect(connectDirect('127.0.0.1', port, Buffer.alloc(32, 6))).rejects.toMatchObject(refusal);
  const stranger = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
  await expect(bringing(stranger)).rejects.toThrow();
  expect(admitted).toEqual([]);
});

test('a server without the key is not believed, whatever certificate it shows', async () => {
  const other = createDirectServer(Buffer.alloc(32, 6), (socket) => socket.end(secret));
  await expect(connectDirect('127.0.0.1', await listening(other), key)).rejects.toMatchObject(refusal);
  const folder = mkdtempSync(path.join(tmpdir(), 'direct-'));
  closers.push(() => rmSync(folder, { recursive: true }));
  const files = ['-keyout', `${folder}/key`, '-out', `${folder}/certificate`];
  const words = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=127.0.0.1 -days 1';
  execFileSync('openssl', [...words.split(' '), ...files], { stdio: 'ignore' });
  const impostor = tls.createServer(
    { key: readFileSync(`${folder}/key`), cert: readFileSync(`${folder}/certificate`) },
    (socket) => socket.end(secret),
  );
  impostor.on('tlsClientError', () => undefined);
  await expect(connectDirect('127.0.0.1', await listening(impostor), key)).rejects.toMatchObject(refusal);
});

test('its key is another one than the session key it is made from', () => {
  expect(directKeyOf(key)).toHaveLength(DIRECT_KEY_BYTES);
  expect(directKeyOf(key).equals(key)).toBe(false);
  expect(directKeyOf(key)).toEqual(directKeyOf(Buffer.from(key)));
});
