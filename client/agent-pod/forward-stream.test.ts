import { afterEach, describe, expect, test } from 'vitest';
import { HeldSocket } from '../testing/held-socket.ts';
import type { ForwardStream } from './forward-stream.ts';
import { SpdyForward } from './spdy-forward.ts';
import { WebSocketForward } from './websocket-forward.ts';

const PORT = 27_401;
const open: ForwardStream[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.destroy();
});

interface Protocol {
  connect(socket: HeldSocket, head?: Buffer): ForwardStream;
  /** Of the server, on the channel for bytes or that for words of an error. */
  frame(channel: 'data' | 'error', payload: Buffer): Buffer;
  readonly beginning: Buffer;
  readonly end: Buffer;
}

const spdy: Protocol = {
  connect: (socket, head = Buffer.alloc(0)) => new SpdyForward(socket, head, PORT),
  frame: (channel, payload) => {
    const head = Buffer.alloc(8);
    head.writeUInt32BE(channel === 'data' ? 3 : 1, 0);
    head.writeUInt32BE(payload.length, 4);
    return Buffer.concat([head, payload]);
  },
  beginning: Buffer.alloc(0),
  end: Buffer.from([0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]),
};

function webSocketFrame(channel: 'data' | 'error', payload: Buffer): Buffer {
  const head = Buffer.alloc(11);
  head.writeUInt16BE(0x82_7f, 0);
  head.writeBigUInt64BE(BigInt(payload.length + 1), 2);
  head[10] = channel === 'data' ? 0 : 1;
  return Buffer.concat([head, payload]);
}

const port = Buffer.from([0x39, 0x30]);
const webSocket: Protocol = {
  connect: (socket, head = Buffer.alloc(0)) => new WebSocketForward(socket, head, true),
  frame: webSocketFrame,
  beginning: Buffer.concat([webSocketFrame('data', port), webSocketFrame('error', port)]),
  end: Buffer.from([0x88, 0]),
};

describe.each([
  ['SPDY', spdy],
  ['a WebSocket', webSocket],
])('over %s', (_name, { connect, frame, beginning, end }) => {
  test('who does not read holds up the socket, and gets every byte later', async () => {
    const socket = new HeldSocket();
    const connection = connect(socket, beginning);
    open.push(connection);
    const block = Buffer.alloc(64 * 1024, 1);
    let pushed = 0;
    for (; !socket.isPaused() && pushed < 100; pushed += 1) {
      socket.push(frame('data', block));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(pushed).toBeLessThan(20);
    socket.push(null);
    let received = 0;
    for await (const chunk of connection) received += (chunk as Buffer).length;
    expect(received).toBe(pushed * block.length);
  });

  test('a write is done when the socket has taken all of it', async () => {
    const socket = new HeldSocket();
    const connection = connect(socket);
    open.push(connection);
    let isDone = false;
    const done = new Promise<void>((resolve) => {
      connection.write(Buffer.alloc(300 * 1024), () => {
        isDone = true;
        resolve();
      });
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(isDone).toBe(false);
    const releasing = setInterval(() => socket.release(), 1);
    await done;
    clearInterval(releasing);
  });

  test('an error that came with the answer to the upgrade ends nothing but the connection', async () => {
    const words = Buffer.concat([beginning, frame('error', Buffer.from('nobody listens')), end]);
    const connection = connect(new HeldSocket(), words);
    expect(connection.errored).toMatchObject({ message: 'port-forward: nobody listens' });
    // Without a listener of its own this would end the process.
    await new Promise<void>((resolve) => {
      connection.once('close', () => resolve());
    });
  });
});
