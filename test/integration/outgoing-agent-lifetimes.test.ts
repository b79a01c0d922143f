import { readdirSync, readlinkSync, statSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ERRNO } from '../../proto/errno.ts';
import { Transport } from '../../proto/gen/v1/network.ts';
import { can } from '../can.ts';
import { BEYOND, type Peer, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { internet, OutgoingClient, openOutgoing, type TestOutgoing, unixPath } from '../fixtures/outgoing-client.ts';

/** Network namespaces of all threads of this process. */
function threadNamespaces(): string[] {
  return readdirSync('/proc/self/task').flatMap((thread) => {
    try {
      return [readlinkSync(`/proc/self/task/${thread}/ns/net`)];
    } catch {
      // It ended while we looked.
      return [];
    }
  });
}

/** Network namespaces that a descriptor of this process keeps alive. */
function openNamespaces(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      return [];
    }
  });
}

function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

/** Ends of descriptors are told to nobody: looked for until the deadline. */
async function eventually(what: string, condition: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > deadlineMs) throw new Error(`${what}: not within 10 s`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** More than a session that closes waits for its connections, and less than for ever. */
async function within(what: string, promise: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not closed within 5 s`)), 5_000);
  });
  await Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

describe.skipIf(!can.root.yes)(`lifetimes of outgoing connections ${can.root.why}`, () => {
  let network: TargetNetwork;
  let agent: TestOutgoing;
  let peer: Peer;
  let namespace: string;

  beforeAll(async () => {
    network = await startNetwork();
    peer = await network.servePeer(network.beyond, BEYOND);
    const program = new URL('../fixtures/unix-peer.py', import.meta.url).pathname;
    await network.serve(network.target, ['python3', program, 'seqpacket:@packets', 'stream:@stream']);
    agent = openOutgoing();
    namespace = `net:[${statSync(`/proc/${network.target.pid}/ns/net`).ino}]`;
  });

  afterAll(async () => {
    await agent?.[Symbol.asyncDispose]();
    await network?.[Symbol.asyncDispose]();
  });

  const openClient = () => new OutgoingClient(agent.outgoing, network.identity);
  const to = internet(BEYOND, 7001);

  /** One of each kind, so that whatever holds a descriptor is there. */
  const openOfEveryKind = (client: OutgoingClient) =>
    Promise.all([
      client.connect({ to }),
      client.connect({ to: internet(BEYOND, 7004) }),
      client.connect({ transport: Transport.TRANSPORT_UDP, to }),
      client.connect({ transport: Transport.TRANSPORT_UNIX_STREAM, to: unixPath('\0stream') }),
      client.connect({ transport: Transport.TRANSPORT_UNIX_SEQPACKET, to: unixPath('\0packets') }),
    ]);

  test('no thread is in the target, whatever is open', async () => {
    const client = openClient();
    const connections = await openOfEveryKind(client);
    expect(threadNamespaces()).not.toContain(namespace);
    await connections[0]?.send(Buffer.from('x'));
    await connections[0]?.bytes(1);
    expect(threadNamespaces()).not.toContain(namespace);
    await client.session.close();
  });

  test('a session that closes leaves no descriptor, whatever was open', async () => {
    const warm = openClient();
    await openOfEveryKind(warm);
    await warm.session.close();
    const before = openDescriptors();
    const client = openClient();
    await openOfEveryKind(client);
    client.open({ to: internet('10.99.0.88', 80) });
    expect(openDescriptors()).toBeGreaterThan(before);
    await client.session.close();
    await eventually('descriptors', () => openDescriptors() <= before);
  });

  test('a reset right behind an end leaves no descriptor', async () => {
    for (let round = 0; round < 20; round += 1) {
      const client = openClient();
      const bulk = await client.connect({ to: internet(BEYOND, 7007) });
      const fill = () => {
        for (let count = 0; count < 4; count += 1) bulk.sendUnasked(Buffer.alloc(64 * 1024));
      };
      const before = openDescriptors();
      const connections = await Promise.all(
        Array.from({ length: 8 }, () => client.connect({ to: internet(BEYOND, 7004) })),
      );
      for (const connection of connections) connection.halfClose();
      fill();
      for (const connection of connections) connection.abort();
      fill();
      await eventually('descriptors', () => openDescriptors() <= before);
      await within('the session', client.session.close());
    }
  });

  test('what the client has sent arrives although the session closes right after', async () => {
    const client = openClient();
    const connection = await client.connect({ to: internet(BEYOND, 7002) });
    for (let count = 0; count < 4; count += 1) await connection.send(Buffer.alloc(225_000));
    await client.session.close();
    expect(await peer.line('after-end')).toBe('after-end 900000');
  });

  test('2,000 connections leave no descriptor behind', async () => {
    const client = openClient();
    const rounds = async (count: number) => {
      for (let at = 0; at < count; at += 100) {
        const batch = await Promise.all(Array.from({ length: 100 }, () => client.connect({ to })));
        for (const connection of batch) await connection.send(Buffer.from('ping'));
        for (const [at, connection] of batch.entries()) {
          await connection.bytes(4);
          if (at % 2 === 0) connection.abort();
          else {
            connection.halfClose();
            await connection.ended();
          }
          client.connections.delete(connection.id);
        }
      }
    };
    await rounds(200);
    const before = openDescriptors();
    await rounds(2_000);
    await eventually('descriptors', () => openDescriptors() <= before);
    expect(client.session.connections).toBe(0);
    await client.session.close();
  });

  test('the end of the target resets what is open and lets its namespace go', async () => {
    await using short = await startNetwork();
    const place = `net:[${statSync(`/proc/${short.target.pid}/ns/net`).ino}]`;
    await short.servePeer(short.beyond, BEYOND);
    const client = new OutgoingClient(agent.outgoing, short.identity);
    const connection = await client.connect({ to });
    await short.target.stop();
    const error = await connection.failed();
    expect([error.code, error.errno]).toEqual(['TARGET_GONE', ERRNO.ECONNRESET]);
    const late = await client.connect({ to }).catch((thrown: unknown) => thrown);
    expect(late).toMatchObject({ code: 'TARGET_GONE', errno: ERRNO.ENETDOWN });
    await client.session.close();
    expect(openNamespaces()).not.toContain(place);
  });
});
