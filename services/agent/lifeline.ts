// What joins an agent in a pod with the services in the containers beside it: a unix socket in the folder they share. It tells
// them where the bus is, and by its end that the agent has ended, however it ended: the pod is over then, and must not stay.

import { chmodSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { AppError } from '#proto/errors.ts';

export interface Lifeline {
  close(): void;
}

/** The services of a pod; beyond it somebody else knocks. */
const MAX_CONNECTIONS = 16;

/** `runtimeDir` is of mode 0700: who reaches the socket may know what it says. */
export async function openLifeline(runtimeDir: string, natsUrl: string): Promise<Lifeline> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {
      // Its 'close' follows.
    });
    socket.once('close', () => sockets.delete(socket));
    socket.resume();
    socket.write(`${JSON.stringify({ natsUrl })}\n`);
  });
  server.maxConnections = MAX_CONNECTIONS;
  const socketPath = path.join(runtimeDir, 'lifeline.sock');
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => reject(AppError.from(cause, 'SERVICE_UNAVAILABLE')));
    server.listen(socketPath, resolve);
  });
  chmodSync(socketPath, 0o600);
  return {
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
