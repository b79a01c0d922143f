// What joins an agent in a pod with the services in the containers beside it: a unix socket in the folder they share. Each says which
// it is and is told where the bus is and who it is there; and by its end that the agent has ended, however it ended: the pod is over then, and must not stay.

import { chmodSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { AppError } from '#proto/errors.ts';
import { SERVICES, type ServiceName } from '#proto/subjects.ts';

export interface Lifeline {
  close(): void;
}

/** The services of a pod; beyond it somebody else knocks. */
const MAX_CONNECTIONS = 16;

/** A line with a name. */
const MAX_NAME_CHARS = 16;

/** `runtimeDir` is of mode 0700: who reaches the socket may know what it says. */
export async function openLifeline(runtimeDir: string, urlOf: (service: ServiceName) => string): Promise<Lifeline> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {
      // Its 'close' follows.
    });
    socket.once('close', () => sockets.delete(socket));
    let said = '';
    socket.setEncoding('latin1').on('data', (text: string) => {
      if (said.endsWith('\n')) return;
      said += text;
      const service = SERVICES.find((name) => said === `${name}\n`);
      if (service !== undefined) socket.write(`${JSON.stringify({ natsUrl: urlOf(service) })}\n`);
      else if (said.endsWith('\n') || said.length > MAX_NAME_CHARS) socket.destroy();
    });
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
