import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Transport } from '../../proto/gen/v1/network.ts';
import { BULK_READ_BYTES } from '../../proto/sockets/read-buffers.ts';
import { can } from '../can.ts';
import { BEYOND, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { internet, OutgoingClient, openOutgoing, type TestOutgoing } from '../fixtures/outgoing-client.ts';

const MB = 1024 * 1024;

describe.skipIf(!can.root.yes)(`many outgoing connections, and slow ones ${can.root.why}`, () => {
  let network: TargetNetwork;
  let agent: TestOutgoing;

  beforeAll(async () => {
    network = await startNetwork();
    await network.servePeer(network.beyond, BEYOND);
    agent = openOutgoing();
  });

  afterAll(async () => {
    await agent?.[Symbol.asyncDispose]();
    await network?.[Symbol.asyncDispose]();
  });

  const openClient = () => new OutgoingClient(agent.outgoing, network.identity);

  test('1,000 connections at a time each get their own bytes back', async () => {
    const client = openClient();
    const connections = await Promise.all(
      Array.from({ length: 1_000 }, () => client.connect({ to: internet(BEYOND, 7001) })),
    );
    for (const connection of connections) await connection.send(Buffer.from(`I am ${connection.id};`.repeat(200)));
    for (const connection of connections) {
      const text = `I am ${connection.id};`.repeat(200);
      expect((await connection.bytes(text.length)).toString()).toBe(text);
      connection.halfClose();
      await connection.ended();
    }
    expect(client.session.connections).toBe(0);
    await client.session.close();
  });

  test('a client that stops reading one connection holds its credit and no more, and others flow', async () => {
    const client = openClient();
    const stopped = await Promise.all(
      Array.from({ length: 8 }, async () => {
        const connection = await client.connect({ to: internet(BEYOND, 7005) });
        connection.keepsData = false;
        connection.isStopped = true;
        return connection;
      }),
    );
    const full = (connection: (typeof stopped)[number]) =>
      connection.receivedBytes > (connection.connected?.creditBytes ?? 0) - BULK_READ_BYTES;
    await client.until(() => stopped.every(full));
    const before = process.memoryUsage().rss;
    const flowing = await client.connect({ to: internet(BEYOND, 7005) });
    flowing.keepsData = false;
    await client.until(() => flowing.receivedBytes > 200 * MB);
    flowing.abort();
    for (const connection of stopped) {
      expect(connection.receivedBytes).toBeLessThanOrEqual(connection.connected?.creditBytes ?? 0);
      const received = connection.receivedBytes;
      connection.resume();
      await client.until(() => connection.receivedBytes > received);
      connection.abort();
    }
    expect(process.memoryUsage().rss - before).toBeLessThan(150 * MB);
    await client.session.close();
  });

  test('a peer that stops reading holds the credit of its connection, and others flow', async () => {
    const client = openClient();
    const stuck = await client.connect({ to: internet(BEYOND, 7004) });
    const chunk = Buffer.alloc(64 * 1024);
    // Until the kernels and the credit are full.
    let idleTurns = 0;
    while (idleTurns < 200) {
      if (stuck.sendableBytes >= chunk.length) {
        await stuck.send(chunk);
        idleTurns = 0;
      } else idleTurns += 1;
      await new Promise((resolve) => setImmediate(resolve));
    }
    const echo = await client.connect({ to: internet(BEYOND, 7001) });
    await echo.send(Buffer.from('flows'));
    expect((await echo.bytes(5)).toString()).toBe('flows');
    stuck.abort();
    await client.session.close();
  });

  test('while the way to the client is full, fifty that bring bulk are read once and wait', async () => {
    const client = openClient();
    const sink = await client.connect({ to: internet(BEYOND, 7007) });
    client.shut();
    const connections = await Promise.all(
      Array.from({ length: 50 }, () => client.connect({ to: internet(BEYOND, 7005) })),
    );
    for (const connection of connections) connection.keepsData = false;
    const received = () => connections.reduce((sum, connection) => sum + connection.receivedBytes, 0);
    await client.until(() => received() > MB / 2);
    // When credit has come for so much, the others had every occasion to bring more.
    for (let count = 0; count < 128; count += 1) await sink.send(Buffer.alloc(64 * 1024));
    expect(received()).toBeLessThanOrEqual(MB / 2 + 50 * BULK_READ_BYTES);
    client.reopen();
    await client.until(() => connections.every((connection) => connection.receivedBytes > 0));
    for (const connection of connections) connection.abort();
    await client.session.close();
  });

  test('a datagram that comes while streams fill the way to the client waits, and is not lost', async () => {
    const client = openClient();
    const sink = await client.connect({ to: internet(BEYOND, 7007) });
    const echo = await client.connect({ transport: Transport.TRANSPORT_UDP, to: internet(BEYOND, 7001) });
    client.shut();
    const streams = await Promise.all(Array.from({ length: 4 }, () => client.connect({ to: internet(BEYOND, 7005) })));
    for (const stream of streams) stream.keepsData = false;
    await client.until(() => streams.reduce((sum, { receivedBytes }) => sum + receivedBytes, 0) > MB / 2);
    for (let count = 0; count < 100; count += 1) await echo.send(Buffer.from(`question ${count}`));
    // When credit has come for so much, the answers have come as well.
    for (let count = 0; count < 64; count += 1) await sink.send(Buffer.alloc(64 * 1024));
    client.reopen();
    await client.until(() => echo.frames.length === 100);
    for (const stream of streams) stream.abort();
    await client.session.close();
  });

  test('200,000 frames of one byte arrive, and cost little', async () => {
    const client = openClient();
    const connection = await client.connect({ to: internet(BEYOND, 7007) });
    const before = process.memoryUsage().rss;
    for (let count = 0; count < 200_000; count += 1) await connection.send(Buffer.alloc(1));
    connection.halfClose();
    await connection.ended();
    expect(connection.data.toString()).toBe('200000');
    expect(process.memoryUsage().rss - before).toBeLessThan(200 * MB);
    await client.session.close();
  });
});
