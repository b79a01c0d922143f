// A distance between client and gateway: a TCP relay that hands every chunk on half a round trip later, in order, and
// counts what passes.

import { once } from 'node:events';
import net from 'node:net';
import { WireCount } from './wire-count.ts';

export interface DelayRelay {
  /** host:port to give to the client. */
  readonly address: string;
  /** What has gone up since the last call, over all connections: frames by kind. */
  takeUplink(): Map<number, number>;
  close(): Promise<void>;
}

/** `counts`: what passes is a session. */
export async function startDelayRelay(target: string, roundTripMs: number, counts = true): Promise<DelayRelay> {
  const oneWayMs = roundTripMs / 2;
  const sockets = new Set<net.Socket>();
  const counters = new Set<WireCount>();
  const server = net.createServer({ noDelay: true, allowHalfOpen: true }, (near) => {
    const far = net.connect({ ...parse(target), noDelay: true, allowHalfOpen: true });
    const count = new WireCount(true);
    counters.add(count);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      socket.once('error', () => [near, far].map((end) => end.destroy()));
    }
    if (counts) near.on('data', (chunk: Buffer) => count.push(chunk));
    carry(near, far, oneWayMs);
    carry(far, near, oneWayMs);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    address: `127.0.0.1:${(server.address() as net.AddressInfo).port}`,
    takeUplink: () => {
      const sum = new Map<number, number>();
      for (const { byKind } of counters) {
        for (const [kind, frames] of byKind) sum.set(kind, (sum.get(kind) ?? 0) + frames);
        byKind.clear();
      }
      return sum;
    },
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

function parse(address: string): net.NetConnectOpts {
  if (address.startsWith('unix:')) return { path: address.slice('unix:'.length) };
  const at = address.lastIndexOf(':');
  return { host: address.slice(0, at), port: Number(address.slice(at + 1)) };
}

/** Timers of equal length fire in the order in which they were set, so the bytes stay in order. */
function carry(from: net.Socket, to: net.Socket, delayMs: number): void {
  const later = (act: () => void) => (delayMs === 0 ? act() : setTimeout(act, delayMs));
  from.on('data', (chunk: Buffer) => later(() => to.write(chunk)));
  from.on('end', () => later(() => to.end()));
}
