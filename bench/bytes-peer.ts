// Both ends of bench/kube-bytes.ts: the service in the pod, and who asks it, in the bench itself or as a local process.

import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

export const PORT = 8_081;
const CHUNK_BYTES = 64 * 1024;
const QUESTIONS_MS = 2_000;

/** A connection begins with a line: `down BYTES` sends them, `up BYTES` answers when they are there, `questions` echoes. */
export const SERVICE = `
require('node:net').createServer((socket) => {
  socket.on('error', () => socket.destroy()).setNoDelay(true);
  socket.once('data', (first) => {
    const [what, bytes] = first.toString().split(/[ \\n]/);
    const more = first.subarray(first.indexOf('\\n') + 1);
    if (what === 'questions') {
      socket.write(more);
      return void socket.on('data', (chunk) => socket.write(chunk));
    }
    let left = Number(bytes);
    if (what === 'up') {
      const take = (length) => { left -= length; if (left === 0) socket.write('done'); };
      take(more.length);
      return void socket.on('data', (chunk) => take(chunk.length));
    }
    const chunk = Buffer.alloc(${CHUNK_BYTES}, 'x');
    const send = () => {
      while (left > 0) { left -= chunk.length; if (!socket.write(chunk)) return void socket.once('drain', send); }
    };
    send();
  });
}).listen(${PORT});
`;

/** MiB a second, or answers a second. */
export async function ask(host: string, port: number, what: string, mib: number): Promise<number> {
  const socket = createConnection({ host, port, noDelay: true });
  await once(socket, 'connect');
  try {
    const bytes = mib * 1024 * 1024;
    socket.write(`${what} ${bytes}\n`);
    if (what === 'questions') return await questions(socket);
    const began = performance.now();
    await (what === 'down' ? receive(socket, bytes) : send(socket, bytes));
    return mib / ((performance.now() - began) / 1_000);
  } finally {
    socket.destroy();
  }
}

async function receive(socket: Socket, bytes: number): Promise<void> {
  let left = bytes;
  for await (const chunk of socket) {
    left -= (chunk as Buffer).length;
    if (left <= 0) return;
  }
  throw new Error(`the connection ended with ${left} bytes to come`);
}

async function send(socket: Socket, bytes: number): Promise<void> {
  const chunk = Buffer.alloc(CHUNK_BYTES, 'x');
  const answer = once(socket, 'data');
  for (let left = bytes; left > 0; left -= chunk.length) {
    if (!socket.write(chunk)) await once(socket, 'drain');
  }
  await answer;
}

async function questions(socket: Socket): Promise<number> {
  const began = performance.now();
  let count = 0;
  while (performance.now() - began < QUESTIONS_MS) {
    const answer = once(socket, 'data');
    socket.write('?');
    await answer;
    count += 1;
  }
  return count / ((performance.now() - began) / 1_000);
}

/** As a local process: a line of stdin for each question. */
export async function answerLines(host: string, port: number, mib: number): Promise<void> {
  for await (const what of createInterface({ input: process.stdin })) {
    process.stdout.write(`rate ${await ask(host, port, what, mib)}\n`);
  }
}
