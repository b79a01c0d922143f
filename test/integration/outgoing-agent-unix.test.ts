import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ERRNO, type ErrnoName } from '../../proto/errno.ts';
import type { AppError } from '../../proto/errors.ts';
import { Transport } from '../../proto/gen/v1/network.ts';
import { can } from '../can.ts';
import { startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { OutgoingClient, openOutgoing, type TestOutgoing, unixPath } from '../fixtures/outgoing-client.ts';

const stream = Transport.TRANSPORT_UNIX_STREAM;
const seqpacket = Transport.TRANSPORT_UNIX_SEQPACKET;

describe.skipIf(!can.root.yes)(`unix sockets of the target ${can.root.why}`, () => {
  let network: TargetNetwork;
  let agent: TestOutgoing;
  let client: OutgoingClient;
  let outside: net.Server;

  beforeAll(async () => {
    network = await startNetwork();
    agent = openOutgoing();
    client = new OutgoingClient(agent.outgoing, network.identity);
    const { target } = network;
    const run = path.join(target.root, 'run');
    mkdirSync(run);
    await network.servePeer(target, `unix:${run}/app.sock`);
    const program = path.join(import.meta.dirname, '../fixtures/unix-peer.py');
    const places = ['stream:@abstract-stream', `seqpacket:${run}/packets.sock`, 'seqpacket:@abstract-packets'];
    await network.serve(target, ['python3', program, ...places]);
    symlinkSync('/run/app.sock', path.join(target.root, 'absolute-link'));
    symlinkSync('../../../../run/app.sock', path.join(target.root, 'climbing-link'));
    writeFileSync(path.join(target.root, 'file'), '');
    // A socket of our own machine, and links of the target that would lead to it.
    const host = `${target.root}.sock`;
    symlinkSync(`/../../../../../..${host}`, path.join(target.root, 'escaping-link'));
    outside = net.createServer().listen(host);
    await new Promise((resolve) => outside.once('listening', resolve));
    symlinkSync(`/proc/${process.pid}/root${host}`, path.join(target.root, 'magic-link'));
  });

  afterAll(async () => {
    outside?.close();
    await agent?.[Symbol.asyncDispose]();
    await network?.[Symbol.asyncDispose]();
  });

  test.each(['/run/app.sock', '/absolute-link', '/climbing-link', '/../run//./app.sock', '\0abstract-stream'])(
    'a stream at %j answers, and its end is told',
    async (name) => {
      const connection = await client.connect({ transport: stream, to: unixPath(name) });
      expect(connection.connected?.local?.address).toEqual({ $case: 'unixPath', value: Buffer.alloc(0) });
      await connection.send(Buffer.from('hello'));
      expect((await connection.bytes(5)).toString()).toBe('hello');
      connection.halfClose();
      await connection.ended();
      expect(connection.reset).toBeNull();
    },
  );

  test('an abstract name is the peer name, to its last byte', async () => {
    const connection = await client.connect({ transport: stream, to: unixPath('\0abstract-stream') });
    expect(connection.connected?.peer).toEqual(unixPath('\0abstract-stream'));
    connection.abort();
  });

  test.each<[string, ErrnoName]>([
    ['/nothing-there', 'ENOENT'],
    ['/file', 'ECONNREFUSED'],
    ['/file/below', 'ENOTDIR'],
    ['/run/packets.sock', 'EPROTOTYPE'],
    ['\0nobody', 'ECONNREFUSED'],
    ['/escaping-link', 'ENOENT'],
    ['/magic-link', 'ENOENT'],
    [`/${'x'.repeat(108)}`, 'EINVAL'],
  ])('a stream at %j is %s', async (name, errno) => {
    const error = await client.connect({ transport: stream, to: unixPath(name) }).catch((thrown: AppError) => thrown);
    expect(error).toMatchObject({ code: 'CONNECTION_FAILED', errno: ERRNO[errno] });
  });

  test.each(['/run/packets.sock', '\0abstract-packets'])('packets at %j keep their boundaries', async (name) => {
    const connection = await client.connect({ transport: seqpacket, to: unixPath(name) });
    const packets = [Buffer.from('one'), Buffer.alloc(1), Buffer.alloc(100_000, 7), Buffer.from('three')];
    for (const packet of packets) await connection.send(packet);
    await client.until(() => connection.frames.length === packets.length);
    expect(connection.frames.map(({ data }) => data.length)).toEqual(packets.map(({ length }) => length));
    await connection.send(Buffer.from('count'));
    await client.until(() => connection.frames.length === packets.length + 1);
    expect(connection.frames.at(-1)?.data.toString()).toBe('5');
    connection.halfClose();
    await connection.ended();
    expect(connection.reset).toBeNull();
  });

  test('2,000 packets come back in order while the peer is slower than we are', async () => {
    const connection = await client.connect({ transport: seqpacket, to: unixPath('\0abstract-packets') });
    for (let at = 0; at < 2_000; at += 1) {
      if (at - connection.frames.length > 500) await client.until(() => at - connection.frames.length < 100);
      await connection.send(Buffer.from(`packet ${at}`));
    }
    await client.until(() => connection.frames.length === 2_000);
    expect(connection.frames.every(({ data }, at) => data.toString() === `packet ${at}`)).toBe(true);
    connection.abort();
  });

  test('a peer that closes ends the packets', async () => {
    const connection = await client.connect({ transport: seqpacket, to: unixPath('/run/packets.sock') });
    await connection.send(Buffer.from('close'));
    await connection.ended();
    connection.halfClose();
  });

  test('the container runtime of the node is refused', async () => {
    const to = unixPath('/var/run/docker.sock');
    const error = await client.connect({ transport: stream, to }).catch((thrown: AppError) => thrown);
    expect(error).toMatchObject({ code: 'NOT_PERMITTED', errno: ERRNO.EACCES });
  });
});
