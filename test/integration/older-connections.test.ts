// Connections of a port as the kernel lists and ends them, which only root may.

import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import net from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { addressText } from '../../proto/socket-address.ts';
import { olderConnections, renewConnections } from '../../services/runtime/older-connections.ts';
import { can } from '../can.ts';

let namespaceFd: number;
let server: net.Server;
let sockets: net.Socket[];
const never = new AbortController().signal;

beforeEach(async () => {
  namespaceFd = openSync('/proc/self/ns/net', 'r');
  sockets = [];
  server = net.createServer((socket) => keep(socket));
  server.listen(0, '::');
  await once(server, 'listening');
});
afterEach(() => {
  for (const socket of sockets) socket.destroy();
  server.close();
  closeSync(namespaceFd);
});

function keep(socket: net.Socket): net.Socket {
  sockets.push(socket);
  socket.on('error', () => undefined);
  return socket;
}

const portOf = () => (server.address() as net.AddressInfo).port;

async function connect(host: string): Promise<net.Socket> {
  const accepted = once(server, 'connection');
  const socket = keep(net.connect(portOf(), host));
  await Promise.all([once(socket, 'connect'), accepted]);
  return socket;
}

const resetOf = (socket: net.Socket) =>
  new Promise<string>((resolve) =>
    socket.once('error', (error) => resolve((error as NodeJS.ErrnoException).code ?? '')),
  );

describe.skipIf(!can.root.yes)(`older connections (${can.root.why})`, () => {
  test('connections of both families are listed with their peers, the accepting side alone', async () => {
    const [v4, v6] = [await connect('127.0.0.1'), await connect('::1')];
    const peers = olderConnections(namespaceFd, portOf()).map(({ peer }) => addressText(peer));
    expect(peers.sort()).toEqual([`127.0.0.1:${v4.localPort}`, `[::1]:${v6.localPort}`].sort());
    expect(olderConnections(namespaceFd, v4.localPort as number)).toHaveLength(1);
  });

  test('a renewed connection is reset to its peer, and one that comes after it is left alone', async () => {
    const [v4, v6] = [await connect('127.0.0.1'), await connect('::1')];
    // A socket that was reset does not say it any more.
    const peers = [`127.0.0.1:${v4.localPort}`, `[::1]:${v6.localPort}`].sort();
    const connections = olderConnections(namespaceFd, portOf());
    const later = await connect('127.0.0.1');
    const resets = Promise.all([resetOf(v4), resetOf(v6)]);
    const closed: string[] = [];
    const options = { namespaceFd, connections, perSecond: 100, signal: never };
    const onClosed = ({ peer }: { peer: Parameters<typeof addressText>[0] }) => closed.push(addressText(peer));
    const result = await renewConnections({ ...options, onClosed });
    expect(result).toEqual({ closed: 2, goneBefore: 0, failed: 0, reason: '' });
    expect(await resets).toEqual(['ECONNRESET', 'ECONNRESET']);
    expect(closed.sort()).toEqual(peers);
    expect(olderConnections(namespaceFd, portOf()).map(({ peer }) => peer.port)).toEqual([later.localPort]);
    // Their cookies are nobody's any more.
    expect(await renewConnections(options)).toMatchObject({ closed: 0, goneBefore: 2 });
  });

  test('what has an end before its turn stays, and is counted', async () => {
    await connect('127.0.0.1');
    await connect('127.0.0.1');
    const connections = olderConnections(namespaceFd, portOf());
    const ending = new AbortController();
    const options = { namespaceFd, connections, perSecond: 1, signal: ending.signal };
    const result = await renewConnections({ ...options, onClosed: () => ending.abort() });
    expect(result).toEqual({ closed: 1, goneBefore: 0, failed: 1, reason: 'the session ended before their turn' });
    expect(olderConnections(namespaceFd, portOf())).toHaveLength(1);
  });

  test('they are closed one after the other, so many a second', async () => {
    for (let nth = 0; nth < 4; nth++) await connect('127.0.0.1');
    const times: number[] = [];
    const connections = olderConnections(namespaceFd, portOf());
    const options = { namespaceFd, connections, perSecond: 20, signal: never };
    await renewConnections({ ...options, onClosed: () => times.push(performance.now()) });
    expect((times[3] as number) - (times[0] as number)).toBeGreaterThanOrEqual(3 * 50 - 10);
  });

  test('a namespace that is none is said, with the count of what stays', async () => {
    await connect('127.0.0.1');
    const connections = olderConnections(namespaceFd, portOf());
    const fd = openSync('/proc/self/ns/uts', 'r');
    const result = await renewConnections({ namespaceFd: fd, connections, perSecond: 0, signal: never });
    closeSync(fd);
    expect(result).toMatchObject({ closed: 0, failed: 1 });
    expect(result.reason).toContain('EINVAL');
  });
});
