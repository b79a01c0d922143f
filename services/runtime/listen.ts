// Listening sockets of our servers: `unix:/path` with mode 0600 from its first moment, or `host:port`.

import { chmodSync, renameSync, rmSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { createDirectServer } from '#proto/direct-tls.ts';
import { AppError } from '#proto/errors.ts';

export interface Listening {
  readonly server: Pick<net.Server, 'maxConnections'>;
  /** With the port the kernel chose when 0 was asked for. */
  readonly address: string;
  /** Stops accepting and removes the socket's file. Connections stay. */
  close(): void;
}

/** Of sun_path in unix(7), less the terminating zero. */
const MAX_SOCKET_PATH_BYTES = 107;

/** Sockets come paused: Node has read nothing. Throws CONFIG_INVALID for an address that is none, NOT_PERMITTED when the kernel refuses or another process listens. */
export async function listen(address: string, onConnection: (socket: net.Socket) => void): Promise<Listening> {
  const server = net.createServer({ noDelay: true, pauseOnConnect: true }, onConnection);
  return address.startsWith('unix:') ? listenUnix(server, address.slice('unix:'.length)) : listenTcp(server, address);
}

/** For clients that are not on this machine: TLS with the key, at `host:port` only. */
export async function listenDirect(
  address: string,
  key: Uint8Array,
  onConnection: (socket: net.Socket) => void,
): Promise<Listening> {
  return listenTcp(createDirectServer(key, onConnection), address);
}

/** Bound under a name of its own and renamed when its mode is right: nobody can connect in between. */
async function listenUnix(server: net.Server, socketPath: string): Promise<Listening> {
  const temporaryPath = path.join(path.dirname(socketPath), `.${process.pid}.sock`);
  const longest = Math.max(Buffer.byteLength(socketPath), Buffer.byteLength(temporaryPath));
  if (!path.isAbsolute(socketPath) || longest > MAX_SOCKET_PATH_BYTES) {
    throw new AppError('CONFIG_INVALID', `socket path ${socketPath} must be absolute and at most 107 bytes`);
  }
  if (await answers(socketPath)) {
    throw new AppError('NOT_PERMITTED', `another process listens on ${socketPath}`);
  }
  rmSync(temporaryPath, { force: true });
  await listeningForUs(server, temporaryPath, socketPath);
  chmodSync(temporaryPath, 0o600);
  renameSync(temporaryPath, socketPath);
  return {
    server,
    address: `unix:${socketPath}`,
    close: () => {
      server.close();
      rmSync(socketPath, { force: true });
    },
  };
}

/** bind(2) makes the file with what the umask leaves, within the call: nobody else can connect before chmod either. */
function listeningForUs(server: net.Server, socketPath: string, name: string): Promise<void> {
  const umask = process.umask(0o177);
  try {
    return listening(server, { path: socketPath }, name);
  } finally {
    process.umask(umask);
  }
}

async function listenTcp(server: net.Server, address: string): Promise<Listening> {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:[\]/]+)):(\d{1,5})$/.exec(address);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > 65_535) {
    throw new AppError('CONFIG_INVALID', `address ${JSON.stringify(address)} is neither unix:/path nor host:port`);
  }
  await listening(server, { host, port }, address);
  const bound = server.address() as net.AddressInfo;
  const name = bound.family === 'IPv6' ? `[${bound.address}]` : bound.address;
  return { server, address: `${name}:${bound.port}`, close: () => server.close() };
}

function listening(server: net.Server, options: net.ListenOptions, name: string): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => reject(AppError.from(cause, 'NOT_PERMITTED')));
    server.listen(options, () => {
      server.removeAllListeners('error');
      server.on('error', () => {
        // accept(2) out of descriptors (EMFILE): the connection waits in the backlog until there is one again.
      });
      resolve();
    });
  }).catch((error: AppError) => {
    throw new AppError(error.code, `cannot listen on ${name}: ${error.message}`, { errno: error.errno, cause: error });
  });
}

function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = net.connect({ path: socketPath });
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
}
