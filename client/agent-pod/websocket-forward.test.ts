import { once } from 'node:events';
import net from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { WebSocketForward } from './websocket-forward.ts';
import { frameHead, OPCODE } from './websocket-frames.ts';

const open: { destroy(): void }[] = [];
const servers: net.Server[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.destroy();
  for (const server of servers.splice(0)) server.close();
});

/** A connection, and the API server's end of its socket. */
async function connected(isBelowTls = true): Promise<{ connection: WebSocketForward; server: net.Socket }> {
  const listener = net.createServer().listen(0, '127.0.0.1');
  servers.push(listener);
  await once(listener, 'listening');
  const accepted = once(listener, 'connection');
  const socket = net.connect((listener.address() as net.AddressInfo).port, '127.0.0.1');
  const [server] = (await accepted) as [net.Socket];
  const connection = new WebSocketForward(socket, Buffer.alloc(0), isBelowTls);
  open.push(connection, server);
  return { connection, server };
}

function frame(channel: number, payload: Buffer): Buffer {
  const parts = [Buffer.from([channel]), payload];
  const head = frameHead(OPCODE.binary, parts, true);
  head[1] = (head[1] as number) & 0x7f;
  return Buffer.concat([head.subarray(0, -4), ...parts]);
}

const PORT = Buffer.from([0x39, 0x30]);

/** Payloads of what a client sent. */
function plainFrames(bytes: Buffer): Buffer[] {
  const frames: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const code = (bytes[at + 1] as number) & 0x7f;
    const start = at + 2 + (code === 126 ? 2 : code === 127 ? 8 : 0);
    const length =
      code === 126 ? bytes.readUInt16BE(at + 2) : code === 127 ? Number(bytes.readBigUInt64BE(at + 2)) : code;
    const mask = bytes.subarray(start, start + 4);
    frames.push(Buffer.from(bytes.subarray(start + 4, start + 4 + length).map((b, i) => b ^ (mask[i & 3] as number))));
    at = start + 4 + length;
  }
  return frames;
}

test('bytes come through without the channel and the port, and go out on channel 0', async () => {
  const { connection, server } = await connected();
  server.write(Buffer.concat([frame(0, PORT), frame(1, PORT), frame(0, Buffer.from('hello'))]));
  const [chunk] = (await once(connection, 'data')) as [Buffer];
  expect(chunk.toString()).toBe('hello');
  connection.write('back');
  const [sent] = (await once(server, 'data')) as [Buffer];
  expect(Buffer.concat(plainFrames(sent)).toString()).toBe('\0back');
});

test('without TLS what goes out is masked, and what was given to be written is not changed', async () => {
  const { connection, server } = await connected(false);
  const given = Buffer.from('x'.repeat(300));
  connection.write(given);
  const [sent] = (await once(server, 'data')) as [Buffer];
  expect(plainFrames(sent)[0]?.toString()).toBe(`\0${'x'.repeat(300)}`);
  expect(given.toString()).toBe('x'.repeat(300));
});

test('the words of an error are the reason of the end', async () => {
  const { connection, server } = await connected();
  server.write(frame(1, Buffer.concat([PORT, Buffer.from('nobody listens on 57400')])));
  server.end();
  const [error] = (await once(connection, 'error')) as [Error];
  expect(error).toMatchObject({ code: 'SERVICE_UNAVAILABLE', message: 'port-forward: nobody listens on 57400' });
});

test('the end of the other side is an end', async () => {
  const { connection, server } = await connected();
  connection.resume();
  server.end(Buffer.concat([frame(0, PORT), Buffer.from([0x88, 0])]));
  await once(connection, 'end');
});

test('a server that answers nonsense is refused', async () => {
  const { connection, server } = await connected();
  server.write(frame(7, Buffer.from('x')));
  const [error] = (await once(connection, 'error')) as [Error];
  expect(error).toMatchObject({ code: 'PROTOCOL_VIOLATION' });
});
